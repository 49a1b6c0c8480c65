"""The template for detection data: loads COCO's format, its loss is torchvision's, its score is an F1."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torchvision.models import get_model
from torchvision.models.detection._utils import SSDMatcher
from torchvision.ops import box_iou

from jetpress.pipeline.data import loading
from jetpress.pipeline.network import channels, detectors
from jetpress.pipeline.network.channels.graph import TracedNet
from jetpress.pipeline.recipe.reading import Recipe
from recipes import coco


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Six images of 100 x 50, the last one with nothing in it."""
    images = [{"id": 7 * n, "file_name": f"{n}.png"} for n in range(6)]
    boxes: list[dict[str, Any]] = [
        {"image_id": 7 * n, "bbox": [10 * n, 5, 50, 25], "category_id": n + 1} for n in range(5)
    ]
    for split in ("train", "val"):
        (tmp_path / f"{split}.json").write_text(json.dumps({"images": images, "annotations": boxes}))
    for one in images:
        Image.new("RGB", (100, 50), (one["id"], 100, 200)).save(tmp_path / str(one["file_name"]))
    monkeypatch.setenv("COCO_ROOT", str(tmp_path))
    return tmp_path


def test_the_data(folder: Path) -> None:
    recipe = Recipe.load(Path(__file__).parents[2] / "recipes" / "detection.toml")
    loaded = loading.load(recipe.data, 0)
    assert len(loaded.train) + len(loaded.validation) + len(loaded.test) == 12
    (images,), target = loaded.test.batch([0, 5], None)
    assert images.shape == (2, 3, 320, 320)
    assert target.shape == (2, 100, 5)
    assert target[0, 0].tolist() == [0, 32, 160, 192, 1]
    assert (target[1] == -1).all()


def test_the_loss_is_torchvisions() -> None:
    torch.manual_seed(0)
    theirs: Any = get_model(
        "ssdlite320_mobilenet_v3_large", weights=None, weights_backbone=None, num_classes=5
    )
    images = torch.randn(2, 3, 320, 320)
    found = detectors.wrapped(theirs).train()(images)
    target = torch.full((2, 4, 5), -1.0)
    target[0, 0] = torch.tensor([20.0, 20.0, 200.0, 220.0, 3])
    target[0, 1] = torch.tensor([150.0, 30.0, 310.0, 120.0, 1])
    target[1, 0] = torch.tensor([0.0, 0.0, 90.0, 120.0, 4])
    boxes = [{"boxes": one[one[:, 4] >= 0, :4], "labels": one[one[:, 4] >= 0, 4].long()} for one in target]
    match = [SSDMatcher(0.5)(box_iou(one["boxes"], found["anchors"])) for one in boxes]
    wanted = theirs.compute_loss(boxes, found, [found["anchors"]] * 2, match)
    assert torch.isclose(coco.loss(found, target), sum(wanted.values()), rtol=1e-5)


def test_points() -> None:
    target = torch.full((3, 4, 5), -1.0)
    target[0, :2] = torch.tensor([[0, 0, 100, 100, 1], [200, 200, 300, 300, 2.0]])
    target[1, 0] = target[0, 0]
    boxes = torch.tensor([[0, 0, 90, 100], [200, 200, 300, 300.0]]).expand(3, 2, 4)
    scores = torch.zeros(3, 2, 2)
    scores[0, 0, 0], scores[0, 1, 1] = 0.9, 0.8  # both found
    scores[1, 1, 0] = 0.9  # the wrong label
    assert coco.points((boxes, scores), target).tolist() == [100, 0, 100]
    scores[0, 1, 1], scores[2, 0, 0] = 0.1, 0.9  # one missed; one where there is nothing
    assert coco.points((boxes, scores), target).tolist() == [pytest.approx(200 / 3), 0, 0]


def test_a_pruned_detector_can_be_trained() -> None:
    """Channels go from backbone and heads, the module stays what it was: rules, and losses in training."""
    theirs = get_model("ssdlite320_mobilenet_v3_large", weights=None, weights_backbone=None, num_classes=5)
    module = detectors.wrapped(theirs).eval()
    inputs = (torch.randn(2, 3, 320, 320),)
    graph = channels.analyse(module, inputs)
    removal = {group.name: list(range(group.units // 4)) for group in graph.groups if group.units > 8}
    smaller, step = channels.cut(module, inputs, graph, removal)
    assert step["units"]
    assert not isinstance(smaller, TracedNet)
    assert detectors.rules_of(smaller, (3, 320, 320)) == detectors.rules_of(module, (3, 320, 320))
    target = torch.full((2, 4, 5), -1.0)
    target[:, 0] = torch.tensor([20.0, 20.0, 200.0, 220.0, 3])
    coco.loss(smaller.train()(*inputs), target).backward()
    assert all(p.grad is not None for p in smaller.parameters())
