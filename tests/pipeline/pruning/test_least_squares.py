"""The fit against an ordinary least-squares problem, with more samples than columns and with fewer."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from jetpress.pipeline.pruning.least_squares import DAMPINGS, LeastSquares, validated


def drawn(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def problem(weight: Tensor, constant: bool, z: Tensor, y: Tensor, batch: int) -> LeastSquares:
    found = LeastSquares(weight, constant)
    for seen, wanted in zip(z.split(batch, 1), y.split(batch, 1), strict=True):
        found.add(seen, wanted)
    return found


@given(
    groups=st.integers(1, 3), rows=st.integers(1, 4), columns=st.integers(1, 8), count=st.integers(1, 14),
    batch=st.integers(1, 14), constant=st.booleans(), seed=st.integers(0, 1000),
)  # fmt: skip
@settings(max_examples=100, deadline=None)
def test_no_other_weights_have_less_error(
    groups: int, rows: int, columns: int, count: int, batch: int, constant: bool, seed: int
) -> None:
    """The damped problem stacked as an ordinary one, the constant a column of ones that is not damped."""
    z, y, w = (
        drawn(seed + k, groups, *shape)
        for k, shape in enumerate(((count, columns), (count, rows), (rows, columns)))
    )
    z = z + 3.0
    found = problem(w, constant, z, y, batch).fitted()
    damping = (DAMPINGS[0] * z.square().sum(1).mean(-1)).sqrt()[:, None, None]
    ones, nothing = torch.ones(groups, count, int(constant)), torch.zeros(groups, columns, int(constant))
    a = torch.cat(
        [
            torch.cat([z, ones.double()], 2),
            torch.cat([damping * torch.eye(columns).double(), nothing.double()], 2),
        ],
        1,
    )
    b = torch.cat([y - z @ w.mT, torch.zeros(groups, columns, rows, dtype=torch.float64)], 1)
    best = torch.linalg.lstsq(a, b, driver="gelsd").solution.mT
    torch.testing.assert_close(found.weight, w + best[..., :columns], atol=1e-6, rtol=1e-6)
    moved = best[..., columns] if constant else torch.zeros(groups, rows, dtype=torch.float64)
    torch.testing.assert_close(found.constant, moved, atol=1e-6, rtol=1e-6)
    after = (y - z @ found.weight.mT - found.constant[:, None]).square().sum() / y.square().sum()
    assert found.after == pytest.approx(float(after), rel=1e-6, abs=1e-9)
    assert found.before == pytest.approx(float((y - z @ w.mT).square().sum() / y.square().sum()))


def test_weights_stay_where_nothing_is_seen() -> None:
    weight = drawn(0, 1, 3, 5)
    found = problem(weight, True, torch.zeros(1, 9, 5).double(), torch.ones(1, 9, 3).double(), 4).fitted()
    assert torch.equal(found.weight, weight)
    torch.testing.assert_close(found.constant, torch.ones(1, 3).double())
    assert found.after == 0.0


def test_samples_are_kept_only_while_they_are_fewer_than_the_columns() -> None:
    found = problem(drawn(0, 1, 2, 10), True, drawn(1, 1, 9, 10), drawn(2, 1, 9, 2), 3)
    assert sum(z.shape[1] for z, _ in found.held) == 9
    found.add(drawn(3, 1, 4, 10), drawn(4, 1, 4, 2))
    assert not found.held


@pytest.mark.parametrize("few", [4, 9])
def test_a_sample_that_is_infinite_is_left_out(few: int) -> None:
    """By samples and by columns."""
    weight, seen, wanted = drawn(0, 1, 3, 5), drawn(1, 1, few, 5), drawn(2, 1, few, 3)
    rest = problem(weight, True, seen[:, 1:], wanted[:, 1:], few).fitted()
    seen[0, 0, 2] = torch.inf
    found = problem(weight, True, seen, wanted, 4).fitted()
    torch.testing.assert_close(found.weight, rest.weight)
    assert found.after == pytest.approx(rest.after)


def test_weights_stay_without_a_finite_sample() -> None:
    weight = drawn(0, 1, 3, 5)
    found = problem(weight, True, torch.full((1, 9, 5), torch.nan), drawn(2, 1, 9, 3), 4).fitted()
    assert torch.equal(found.weight, weight)
    assert not found.constant.any()


@pytest.mark.parametrize(("few", "many"), [(3, 3), (3, 9), (9, 3), (9, 9)])
def test_two_parts_are_one(few: int, many: int) -> None:
    weight, z, y = drawn(0, 2, 3, 6), drawn(1, 2, few + many, 6), drawn(2, 2, few + many, 3)
    one, other = (problem(weight, True, z[:, part], y[:, part], 2) for part in (slice(few), slice(few, None)))
    fitted = one.fitted(0.1)
    left = y[:, few:] - z[:, few:] @ fitted.weight.mT - fitted.constant[:, None]
    assert other.error(fitted) == pytest.approx(float(left.square().sum()))
    one.join(other)
    whole = problem(weight, True, z, y, 2).fitted()
    torch.testing.assert_close(one.fitted().weight, whole.weight)


def test_few_samples_do_not_lead_far_away() -> None:
    """Thirty noisy samples of forty columns: as little damping as possible is worse than no fit at all."""
    weight, z = drawn(0, 1, 4, 40), drawn(1, 1, 2040, 40)
    y = z @ weight.mT + drawn(2, 1, 2040, 4)
    learnt, held, unseen = (
        problem(weight, True, z[:, part], y[:, part], 10)
        for part in (slice(30), slice(30, 40), slice(40, None))
    )
    free = unseen.error(learnt.fitted())
    assert unseen.error(validated(learnt, held)) < 0.6 * free
