"""Fields of a JSON object that another program wrote: a claim, and every field is asked for by name and type.

Programs that we do not have to trust answer in JSON: a device, the runner on it, a process that opened somebody's
model. What is not as it should be is one `Malformed`, whatever it is: no JSON, nesting without end, a number of
thousands of digits, a text where a number belongs.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TypeVar

T = TypeVar("T")
LARGEST = 2**63
"""No size, count or time of ours is larger."""


class Malformed(ValueError):
    """A field is missing, or is not what it should be; says which and what."""


def parse(text: str) -> dict[str, object] | None:
    """The JSON object that ``text`` is; None where it is something else."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


@dataclass(frozen=True)
class Fields:
    """An object, and where it stands in another."""

    values: Mapping[str, object]
    path: str = ""
    """Ends with a dot, or is empty."""

    def text(self, name: str) -> str:
        """A text that can be written to a file; JSON also knows halves of characters."""
        return self._get(name, _text, "text")

    def integer(self, name: str) -> int:
        """A whole number."""
        return self._get(name, _integer, "whole number")

    def number(self, name: str) -> float:
        """A finite number."""
        return self._get(name, _number, "number")

    def flag(self, name: str) -> bool:
        """True or false."""
        return self._get(name, _flag, "true or false")

    def texts(self, name: str) -> tuple[str, ...]:
        """A list of texts."""
        return self._get(name, _list_of(_text), "list of texts")

    def numbers(self, name: str) -> tuple[float, ...]:
        """A list of finite numbers."""
        return self._get(name, _list_of(_number), "list of numbers")

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

    def each(self, name: str) -> Iterator[tuple[str, Fields]]:
        """The objects inside an object, with their names."""
        members = self.inside(name)
        for key in members.values:
            if _text(key) is None:
                raise Malformed(f"{self.path}{name} has a name that is no text")
            yield key, members.inside(key)

    def has(self, name: str) -> bool:
        """Whether there is such a field, and it is not null."""
        return self.values.get(name) is not None

    def _get(self, name: str, read: Callable[[object], T | None], kind: str) -> T:
        if name not in self.values:
            raise Malformed(f"{self.path}{name} is missing")
        value = read(self.values[name])
        if value is None:
            raise Malformed(f"{self.path}{name} is no {kind}")
        return value


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and not any("\ud800" <= c <= "\udfff" for c in value) else None


def _flag(value: object) -> bool | None:
    return value if isinstance(value, bool) else None


def _integer(value: object) -> int | None:
    whole = isinstance(value, int) and not isinstance(value, bool)
    return value if whole and isinstance(value, int) and abs(value) < LARGEST else None


def _number(value: object) -> float | None:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    whole = _integer(value)
    return None if whole is None else float(whole)


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
