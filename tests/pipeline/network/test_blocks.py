"""Residual blocks are found, whatever they are made of; nothing else is."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torchvision.models import get_model

from jetpress.pipeline.network import blocks
from studies.resnet_cifar import resnet


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("resnet18", ["layer1.0", "layer1.1", "layer2.1", "layer3.1", "layer4.1"]),
        (
            "mobilenet_v3_small",
            ["features.3", "features.5", "features.6", "features.8", "features.10", "features.11"],
        ),
        ("vgg11", []),
        ("shufflenet_v2_x0_5", []),
    ],
)
def test_torchvision(name: str, found: list[str]) -> None:
    module = get_model(name, weights=None).eval()
    state = {key: value.clone() for key, value in module.state_dict().items()}
    assert list(blocks.removable(module, (torch.randn(2, 3, 64, 64),))) == found
    assert all(torch.equal(value, state[key]) for key, value in module.state_dict().items())


def test_a_shortcut_that_changes_the_shape_is_no_block() -> None:
    found = blocks.removable(resnet(20).eval(), (torch.randn(1, 3, 32, 32),))
    assert found == ("layer1.0", "layer1.1", "layer1.2", "layer2.1", "layer2.2", "layer3.1", "layer3.2")
    assert "layer1.1" not in blocks.removable(
        resnet(20).eval(), (torch.randn(1, 3, 32, 32),), ("layer1.1.*",)
    )


def test_a_branch_of_a_residual_is_no_block() -> None:
    """Without it, ``x + branch(x)`` would be ``2 x``."""

    class Residual(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.branch = nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 8))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x + self.branch(x)

    module = nn.Sequential(nn.Linear(4, 8), Residual(), nn.Linear(8, 2)).eval()
    assert blocks.removable(module, (torch.randn(3, 4),)) == ("1",)


def test_bypassed_and_back() -> None:
    module, x = resnet(8).eval(), torch.randn(2, 3, 32, 32)
    before = module(x)
    with blocks.bypassed(module, "layer1.0"):
        assert not torch.equal(module(x), before)
    assert torch.equal(module(x), before)
    assert isinstance(blocks.remove(module, ["layer1.0"]).get_submodule("layer1.0"), nn.Identity)
