"""How the report writes values: as many digits as mean something, units, and a dash for what is not known."""

from __future__ import annotations

import json
import math
import re
import unicodedata
from collections.abc import Mapping, Sequence

from pydantic import JsonValue

from jetpress.benchmarks import accuracy

MISSING = "—"
_BIDI = set("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u200e\u200f\u061c")


def printable(text: str) -> str:
    """Text from outside without what disturbs its neighbours: control characters, direction overrides."""
    return "".join("\ufffd" if c in _BIDI or unicodedata.category(c) in ("Cc", "Cs") else c for c in text)


def number(value: float | None, digits: int = 3, unit: str = "") -> str:
    """``value`` to so many significant digits, as a person writes it: 0.0412, 4.12, 1,234."""
    if value is None:
        return MISSING
    value = value or 0.0  # there is no minus zero for people
    if value and not 1e-6 <= abs(value) < 1e15:
        return f"{value:.1e}{unit}"
    rounded = abs(float(f"{value:.{digits - 1}e}"))
    places = max(digits - 1 - math.floor(math.log10(rounded)), 0) if rounded else 0
    return f"{value:,.{places}f}{unit}".replace("-", "\N{MINUS SIGN}")


def amount(value: float | None, unit: str | None = "") -> str:
    """A limit or what was found, in whatever unit: no zeros at its end."""
    text = number(value)
    text = text.rstrip("0").rstrip(".") if "." in text else text
    return f"{text} {unit}" if unit and value is not None else text


def ms(value: float | None) -> str:
    """A latency."""
    return number(value, unit=" ms")


def percent(value: float | None, places: int = 2) -> str:
    """Percent, and accuracy."""
    return MISSING if value is None else f"{value:.{places}f} %"


def sentence(text: str) -> str:
    """With a capital letter at its start; a name such as mIoU stays as it is."""
    return text if text[1:2].isupper() else text[:1].upper() + text[1:]


def points(value: float | None, places: int = 2) -> str:
    """A difference of accuracies, with its sign."""
    return MISSING if value is None else f"{value:+.{places}f} points".replace("-", "\N{MINUS SIGN}")


def figure(value: float | None, unit: str) -> str:
    """Points in their unit: ``97.77 %``, ``31.20 dB``, ``0.52``."""
    return MISSING if value is None else f"{value:.2f} {unit}".rstrip().replace("-", "\N{MINUS SIGN}")


def spread(value: float | None, samples: int | None) -> str:
    """Accuracy with the interval that so many samples give it: ``97.77 % (95.2 to 99.0)``."""
    if value is None or not samples:
        return percent(value)
    found = accuracy.mean(value, samples)
    return f"{percent(value)} ({found.low:.1f} to {found.high:.1f})"


def error(value: float | None) -> str:
    """A numerical difference."""
    return MISSING if value is None else f"{value:.1e}" if value else "0"


def quantity(value: float | None) -> str:
    """A large count: 11.2 M, 556 M, 1.82 G."""
    return _scaled(value, ("", " k", " M", " G", " T"))


def size(value: float | None) -> str:
    """Bytes, in powers of ten as disks are sold."""
    return _scaled(value, (" B", " kB", " MB", " GB", " TB"))


def _scaled(value: float | None, units: Sequence[str]) -> str:
    if value is None:
        return MISSING
    step = 0
    while abs(value) >= 999.5 and step < len(units) - 1:
        value, step = value / 1000, step + 1
    return f"{value:.0f}{units[0]}" if step == 0 else number(value, 3, units[step])


def times(ratio: float | None, fewer: str, more: str) -> str:
    """Dense over compressed in words: ``4.00 × smaller``, ``1.25 × larger``, ``the same``."""
    if ratio is None or ratio <= 0:
        return MISSING
    if abs(ratio - 1) < 0.005:
        return "the same"
    return f"{ratio:.2f} × {fewer}" if ratio > 1 else f"{1 / ratio:.2f} × {more}"


def clock(seconds: float | None) -> str:
    """How long a stage took."""
    if seconds is None:
        return MISSING
    if seconds < 60:
        return number(seconds, 2, " s") if seconds >= 0.001 else "0 s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


def value(item: object) -> str:
    """Any JSON value that is only to be shown."""
    if item is None:
        return MISSING
    if isinstance(item, bool):
        return "yes" if item else "no"
    return item if isinstance(item, str) else json.dumps(item, ensure_ascii=False)


def toml(table: Mapping[str, JsonValue], prefix: str = "") -> str:
    """A nested mapping as TOML. What is None is left out: TOML has no word for it."""
    plain = {k: v for k, v in table.items() if not isinstance(v, dict) and v is not None}
    lines = [f"{_key(k)} = {_inline(v)}" for k, v in plain.items()]
    if prefix and (lines or not table):
        lines.insert(0, f"[{prefix}]")
    blocks = ["\n".join(lines)] if lines else []
    for key, inner in table.items():
        if isinstance(inner, dict):
            blocks.append(toml(inner, f"{prefix}.{_key(key)}" if prefix else _key(key)))
    return "\n\n".join(block for block in blocks if block)


def _key(key: str) -> str:
    return key if re.fullmatch(r"[A-Za-z0-9_-]+", key) else json.dumps(key, ensure_ascii=False)


def _inline(item: JsonValue) -> str:
    if isinstance(item, dict):
        return "{ " + ", ".join(f"{_key(k)} = {_inline(v)}" for k, v in item.items() if v is not None) + " }"
    if isinstance(item, list):
        return "[" + ", ".join(_inline(i) for i in item if i is not None) + "]"
    return json.dumps(item, ensure_ascii=False)


def sparkline(counts: Sequence[float]) -> str:
    """A histogram in a line of text, two bins a character."""
    pairs = [sum(counts[i : i + 2]) for i in range(0, len(counts), 2)]
    top = max(pairs, default=0)
    return "".join(" ▁▂▃▄▅▆▇█"[math.ceil(8 * c / top) if top else 0] for c in pairs)
