"""From where changed weights are read on, a recording gives what the network gives."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torchvision
from torch import Tensor, nn
from torch.nn import functional as F

from jetpress.pipeline.pruning import replay
from jetpress.pipeline.training.norms import of_the_batch


class Inplace(nn.Module):
    """What an operator changes in place is read before that by another one."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 1)
        self.last, self.norm = nn.Conv2d(8, 4, 1), nn.BatchNorm2d(8)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = self.first(x)
        y = self.second(x)
        x = F.relu_(x)
        x += self.norm(y)
        return self.last(x), x.mean((2, 3))


class Looks(nn.Module):
    """Its code depends on values: no recording can follow it."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(4, 8), nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        return torch.as_tensor(self.last(x if float(x.detach().sum()) > 1e9 else x.relu()))


@pytest.mark.parametrize(
    "build",
    [
        Inplace,
        lambda: torchvision.models.resnet18(weights=None, num_classes=10),
        lambda: torchvision.models.mobilenet_v2(weights=None, num_classes=10),
        lambda: torchvision.models.swin_t(weights=None, num_classes=10),
    ],
)
def test_a_recording_gives_what_the_network_gives(build: Callable[[], nn.Module]) -> None:
    torch.manual_seed(0)
    module, images = build().eval(), (torch.randn(4, 3, 64, 64),)
    with torch.no_grad(), of_the_batch(module):
        runs, whole = replay.of(module, images), replay.Whole(module, images)
        assert isinstance(runs, replay.Replay)
        weights = {name: one for name, one in module.named_parameters() if one.ndim > 1}
        starts = {name: runs.first_reader([name]) for name in weights}
        assert len(set(starts.values())) > 1
        for name in sorted(weights, key=starts.__getitem__)[:: max(1, len(weights) // 8)]:
            held = weights[name].clone()
            weights[name].mul_(0.5)
            found, wanted = runs.outputs(starts[name]), whole.outputs()
            assert all(torch.allclose(a, b, atol=1e-5) for a, b in zip(found, wanted, strict=True)), name
            weights[name].copy_(held)
        assert all(
            torch.allclose(a, b, atol=1e-5) for a, b in zip(runs.outputs(), whole.outputs(), strict=True)
        ), "what was changed and put back leaves no trace"


def test_a_network_that_cannot_be_recorded_runs_whole() -> None:
    module, inputs = Looks().eval(), (torch.randn(4, 4),)
    with torch.no_grad():
        runs = replay.of(module, inputs)
    assert isinstance(runs, replay.Whole)
    assert runs.first_reader(["first.weight"]) == 0
    assert torch.equal(runs.outputs()[0], module(*inputs))


def test_a_recording_that_gives_something_else_is_not_used() -> None:
    """Another value each time that it runs."""

    class Counts(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer, self.calls = nn.Linear(4, 2), 0

        def forward(self, x: Tensor) -> Tensor:
            self.calls += 1
            return torch.as_tensor(self.layer(x) * self.calls)

    with torch.no_grad():
        assert isinstance(replay.of(Counts().eval(), (torch.randn(4, 4),)), replay.Whole)
