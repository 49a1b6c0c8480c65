"""Sparse training: weights of prunable channels are pulled towards zero, the weak ones hardest, and no others."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from jetpress.pipeline.network.channels import ChannelGraph, analyse
from jetpress.pipeline.training.penalty import GroupPenalty
from tests.pipeline.functions.networks import Net

INPUTS = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))


class Depthwise(nn.Module):
    """A depthwise and a grouped convolution: a unit of the latter is a channel of each of its groups, or a group."""

    def __init__(self) -> None:
        super().__init__()
        self.wide, self.deep = nn.Conv2d(3, 12, 1, bias=False), nn.Conv2d(12, 12, 3, groups=12)
        self.norm, self.grouped = nn.BatchNorm2d(12), nn.Conv2d(12, 12, 1, groups=3)
        self.head = nn.Linear(12, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.grouped(torch.relu(self.norm(self.deep(self.wide(x))))).mean((2, 3)))  # type: ignore[no-any-return]


class Heads(nn.Module):
    """Attention: whole heads and channels of a head are units."""

    def __init__(self) -> None:
        super().__init__()
        self.into, self.attention = nn.Linear(3, 16), nn.TransformerEncoderLayer(16, 4, 32, batch_first=True)
        self.head = nn.Linear(16, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.attention(self.into(x.flatten(2).mT)).mean(1))  # type: ignore[no-any-return]


NETWORKS = (Net, Depthwise, Heads)


def stepped(module: nn.Module, graph: ChannelGraph, strength: float) -> None:
    """One step in which the loss asks for nothing."""
    optimizer = torch.optim.SGD(module.parameters(), lr=0.1)
    GroupPenalty(module, graph.groups, strength).join(optimizer)
    for parameter in module.parameters():
        parameter.grad = torch.zeros_like(parameter) if parameter.requires_grad else None
    optimizer.step()


@given(st.sampled_from(NETWORKS), st.floats(1e-3, 0.25), st.integers(0, 99))
def test_a_step_moves_what_may_go_towards_zero_and_nothing_else(
    kind: Callable[[], nn.Module], strength: float, seed: int
) -> None:
    torch.manual_seed(seed)
    module = kind().eval()
    graph = analyse(module, (INPUTS,))
    units = {name: torch.zeros_like(p, dtype=torch.bool) for name, p in module.named_parameters()}
    for group in graph.groups:
        for (name, axis), indices in group.slices.items():
            if name in units:
                units[name].movedim(axis, 0)[torch.from_numpy(indices.ravel())] = True
    before = {name: p.detach().clone() for name, p in module.named_parameters()}
    stepped(module, graph, strength)
    assert any(mask.any() for mask in units.values())
    for name, after in module.named_parameters():
        was, inside = before[name], units[name]
        assert torch.equal(after[~inside], was[~inside]), name
        assert (after[inside].abs() < was[inside].abs()).logical_or(was[inside] == 0).all(), name
        assert (after[inside] * was[inside] >= 0).all(), name


def test_the_weakest_unit_is_pulled_sixteen_times_as_hard_as_the_strongest() -> None:
    module = nn.Sequential(nn.Conv2d(3, 8, 1, bias=False), nn.ReLU(), nn.Conv2d(8, 4, 1)).eval()
    with torch.no_grad():
        module[0].weight[:] = torch.arange(1.0, 9.0).view(-1, 1, 1, 1)
        module[2].weight.zero_()
    graph = analyse(module, (INPUTS,))
    (group,) = graph.groups
    assert group.units == 8
    before = module[0].weight.detach().clone()
    stepped(module, graph, 0.01)
    gone = (1 - module[0].weight.detach() / before).mean((1, 2, 3)) / (0.1 * 0.01)
    assert gone.numpy() == pytest.approx(2 ** (4 * np.arange(7, -1, -1) / 7), rel=1e-3)


def test_units_of_one_norm_are_pulled_alike() -> None:
    module = nn.Sequential(nn.Conv2d(3, 8, 1, bias=False), nn.ReLU(), nn.Conv2d(8, 4, 1)).eval()
    for parameter in module.parameters():
        nn.init.constant_(parameter, 0.5)
    stepped(module, analyse(module, (INPUTS,)), 0.01)
    assert module[0].weight.detach().numpy() == pytest.approx(0.5 * (1 - 0.1 * 0.01))


def test_what_is_frozen_stays() -> None:
    module = Net().eval()
    graph = analyse(module, (INPUTS,))
    module.first.weight.requires_grad_(False)
    before = module.first.weight.clone()
    stepped(module, graph, 0.1)
    assert torch.equal(module.first.weight, before)
