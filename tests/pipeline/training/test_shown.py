"""Samples with pictures: those on which two networks differ come first."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from jetpress.pipeline.data.loading import load
from jetpress.pipeline.network.models import Network
from jetpress.pipeline.recipe.sections.data import DataConfig
from jetpress.pipeline.recipe.sections.model import ModelConfig
from jetpress.pipeline.recipe.sections.task import TaskConfig
from jetpress.pipeline.store.facts.network import SAMPLES
from jetpress.pipeline.training import shown
from jetpress.pipeline.training.evaluate import judged
from tests.pipeline.data.formats import small


class Above(nn.Module):
    """Class 1 where the red of an image is above a limit, else class 0."""

    def __init__(self, limit: float) -> None:
        super().__init__()
        self.limit = limit

    def forward(self, x: Tensor) -> Tensor:
        return torch.stack([self.limit - x[:, 0], x[:, 0] - self.limit], dim=1)


def test_where_two_networks_differ_comes_first(tmp_path: Path) -> None:
    """Of twelve images, whose red is their name, two are between the limits of the two networks."""
    root = small.masks(tmp_path / "data", [1] * 4)
    small.masks(root, [1] * 12, split="val")
    pixels = np.zeros(small.SIZE[::-1], np.uint8)
    pixels[5:] = 1  # so that one answer is better than the other
    for path in (root / "val" / "masks").iterdir():
        Image.fromarray(pixels).save(path)
    config = DataConfig(
        source="masks",
        root=str(root),
        size=(20, 40),
        mean=(0.0,) * 3,
        std=(1.0,) * 3,
        fit="stretch",
        batch_size=2,
    )
    data = load(config, 0, TaskConfig(kind="segmentation"))
    networks = [Network(Above(limit / 255), ModelConfig(), config, task=data.task) for limit in (8.5, 10.5)]
    kept = [shown.Kept(network, data) for network in networks]
    results = [judged(one, data.test, "here", see) for one, see in zip(networks, kept, strict=True)]
    order = sorted(str(number) for number in range(12))
    between = {order.index("9"), order.index("10")}
    gained = shown.gains(*results, kept[0].found)
    assert {number for number, points in gained.items() if points} == between
    assert all(gained[number] < 0 for number in between)
    shown.keep(networks[0], data, *kept, gained, tmp_path)
    told = json.loads((tmp_path / SAMPLES).read_text())
    numbers = [one["number"] for one in told]
    assert set(numbers[:2]) == between
    assert len(set(numbers)) == len(numbers) == shown.SHOWN
    assert told[0]["gained"] == gained[numbers[0]]
