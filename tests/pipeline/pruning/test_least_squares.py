"""The fit against an ordinary least-squares problem, with more samples than columns and with fewer."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from jetpress.pipeline.pruning.least_squares import DAMPING, LeastSquares


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
    damping = (DAMPING * z.square().sum(1).mean(-1)).sqrt()[:, None, None]
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
