"""The widths that lose least accuracy at a given cost.

A knapsack with one item for each layer and width, as in HALP (Shen et al., 2022), but the cost is that of the
whole network at all its widths: what a layer saves depends on its neighbours. So it is solved step by step:
of all narrower widths of all layers the one that loses least for what it saves, over and over; at the end
widths are given back where the budget leaves room. Of several costs what is above each limit counts, as a share of it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Cost = Callable[[NDArray[np.float64]], NDArray[np.float64]]
"""Units kept of every item ``[n, items]`` -> costs ``[n, limits]``."""

Excess = Callable[[Sequence[Sequence[int]]], NDArray[np.float64]]
"""Choices taken of every item ``[n, items]`` -> how far above the limits ``[n]``."""


@dataclass(frozen=True)
class Choice:
    """One width of an item: units kept, and the accuracy that it loses (any unit, 0 for the widest)."""

    kept: int
    loss: float


def solve(items: Sequence[Sequence[Choice]], cost: Cost, limits: Sequence[float]) -> list[int]:
    """Which choice to take of every item: the cheapest loss found at costs of at most ``limits``.

    The choices of an item go from the widest to the narrowest. If even the narrowest network costs more, that
    one is returned: the caller sees it by its cost.
    """

    def excess(many: Sequence[Sequence[int]]) -> NDArray[np.float64]:
        """How far above the limits ``[n]``; what is below one is no merit."""
        kept = [[item[c].kept for item, c in zip(items, one, strict=True)] for one in many]
        above = cost(np.array(kept, dtype=np.float64)) - np.array(limits)
        return np.asarray((np.maximum(above, 0) / np.maximum(limits, 1e-30)).sum(1))

    taken = [0] * len(items)
    while (now := excess([taken])[0]) > 0:
        moves = [(i, c) for i, item in enumerate(items) for c in range(taken[i] + 1, len(item))]
        if not moves:
            return taken
        saved = now - excess([_moved(taken, *move) for move in moves])
        losses = np.array([items[i][c].loss - items[i][taken[i]].loss for i, c in moves])
        if not (saved > 0).any():
            return _narrowest(items)
        price = np.where(saved > 0, np.maximum(losses, 0) / np.maximum(saved, 1e-30), np.inf)
        best = np.flatnonzero(price == price.min())
        taken = _moved(taken, *moves[best[np.argmax(saved[best])]])
    return _given_back(items, taken, excess)


def _given_back(items: Sequence[Sequence[Choice]], taken: list[int], excess: Excess) -> list[int]:
    """Wider again where the budget leaves room, what loses most first."""
    while True:
        moves = [(i, c) for i, item in enumerate(items) for c in range(taken[i]) if item]
        if not moves:
            return taken
        fits = excess([_moved(taken, *move) for move in moves]) == 0
        gains = np.array([items[i][taken[i]].loss - items[i][c].loss for i, c in moves])
        gains = np.where(fits, gains, -1.0)
        if gains.max() <= 0:
            return taken
        taken = _moved(taken, *moves[int(gains.argmax())])


def _narrowest(items: Sequence[Sequence[Choice]]) -> list[int]:
    return [len(item) - 1 for item in items]


def _moved(taken: Sequence[int], item: int, choice: int) -> list[int]:
    return [choice if i == item else c for i, c in enumerate(taken)]
