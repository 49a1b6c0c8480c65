"""A head as YOLOv8 has it, written anew: sixteen bins a side, whose mean is the distance."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from jetpress.pipeline.network import channels
from jetpress.pipeline.network.channels.graph import TracedNet

BINS, CLASSES = 16, 3


class Mean(nn.Module):
    """The mean of 0 to 15, by a softmax over them; ``how``: a frozen convolution, a product with a buffer."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.how = how
        numbers = torch.arange(BINS, dtype=torch.float32)
        if how == "convolution":
            self.conv = nn.Conv2d(BINS, 1, 1, bias=False).requires_grad_(requires_grad=False)
            self.conv.weight.data[:] = numbers.view(1, BINS, 1, 1)
        else:
            self.register_buffer("numbers", numbers)

    def forward(self, x: Tensor) -> Tensor:
        images, _, anchors = x.shape
        bins = x.view(images, 4, BINS, anchors)
        if self.how == "convolution":
            return self.conv(bins.transpose(2, 1).softmax(1)).view(images, 4, anchors)
        if self.how == "product":
            return (bins.softmax(2) * self.numbers.view(1, 1, BINS, 1)).sum(2)
        return bins.permute(0, 3, 1, 2).softmax(3).matmul(self.numbers.view(BINS, 1)).squeeze(3).mT


class Detector(nn.Module):
    """One level; raw maps in training, ``[n, 4 + classes, anchors]`` otherwise."""

    def __init__(self, how: str, trains_otherwise: bool) -> None:
        super().__init__()
        self.trains_otherwise = trains_otherwise
        self.stem = nn.Sequential(nn.Conv2d(3, 16, 3, 2, 1), nn.BatchNorm2d(16), nn.SiLU())
        self.box = nn.Sequential(nn.Conv2d(16, 24, 3, 1, 1), nn.SiLU(), nn.Conv2d(24, 4 * BINS, 1))
        self.classes = nn.Sequential(nn.Conv2d(16, 24, 3, 1, 1), nn.SiLU(), nn.Conv2d(24, CLASSES, 1))
        self.mean = Mean(how)

    def forward(self, images: Tensor) -> Tensor:
        x = self.stem(images)
        raw = torch.cat([self.box(x), self.classes(x)], 1).flatten(2)
        if self.training and self.trains_otherwise:
            return raw
        box, classes = raw.split((4 * BINS, CLASSES), 1)
        return torch.cat([self.mean(box), classes.sigmoid()], 1)


@pytest.mark.parametrize("how", ["convolution", "product", "matrix"])
@pytest.mark.parametrize("trains_otherwise", [False, True])
def test_bins_stay_and_everything_else_goes(how: str, trains_otherwise: bool) -> None:
    torch.manual_seed(0)
    module, inputs = Detector(how, trains_otherwise).eval(), (torch.randn(2, 3, 16, 16),)
    graph = channels.analyse(module, inputs)
    assert [group.name for group in graph.groups] == ["stem.0.weight", "box.0.weight", "classes.0.weight"]
    assert "weighs mean." in graph.fixed["box.2.weight"]
    removal = {group.name: list(range(group.units // 2)) for group in graph.groups}
    smaller, step = channels.cut(copy.deepcopy(module), inputs, graph, removal)
    assert not isinstance(smaller, TracedNet)
    assert set(step["units"]) == set(removal)
    assert smaller.box[2].out_channels == 4 * BINS
    assert smaller.train()(*inputs).shape == module.train()(*inputs).shape


def test_a_softmax_over_what_is_learnt_may_lose_channels() -> None:
    """As in a selective kernel: which of many features counts."""

    class Selective(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scores, self.out = nn.Linear(6, 12), nn.Linear(12, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.out(self.scores(x).softmax(1))

    graph = channels.analyse(Selective(), (torch.randn(2, 6),))
    assert [group.name for group in graph.groups] == ["scores.weight"]
