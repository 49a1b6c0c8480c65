"""A goal in words, as a person says it: ``fastest at 1 point``, ``5 ms``, ``half the size at 0.5 points``."""

from __future__ import annotations

import re
from dataclasses import dataclass

from jetpress.deploy.errors import RecipeError
from jetpress.deploy.suggest import closest

EXAMPLES = (
    "fastest at 1 point",
    "5 ms at 1 point",
    "200 fps at 1 point",
    "half the size at 1 point",
    "half the work at 1 point",
    "twice as fast at 1 point",
)
FURTHEST = 0.75
"""Share of the multiply-adds that ``fastest`` sets out to remove; rounds end where the accuracy budget does."""
TIMED = ("latency", "latency_ms", "fps")
"""Keys of ``[prune]`` that only the device itself can judge."""

_NUMBER = r"(?P<number>\d+(?:\.\d+)?)"
_SHARES = {"half": 0.5, "a third": 1 / 3, "third": 1 / 3, "a quarter": 0.25, "quarter": 0.25}
_TIMES = {"twice": 2.0, "double": 2.0}
_SUBJECTS = {
    "size": "params", "parameters": "params", "params": "params", "smaller": "params",
    "work": "macs", "macs": "macs", "multiply-adds": "macs", "flops": "macs",
    "time": "latency", "latency": "latency", "faster": "latency", "fast": "latency",
}  # fmt: skip


@dataclass(frozen=True)
class Goal:
    """What is asked for, as keys of a recipe."""

    words: str
    """As it was given."""
    key: str
    """Of ``[prune]``."""
    value: float
    accuracy_drop: float = 1.0
    """Points."""
    int8: bool = False

    @property
    def timed(self) -> bool:
        """It can be judged only where the engine runs."""
        return self.key in TIMED


def goal(words: str) -> Goal:
    """Understand a goal.

    ``fastest``; a time (``5 ms``) or a rate (``200 fps``); a share of what is there now (``half the size``, ``30 % of
    the work``) or a multiple (``2 times as fast``, ``4x smaller``); with ``at N points`` of accuracy that may be lost
    (1 where nothing is said), and ``int8``.

    Raises:
        RecipeError: it is none of these, or contradicts itself.
    """
    rest = " ".join(words.lower().split())
    points, rest = _taken(rest, rf"(?:(?:at|within|for|losing)(?: most)? )?{_NUMBER} ?(?:points?|pp)\b")
    eight, rest = _taken(rest, r"(?:with |in )?\bint8\b")
    found = _pruned(rest.strip(" ,;"), bare=eight is not None)
    if found is None:
        near = {one.partition(" at ")[0]: one for one in EXAMPLES}
        close = near.get(closest(rest.strip(), near) or "")
        meant = f"did you mean {close!r}? " if close else ""
        raise RecipeError(
            f"the goal {words!r} is not understood",
            f"{meant}for example: {'; '.join(EXAMPLES)}; int8 at 1 point",
        )
    return Goal(words, *found, float(points) if points else 1.0, eight is not None)


def _taken(text: str, pattern: str) -> tuple[str | None, str]:
    """What a part of the text says (its number, or the part itself), and the text without it."""
    match = re.search(pattern, text)
    if match is None:
        return None, text
    said = match.groupdict().get("number") or match.group()
    return said, f"{text[: match.start()]} {text[match.end() :]}"


def _pruned(rest: str, bare: bool) -> tuple[str, float] | None:
    """The key of ``[prune]`` and its value; None where the words are not understood."""
    if not rest:
        return ("ratio", 0.0) if bare else ("macs", FURTHEST)
    if re.fullmatch(r"(as )?(fast|fastest|small|smallest)( as possible)?", rest):
        return ("params", FURTHEST) if "small" in rest else ("macs", FURTHEST)
    if match := re.fullmatch(rf"(?:at most |under |below |in )?{_NUMBER} ?(?:ms|milliseconds?)", rest):
        return _positive("latency_ms", match)
    if match := re.fullmatch(rf"(?:at least )?{_NUMBER} ?(?:fps|images (?:a|per) second|hz)", rest):
        return _positive("fps", match)
    subject = next((key for word, key in _SUBJECTS.items() if re.search(rf"\b{word}\b", rest)), None)
    if subject is None:
        return None
    left = _share_left(rest)
    return None if left is None or not 0.02 <= left < 1 else (subject, round(1 - left, 4))


def _positive(key: str, match: re.Match[str]) -> tuple[str, float] | None:
    value = float(match["number"])
    return (key, value) if value > 0 else None


def _share_left(text: str) -> float | None:
    """How much of what is there now is to stay: ``half the size`` 0.5, ``4x smaller`` 0.25, ``30 % less work`` 0.7."""
    if match := re.match(rf"{_NUMBER} ?%", text):
        share = float(match["number"]) / 100
        return 1 - share if re.search(r"\b(less|fewer|smaller|faster)\b", text) else share
    times = next((value for word, value in _TIMES.items() if text.startswith(word)), None)
    if match := re.match(rf"{_NUMBER} ?(?:x|times)\b", text):
        times = float(match["number"])
    if times:
        return 1 / times
    return next((share for word, share in _SHARES.items() if re.match(rf"{word}\b", text)), None)
