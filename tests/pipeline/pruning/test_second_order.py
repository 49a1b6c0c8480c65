"""Channels are removed as if their layer's output were fitted anew each time, without fitting it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from jetpress.pipeline.pruning.second_order import DAMPING, Reader, columns_of, removal_costs


def drawn(rows: int, units: int, numbers: int, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    draw = torch.Generator().manual_seed(seed)
    inputs = torch.randn(200, units * numbers, generator=draw, dtype=torch.float64)
    mixed = inputs @ torch.randn(units * numbers, units * numbers, generator=draw, dtype=torch.float64)
    weight = torch.randn(rows, units * numbers, generator=draw, dtype=torch.float64)
    return weight, mixed.mT @ mixed, torch.arange(units * numbers).reshape(numbers, units).mT


def least_error(weight: Tensor, gram: Tensor, gone: Tensor) -> float:
    """Of the layer's damped output, without some columns, by solving it."""
    damped = gram + DAMPING * gram.diagonal().mean() * torch.eye(len(gram), dtype=torch.float64)
    stays = torch.ones(len(gram), dtype=torch.bool)
    stays[gone] = False
    best = torch.zeros_like(weight)
    if stays.any():
        best[:, stays] = torch.linalg.solve(damped[stays][:, stays], damped[stays] @ weight.mT).mT
    return float((((weight - best) @ damped) * (weight - best)).sum() / ((weight @ gram) * weight).sum())


@given(st.integers(1, 4), st.integers(2, 6), st.integers(1, 4), st.integers(0, 1000))
@settings(max_examples=40, deadline=None)
def test_costs_are_those_of_the_layer_fitted_anew(rows: int, units: int, numbers: int, seed: int) -> None:
    weight, gram, places = drawn(rows, units, numbers, seed)
    reader, gone, spent = Reader.of(weight, gram, places), torch.arange(0), 0.0
    left = list(range(units))
    while left:
        costs = reader.costs(torch.tensor(left))
        for unit, cost in zip(left, costs.tolist(), strict=True):
            wanted = least_error(weight, gram, torch.cat([gone, places[unit]]))
            assert spent + cost == pytest.approx(wanted, rel=1e-6, abs=1e-8)
        chosen = int(costs.argmin())
        spent += float(costs[chosen])
        unit = left.pop(chosen)
        reader.remove(torch.tensor([unit]))
        gone = torch.cat([gone, places[unit]])


def test_of_two_equal_channels_only_one_is_cheap() -> None:
    draw = torch.Generator().manual_seed(0)
    inputs = torch.randn(300, 4, generator=draw, dtype=torch.float64)
    inputs[:, 3] = inputs[:, 0]
    weight = torch.randn(5, 4, generator=draw, dtype=torch.float64)
    costs = removal_costs([Reader.of(weight, inputs.mT @ inputs, torch.arange(4)[:, None])], 4)
    cheap = {0, 3} & set(np.flatnonzero(costs < 1e-3).tolist())
    assert len(cheap) == 1
    assert np.delete(costs, list(cheap)).min() > 0.05


def test_a_channel_costs_what_all_its_readers_lose() -> None:
    weight, gram, places = drawn(3, 4, 2, 0)
    both = [Reader.of(weight, gram, places) for _ in range(2)]
    np.testing.assert_allclose(
        removal_costs(both, 4), 2 * removal_costs([Reader.of(weight, gram, places)], 4)
    )


def test_columns_of_a_convolution_are_kernel_positions_then_channels() -> None:
    assert columns_of(np.array([[1], [3]]), 4, 12).tolist() == [[1, 5, 9], [3, 7, 11]]
