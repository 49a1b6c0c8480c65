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
from jetpress.pipeline.training.losses import batch_of, loss

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
    assert loss(network)(outputs, target, ()).item() == pytest.approx(wanted)


class OfBatches(nn.Conv2d):
    """As Ultralytics' networks have it: a vector, and what is shown beside it."""

    def loss(self, batch: dict[str, Tensor], preds: Tensor | None = None) -> tuple[Tensor, Tensor]:
        found = self.forward(batch["img"]) if preds is None else preds
        parts = torch.stack([found.mean(), batch["bboxes"].sum(), batch["cls"].sum()])
        return parts, parts.detach()


class Alone(OfBatches):
    """It runs the network by itself."""

    def loss(self, batch: dict[str, Tensor]) -> Tensor:  # type: ignore[override]
        return super().loss(batch)[0].sum()


@pytest.mark.parametrize("kind", [OfBatches, Alone])
def test_a_loss_of_whole_batches(kind: type[OfBatches]) -> None:
    module, images = kind(3, 1, 1), torch.rand(2, 3, 10, 20)
    target = {
        "boxes": torch.tensor(
            [[[2.0, 1.0, 6.0, 3.0], [0.0, 0.0, 0.0, 0.0]], [[0.0, 0.0, 10.0, 5.0], [1, 1, 2, 2]]]
        ),
        "labels": torch.tensor([[4, -1], [2, 3]]),
        "crowd": torch.tensor([[False, False], [False, True]]),
    }
    batch = batch_of((images,), target)
    assert batch["batch_idx"].tolist() == [0, 1]
    assert batch["cls"].tolist() == [[4], [2]]
    assert batch["bboxes"].flatten().tolist() == pytest.approx([0.2, 0.2, 0.2, 0.2, 0.25, 0.25, 0.5, 0.5])
    network = Network(module, ModelConfig(), DataConfig(), task=TaskConfig(kind="detection"))
    found = loss(network)(module(images), target, (images,))
    assert found.item() == pytest.approx(module(images).mean().item() + 0.8 + 1.5 + 6)
    found.backward()
    assert module.weight.grad is not None
