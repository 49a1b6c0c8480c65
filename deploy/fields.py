"""Fields of a JSON object that another program wrote: a claim, and every field is asked for by name and type.

Programs that we do not have to trust answer in JSON: a device, the runner on it, a process that opened somebody's
model. What is not as it should be is one `Malformed`, whatever it is: no JSON, nesting without end, a number of
thousands of digits, a text where a number belongs. Texts are made plain: an escape of JSON can hide one of a terminal.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from jetpress.deploy.process import plain

T = TypeVar("T")
W = TypeVar("W", bound=str)
SURROGATES = re.compile("[\ud800-\udfff]")
LARGEST = 2**63
"""No size, count or time of ours is larger."""
DEEPEST = 32
"""Nesting; what is parsed may be written again, which takes as deep a stack."""


class Malformed(ValueError):
    """A field is missing, or is not what it should be; says which and what."""


def parse(text: str) -> dict[str, object] | None:
    """The JSON object that ``text`` is; None where it is something else."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) and not _is_deep(value) else None


def made_plain(value: Any) -> Any:
    """The same JSON value, all texts and names in it harmless on a terminal: for what is kept, or shown, as it came."""
    if isinstance(value, str):
        return plain(value)
    if isinstance(value, dict):
        return {plain(name): made_plain(inside) for name, inside in value.items()}
    return [made_plain(inside) for inside in value] if isinstance(value, list) else value


def _is_deep(value: object) -> bool:
    level = [value]
    for _ in range(DEEPEST):
        level = [
            inside
            for outer in level
            if isinstance(outer, dict | list)
            for inside in (outer.values() if isinstance(outer, dict) else outer)
        ]
        if not level:
            return False
    return True


@dataclass(frozen=True)
class Fields:
    """An object, and where it stands in another."""

    values: Mapping[str, object]
    path: str = ""
    """Ends with a dot, or is empty."""

    def text(self, name: str) -> str:
        """A text that can be written to a file; JSON also knows halves of characters."""
        return self._get(name, _text, "text")

    def verbatim(self, name: str) -> str:
        """A text as it came, to be searched and not to be shown."""
        return self._get(name, _verbatim, "text")

    def integer(self, name: str) -> int:
        """A whole number."""
        return self._get(name, _integer, "whole number")

    def count(self, name: str) -> int:
        """A whole number above 0."""
        return self._get(
            name, lambda value: _integer(value) if _positive(value) else None, "whole number above 0"
        )

    def number(self, name: str) -> float:
        """A finite number."""
        return self._get(name, _number, "number")

    def positive(self, name: str) -> float:
        """A finite number above 0: a time, a size."""
        return self._get(name, _positive, "number above 0")

    def flag(self, name: str) -> bool:
        """True or false."""
        return self._get(name, _flag, "true or false")

    def texts(self, name: str) -> tuple[str, ...]:
        """A list of texts."""
        return self._get(name, _list_of(_text), "list of texts")

    def times(self, name: str) -> tuple[float, ...]:
        """A list of at least one finite number above 0."""
        return self._get(name, lambda value: _list_of(_positive)(value) or None, "list of numbers above 0")

    def choice(self, name: str, words: Sequence[W]) -> W:
        """One of these words."""
        return self._get(
            name,
            lambda value: next((word for word in words if word == value), None),
            f"one of {', '.join(words)}",
        )

    def named(self, name: str) -> dict[str, float]:
        """An object of finite numbers."""
        members = self._members(name)
        return {plain(key): members.number(key) for key in members.values}

    def interval(self, name: str) -> tuple[float, float]:
        """A list of two finite numbers, the lower first."""
        return self._get(name, _interval, "list of two numbers, the lower first")

    def inside(self, name: str) -> Fields:
        """An object inside this one."""
        return Fields(self._get(name, _object, "object"), f"{self.path}{name}.")

    def objects(self, name: str) -> list[Fields]:
        """A list of objects."""
        values = self._get(name, _list_of(_object), "list of objects")
        return [Fields(value, f"{self.path}{name}[{at}].") for at, value in enumerate(values)]

    def each(self, name: str) -> dict[str, Fields]:
        """The objects inside an object, by their names."""
        members = self._members(name)
        return {plain(key): members.inside(key) for key in members.values}

    def is_null(self, name: str) -> bool:
        """Whether a field that must be there is null."""
        if name not in self.values:
            raise Malformed(plain(f"{self.path}{name} is missing"))
        return self.values[name] is None

    def _members(self, name: str) -> Fields:
        members = self.inside(name)
        if any(_text(key) is None for key in members.values):
            raise Malformed(plain(f"{self.path}{name} has a name that is no text"))
        return members

    def _get(self, name: str, read: Callable[[object], T | None], kind: str) -> T:
        value = None if self.is_null(name) else read(self.values[name])
        if value is None:
            raise Malformed(plain(f"{self.path}{name} is not: {kind}"))
        return value


def _verbatim(value: object) -> str | None:
    return value if isinstance(value, str) and not SURROGATES.search(value) else None


def _text(value: object) -> str | None:
    text = _verbatim(value)
    return None if text is None else plain(text)


def _flag(value: object) -> bool | None:
    return value if isinstance(value, bool) else None


def _integer(value: object) -> int | None:
    if not isinstance(value, int) or isinstance(value, bool):
        return None
    return value if abs(value) < LARGEST else None


def _number(value: object) -> float | None:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    whole = _integer(value)
    return None if whole is None else float(whole)


def _positive(value: object) -> float | None:
    number = _number(value)
    return number if number is not None and number > 0 else None


def _object(value: object) -> dict[str, object] | None:
    return value if isinstance(value, dict) else None


def _list_of(read: Callable[[object], T | None]) -> Callable[[object], tuple[T, ...] | None]:
    def read_all(value: object) -> tuple[T, ...] | None:
        items = [read(item) for item in value] if isinstance(value, list) else [None]
        good = tuple(item for item in items if item is not None)
        return good if len(good) == len(items) else None

    return read_all


def _interval(value: object) -> tuple[float, float] | None:
    numbers = _list_of(_number)(value)
    return (numbers[0], numbers[1]) if numbers and len(numbers) == 2 and numbers[0] <= numbers[1] else None
