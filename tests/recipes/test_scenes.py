"""The recipes for detection and segmentation: their scenes, their networks, and what pruning leaves of these."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from jetpress.benchmarks.report.record import read
from jetpress.pipeline.data import loading
from jetpress.pipeline.network import channels, detectors
from jetpress.pipeline.network.channels.graph import TracedNet
from jetpress.pipeline.recipe.reading import Recipe
from jetpress.pipeline.run import run
from recipes import detect, segment
from tests.recipes.test_recipes import RECIPES, SHORT


def loaded(name: str) -> loading.Data:
    recipe = Recipe.load(RECIPES / f"{name}.toml")
    return loading.load(recipe.data, recipe.seed, recipe.task)


def test_boxes_and_masks_are_of_the_same_digits() -> None:
    (images,), boxes = loaded("detect").test.batch(range(16), None)
    (same,), masks = loaded("segment").test.batch(range(16), None)
    assert torch.equal(images, same)
    assert images.amin() >= -1
    assert images.amax() <= 1
    found = 0
    for mask, sides, labels in zip(masks, boxes["boxes"], boxes["labels"], strict=True):
        inside = torch.zeros_like(mask, dtype=torch.bool)
        for (x1, y1, x2, y2), label in zip(sides.int().tolist(), labels.tolist(), strict=True):
            if label >= 0:
                ink = mask[y1:y2, x1:x2] == label + 1
                assert all(side.any() for side in (ink[0], ink[-1], ink[:, 0], ink[:, -1]))
                inside[y1:y2, x1:x2] = True
                found += 1
        assert not mask[~inside].any()
    assert found > 30


def test_no_digit_is_in_two_splits_and_only_training_scenes_change() -> None:
    data = loaded("detect")
    train, test = (
        {one.numpy().tobytes() for one in split.dataset.digits} for split in (data.train, data.test)
    )  # type: ignore[union-attr]
    assert not train & test
    assert len(train) == 1200
    for split, key, same in ((data.test, None, True), (data.train, 1, False)):
        first, second = (split.batch([3], key and key + n)[0][0] for n in range(2))
        assert torch.equal(first, second) == same


def test_the_loss_is_none_where_everything_is_found() -> None:
    """One cell answers for each of two boxes, four for the third: theirs are the boxes, their scores the overlap."""
    module = detect.build()
    boxes = torch.tensor([[[6.0, 6, 18, 18], [38, 38, 50, 50], [10, 40, 22, 56], [0, 0, 0, 0]]])
    target = {"boxes": boxes, "labels": torch.tensor([[2, 0, 9, -1]])}
    found = module.train()(torch.zeros(2, 3, 64, 64))
    middles = found["middles"]
    assert middles[9].tolist() == [12, 12]
    ideal = {"boxes": torch.zeros(1, 64, 4), "logits": torch.full((1, 10, 64), -30.0), "middles": middles}
    centres = (boxes[0, :3, :2] + boxes[0, :3, 2:]) / 2
    near = (middles[:, None] - centres).abs().amax(2) <= 8
    for cell, place in near.nonzero().tolist():
        ideal["boxes"][0, cell] = boxes[0, place]
        ideal["logits"][0, int(target["labels"][0, place]), cell] = 30.0
    assert module.loss(ideal, target) == pytest.approx(0, abs=1e-5)
    ideal["boxes"] = ideal["boxes"] + 3
    assert module.loss(ideal, target) > 0.1


@pytest.mark.parametrize("build", [detect.build, segment.build])
def test_half_goes_and_the_rest_learns(build: Callable[[], Any]) -> None:
    """The modules stay what they were: with their rules and their own loss."""
    torch.manual_seed(0)
    module = build()
    (images,), target = loaded("detect").train.batch(range(8), 0)
    graph = channels.analyse(module.eval(), (images,))
    assert len(graph.groups) >= 8
    removal = {group.name: list(range(group.units // 2)) for group in graph.groups}
    smaller, _ = channels.cut(copy.deepcopy(module), (images,), graph, removal)
    assert not isinstance(smaller, TracedNet)
    assert count(smaller) < 0.3 * count(module)
    if isinstance(module, detect.Detector):
        assert detectors.rules_of(smaller, (3, 64, 64)) == detectors.rules_of(module, (3, 64, 64))
        own: Any = smaller
        step = torch.optim.AdamW(smaller.parameters(), 5e-3)
        losses = []
        for _ in range(12):
            losses.append(own.loss(smaller.train()(images), target))
            step.zero_grad()
            losses[-1].backward()
            step.step()
        assert losses[-1] < losses[0]


def count(module: nn.Module) -> int:
    return sum(one.numel() for one in module.parameters())


@pytest.mark.slow
@pytest.mark.parametrize(("name", "figure"), [("detect", "mAP"), ("segment", "mIoU")])
def test_a_run(name: str, figure: str, tmp_path: Path) -> None:
    recipe = Recipe.load(RECIPES / f"{name}.toml", (*SHORT, "build.precision='int8'"))
    found = run(recipe, "host", home=tmp_path)
    assert found.folder is not None
    report = read(found.folder / "report.json")
    assert report.measured == figure
    assert len(report.samples) == 8
    assert report.compressed.engine_accuracy == pytest.approx(report.compressed.test, abs=5)
