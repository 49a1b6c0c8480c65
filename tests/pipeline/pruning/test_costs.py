"""Sizes at widths that do not exist yet are those of the network that is cut to them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from jetpress.pipeline.network import channels
from jetpress.pipeline.pruning import allocate, criteria
from jetpress.pipeline.pruning.costs import Sizes


class Mixed(nn.Module):
    """A residual, a depthwise and a grouped convolution, a transposed one, attention and a linear head."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 3, padding=1)
        self.wide = nn.Conv2d(16, 32, 1)
        self.depthwise = nn.Conv2d(32, 32, 3, padding=1, groups=32)
        self.narrow = nn.Conv2d(32, 16, 1)
        self.grouped = nn.Conv2d(16, 16, 3, padding=1, groups=2)
        self.up = nn.ConvTranspose2d(16, 24, 2, stride=2)
        self.query, self.key, self.value = (nn.Linear(24, 16) for _ in range(3))
        self.head = nn.Linear(16, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.relu(self.stem(x))
        x = x + self.narrow(F.relu(self.depthwise(self.wide(x))))
        x = self.up(F.relu(self.grouped(x))).flatten(2).transpose(1, 2)
        x = F.scaled_dot_product_attention(self.query(x), self.key(x), self.value(x))
        return self.head(x.mean(1))


def macs(module: nn.Module, x: torch.Tensor) -> float:
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        module(x)
    return counter.get_total_flops() / 2


@pytest.mark.parametrize("ratio", [0.25, 0.5, 0.75])
def test_sizes_are_those_of_the_cut_network(ratio: float) -> None:
    torch.manual_seed(0)
    module, x = Mixed().eval(), torch.randn(2, 3, 8, 8)
    graph = channels.analyse(module, (x,))
    sizes = Sizes(graph)
    removal = allocate.uniform(graph, criteria.scores("l2", module, graph), ratio, allocate.Room(4))
    smaller, _ = channels.cut(module, (x,), graph, removal)
    for kept, network in ((sizes.dense, module), (sizes.after(removal), smaller)):
        assert sizes.layer_macs(kept).sum() == macs(network, x)
        assert sizes.parameters(kept).sum() == sum(p.numel() for p in network.state_dict().values())
        weights = sum(p.numel() for p in network.parameters() if p.ndim > 1)
        assert sizes.layer_weights(kept).sum() == weights
    assert {"stem", "depthwise", "grouped", "up", "query", "head"} <= set(sizes.layers)
    many = np.concatenate([sizes.dense, sizes.after(removal)])
    assert (sizes.layer_elements(many)[1] <= sizes.layer_elements(many)[0]).all()
    assert sizes.others(many)[1] < sizes.others(many)[0]
