"""The report of a run: one HTML page that needs nothing else, the same as Markdown, and as JSON.

The verdict comes first, then the few numbers that matter, then how they came about. Nothing is said that was
not measured: without a valid benchmark there is no speed, and a ratio is never without its interval.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from jetpress.benchmarks.report import builder, changes, quantization, results, weights
from jetpress.benchmarks.report.origin import origin, stages
from jetpress.benchmarks.report.page import Run, at, listed
from jetpress.benchmarks.report.results import silence, speed
from jetpress.benchmarks.report.weights import histograms
from jetpress.benchmarks.report.wording import (
    amount,
    finite,
    ms,
    percent,
    points,
    printable,
    quantity,
    size,
    times,
    value,
)

__all__ = ["histograms", "render"]

TEMPLATES = Path(__file__).parent / "templates"
READS = ("templates/*",)
SECTIONS = (
    results.budget,
    results.comparison,
    results.benchmark,
    changes.layers,
    changes.rounds,
    weights.weights,
    changes.training,
    changes.sparsity,
    quantization.quantization,
    quantization.calibration,
    changes.equivalence,
    builder.builder,
    stages,
    origin,
)


@dataclass(frozen=True)
class Headline:
    """The verdict in two words and in a few sentences."""

    title: str
    tone: str
    lines: list[str]


@dataclass(frozen=True)
class Card:
    """One number that matters."""

    title: str
    figure: str
    notes: list[str]


def render(run: Mapping[str, Any], directory: Path) -> None:
    """Write ``report.html``, ``report.md`` and ``report.json``; each appears whole or not at all.

    The same run gives the same bytes. Parts of the run that are missing are named as missing.
    """
    run = finite(run)
    said = headline(run)
    sections = [section(run) for section in SECTIONS]
    content: dict[str, Any] = {
        "run": run,
        "where": where(run),
        "headline": said,
        "cards": cards(run),
        "sections": [section for section in sections if not section.missing],
        "missing": [section for section in sections if section.missing],
    }
    outcome = {"title": said.title, "lines": said.lines}
    _write(directory / "report.html", _html().get_template("report.html").render(content))
    _write(directory / "report.md", _markdown().get_template("report.md").render(content))
    text = json.dumps({**run, "headline": outcome}, indent=1, allow_nan=False)
    _write(directory / "report.json", text + "\n")


def where(run: Run) -> str:
    """The target as a person names it."""
    return value(at(run, "target", "title") or at(run, "target", "name"))


def headline(run: Run) -> Headline:
    """What came out: the budget, what is missing or broken, the speed if one was measured, what to do."""
    met = at(run, "verdict", "met")
    checks = listed(run, "verdict", "checks")
    begun = any(at(c, "met") is not None for c in checks)
    title, tone = {True: ("Budget met", "good"), False: ("Budget not met", "bad")}.get(
        met, ("Not all measured yet" if begun else "Not measured yet", "open")
    )
    lines = [_missed(check) for check in checks if at(check, "met") is False]
    if waiting := [value(at(check, "what")) for check in checks if at(check, "met") is None]:
        lines.append(f"Not measured yet: {', '.join(waiting)}.")
    return Headline(title, tone, [*lines, _speed_sentence(run), *_engine_sentences(run)])


def _missed(check: Run) -> str:
    what, unit = value(at(check, "what")), at(check, "unit")
    found, limit = (amount(at(check, key), unit) for key in ("found", "limit"))
    return f"{what[:1].upper()}{what[1:]}: {found}, the limit is {limit}."


def _speed_sentence(run: Run) -> str:
    if called := speed(run):
        word, ratio = called
        bounds = f"95 % interval {ratio.low:.2f} to {ratio.high:.2f}"
        noisy = " The measurement is noisy." if at(run, "benchmark", "verdict") == "noisy" else ""
        if word == "noise":
            same = f"{ratio.value:.3f} times as fast ({bounds})"
            return f"No difference in latency beyond noise: {same}.{noisy}"
        slower = ", so it is slower" if word == "slower" else ""
        return f"The compressed engine is {ratio.value:.2f} times as fast as dense ({bounds}){slower}.{noisy}"
    return f"No speed is claimed: {silence(run)}."


def _engine_sentences(run: Run) -> list[str]:
    built = [] if at(run, "engine_built") is not False else ["No engine was built here."]
    return built + ([f"Next: {value(run['next'])}"] if at(run, "next") else [])


def cards(run: Run) -> list[Card]:
    """Accuracy, latency, size, computation: dense against compressed."""
    before, after = at(run, "dense", "test"), at(run, "compressed", "test")
    change = "" if before is None or after is None else f"{points(after - before)}, "
    ratios = at(run, "ratios")
    smaller = times(at(ratios, "size"), "smaller", "larger")
    fewer = times(at(ratios, "macs"), "fewer", "more")
    return [
        Card("Accuracy on the test split", percent(after), [f"{change}dense {percent(before)}"]),
        _latency_card(run),
        Card("ONNX file", smaller, [_change(run, size, "onnx_bytes")]),
        Card("Multiply-adds", fewer, [_change(run, quantity, "macs")]),
    ]


def _latency_card(run: Run) -> Card:
    if called := speed(run):
        word, ratio = called
        bounds = f"95 % interval {ratio.low:.2f} to {ratio.high:.2f}"
        medians = _change(run, ms, "latency", "p50")
        if word == "noise":
            return Card("Latency", "within noise", [f"{ratio.value:.3f} ×, {bounds}", medians])
        return Card("Latency", f"{ratio.value:.2f} × as fast", [bounds, medians])
    return Card("Latency", "no claim", [silence(run)])


def _change(run: Run, show: Callable[[Any], str], *keys: str) -> str:
    return f"{show(at(run, 'dense', *keys))} → {show(at(run, 'compressed', *keys))}"


@cache
def _html() -> jinja2.Environment:
    """Every value is escaped, but our own style sheet and drawings."""
    return _environment(True, printable, printable)


@cache
def _markdown() -> jinja2.Environment:
    """Every value is escaped, so that none of its characters is taken for Markdown or HTML."""
    return _environment(False, _escaped, lambda line: f"    {printable(line)}")


def _environment(html: bool, inline: Callable[[str], str], line: Callable[[str], str]) -> jinja2.Environment:
    """Templates whose every value goes through ``inline``, or its lines through ``line`` by ``| code``."""

    def finalize(item: Any) -> Any:
        return inline(item) if isinstance(item, str) and not isinstance(item, Markup) else item

    def code(text: str) -> Markup:
        block = "\n".join(map(line, text.splitlines()))
        return Markup.escape(block) if html else Markup(block)  # noqa: S704 - an indented block of Markdown

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=html,  # noqa: S701 - Markdown has its own escape, in finalize
        finalize=finalize,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["code"] = code
    return environment


def _escaped(text: str) -> str:
    return re.sub(r"([\\`*_{}\[\]<>#|~&$])", r"\\\1", " ".join(printable(text).split()))


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with draft.open("w", encoding="utf-8", newline="\n") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
