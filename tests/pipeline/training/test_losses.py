"""Where the loss comes from: the recipe's function, the network's own, the task's."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from jetpress.pipeline.network.models import Network
from jetpress.pipeline.recipe.sections.data import DataConfig
from jetpress.pipeline.recipe.sections.model import ModelConfig
from jetpress.pipeline.recipe.sections.task import TaskConfig
from jetpress.pipeline.training.evaluate import loss

CODE = """
def plain(outputs, target):
    return (outputs - target).abs().mean()

def with_model(model, outputs, target):
    return plain(outputs, target) + 100 * model.weight.abs().sum()

def several(outputs, target):
    return {"near": plain(outputs, target), "far": 3 * plain(outputs, target)}
"""


class Own(nn.Linear):
    """With a loss of its own."""

    def loss(self, outputs: Tensor, target: Tensor) -> dict[str, Tensor]:
        return {"one": 10 * (outputs - target).abs().mean(), "other": self.bias.sum()}


@pytest.mark.parametrize(
    ("given", "own", "wanted"),
    [
        ("plain", True, 1.0),
        ("with_model", False, 401.0),
        ("several", True, 4.0),
        (None, True, 10.5),
        (None, False, 0.5),
        ("smooth_l1", True, 0.5),
    ],
)
def test_which_loss_counts(tmp_path: Path, given: str | None, own: bool, wanted: float) -> None:
    (tmp_path / "losses.py").write_text(CODE)
    name = f"{tmp_path / 'losses.py'}:{given}" if given not in (None, "smooth_l1") else given
    module: nn.Linear = (Own if own else nn.Linear)(4, 1)
    nn.init.ones_(module.weight)
    nn.init.constant_(module.bias, 0.5)
    network = Network(module, ModelConfig(), DataConfig(loss=name), task=TaskConfig(kind="regression"))
    outputs, target = torch.zeros(2, 3), torch.ones(2, 3)
    assert loss(network)(outputs, target).item() == pytest.approx(wanted)
