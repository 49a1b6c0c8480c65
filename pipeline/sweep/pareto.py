"""Which cells no other one beats: as good in every objective, and better in one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

from pydantic import JsonValue

Direction = Literal["maximize", "minimize"]
OBJECTIVES: Mapping[str, tuple[str, Direction]] = {
    "accuracy": ("accuracy", "maximize"),
    "latency": ("latency_ms", "minimize"),
    "energy": ("energy_mj", "minimize"),
    "size": ("size_bytes", "minimize"),
    "parameters": ("parameters", "minimize"),
    "macs": ("macs", "minimize"),
}
"""What a recipe's author names -> its column, and which way is better."""


def front(points: Sequence[Sequence[float]], directions: Sequence[Direction]) -> list[int]:
    """Positions of the points that no other dominates; of equal ones all.

    Args:
        points: ``[points][objectives]``.
        directions: of each objective.
    """
    signs = [-1 if one == "maximize" else 1 for one in directions]
    costs = [tuple(sign * value for sign, value in zip(signs, point, strict=True)) for point in points]
    return [n for n, cost in enumerate(costs) if not any(_beats(other, cost) for other in costs)]


def _beats(one: tuple[float, ...], other: tuple[float, ...]) -> bool:
    return one != other and all(a <= b for a, b in zip(one, other, strict=True))


def best(rows: Sequence[Mapping[str, JsonValue]], objectives: Sequence[str]) -> list[int]:
    """Positions of the rows on the front of their target: times of different devices are not compared."""
    chosen = list[int]()
    columns = [OBJECTIVES[name] for name in objectives]
    for target in dict.fromkeys(row.get("target") for row in rows):
        known = [
            (number, [float(str(row[column])) for column, _ in columns])
            for number, row in enumerate(rows)
            if row.get("target") == target and all(row.get(column) is not None for column, _ in columns)
        ]
        kept = front([point for _, point in known], [direction for _, direction in columns])
        chosen += [known[position][0] for position in kept]
    return sorted(chosen)


def measured(rows: Sequence[Mapping[str, JsonValue]], target: JsonValue) -> list[str]:
    """The objectives that a target's cells have: latency and energy where they were measured."""
    own = [row for row in rows if row.get("target") == target]
    names = ("accuracy", "latency", "energy", "size")
    return [name for name in names if any(row.get(OBJECTIVES[name][0]) for row in own)]
