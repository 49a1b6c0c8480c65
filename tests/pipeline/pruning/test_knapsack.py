"""The knapsack against brute force."""

from __future__ import annotations

import itertools

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from jetpress.pipeline.pruning.knapsack import Choice, solve

widths = st.lists(st.floats(0, 10), min_size=1, max_size=4)


def item(losses: list[float]) -> list[Choice]:
    """A layer of so many widths: the losses grow as it gets narrower."""
    grown = [0.0, *np.cumsum(losses).tolist()]
    return [Choice(8 * (len(grown) - place), loss) for place, loss in enumerate(grown)]


def total(kept: NDArray[np.float64]) -> NDArray[np.float64]:
    """Of one cost: the units kept."""
    return kept.sum(1, keepdims=True)


@given(st.lists(widths, min_size=1, max_size=4), st.floats(0.2, 1.2), st.integers(0, 99))
def test_it_meets_the_limit_and_is_near_the_best(many: list[list[float]], share: float, seed: int) -> None:
    items = [item(losses) for losses in many]
    prices = np.random.default_rng(seed).uniform(0.1, 2, len(items) + 1)

    def cost(kept: NDArray[np.float64]) -> NDArray[np.float64]:
        """Every layer, and one product of neighbours: what a layer saves depends on the others."""
        return np.asarray(kept @ prices[:-1] + prices[-1] * kept[:, 0] * kept[:, -1] / 16)[:, None]

    def value(choice: tuple[int, ...]) -> tuple[float, float]:
        kept = np.array([[i[c].kept for i, c in zip(items, choice, strict=True)]], dtype=np.float64)
        return float(cost(kept)[0, 0]), sum(i[c].loss for i, c in zip(items, choice, strict=True))

    limit = share * value((0,) * len(items))[0]
    found = value(tuple(solve(items, cost, [limit])))
    every = [value(c) for c in itertools.product(*(range(len(i)) for i in items))]
    possible = [loss for price, loss in every if price <= limit]
    if not possible:
        assert found[0] == min(price for price, _ in every)
        return
    assert found[0] <= limit
    whole = sum(i[-1].loss for i in items)
    assert found[1] <= min(possible) + 0.5 * whole  # greedy, but never foolish
    if share >= 1:
        assert found[1] == 0


def test_what_goes_beyond_the_budget_is_no_merit() -> None:
    """One layer saves far more than is needed at a high loss, another just enough at a low one."""
    items = [[Choice(10, 0.0), Choice(1, 5.0)], [Choice(4, 0.0), Choice(2, 1.0)]]
    assert solve(items, total, [12.0]) == [0, 1]


def test_a_width_is_given_back_where_the_budget_leaves_room() -> None:
    items = [[Choice(8, 0.0), Choice(6, 1.0)], [Choice(8, 0.0), Choice(1, 2.0)]]
    assert solve(items, total, [9.5]) == [0, 1]


@given(st.integers(0, 99), st.floats(0.3, 1.0), st.floats(0.3, 1.0))
def test_two_costs_are_both_met(seed: int, first: float, second: float) -> None:
    drawn = np.random.default_rng(seed)
    items = [item(drawn.uniform(0, 10, 4).tolist()) for _ in range(3)]
    prices = drawn.uniform(0.1, 2, (3, 2))
    limits = np.array([first, second]) * (np.array([one[0].kept for one in items]) @ prices)
    taken = solve(items, lambda kept: kept @ prices, limits.tolist())
    assert (np.array([one[c].kept for one, c in zip(items, taken, strict=True)]) @ prices <= limits).all()


def test_only_the_cost_above_its_limit_counts() -> None:
    """The first item saves much of a cost that is met, the second a little of the one that is not."""
    items = [[Choice(8, 0.0), Choice(1, 0.1)], [Choice(8, 0.0), Choice(7, 1.0)]]
    assert solve(items, lambda kept: kept, [8.0, 7.0]) == [0, 1]


def test_nothing_helps() -> None:
    assert solve([[Choice(4, 0.0)], [Choice(2, 0.0)]], total, [1.0]) == [0, 0]
    assert solve([], total, [1.0]) == []
    assert solve([], total, [0.0]) == [], "a network without groups has no cost"
