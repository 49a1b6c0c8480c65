"""The fewest layers in higher precision that meet a goal."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

FEW = 8
"""Up to so many layers each is tried in INT8 again."""


@dataclass
class Search:
    """What was found and what was tried."""

    without: tuple[str, ...]
    """Layers that stay in higher precision."""
    points: float
    met: bool
    tries: list[tuple[tuple[str, ...], float]] = field(default_factory=list)


def fewest(
    order: Sequence[str],
    judge: Callable[[tuple[str, ...]], float],
    least: float,
    close: Callable[[tuple[str, ...]], bool] = lambda _: True,
) -> Search:
    """Bisection over how many of ``order`` (most sensitive first) are left out, then each of a few back in.

    Points need not rise with every layer that is left out, so what is returned was judged itself. If nothing meets
    ``least``, the best of what was tried.

    Args:
        judge: points with these layers in higher precision.
        close: whether the outputs are then near enough to FP32.
    """
    tries: list[tuple[tuple[str, ...], float]] = []
    good: list[tuple[str, ...]] = []

    def meets(without: tuple[str, ...]) -> bool:
        found = judge(without)
        tries.append((without, found))
        if met := found >= least and close(without):
            good.append(without)
        return met

    low, high = 0, len(order)  # ``low`` fails, ``high`` is what FP32 gives
    if meets(()):
        return Search((), tries[-1][1], True, tries)
    while high - low > 1:
        # Few layers are what is hoped for: the first steps are short.
        middle = min((low + high) // 2, max(1, 2 * low))
        low, high = (low, middle) if meets(tuple(order[:middle])) else (middle, high)
    if not good:
        without, found = max(tries, key=lambda one: one[1])
        return Search(without, found, False, tries)
    without = min(good, key=len)
    for name in reversed(without) if 1 < len(without) <= FEW else ():
        fewer = tuple(one for one in without if one != name)
        if fewer and meets(fewer):
            without = fewer
    return Search(without, next(found for names, found in tries if names == without), True, tries)
