"""The template for detection: its recipe reads COCO's format, its loss is torchvision's."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torchvision.models import get_model
from torchvision.models.detection._utils import SSDMatcher
from torchvision.ops import box_iou

from jetpress.pipeline.data import loading
from jetpress.pipeline.network import channels, detectors
from jetpress.pipeline.network.channels.graph import TracedNet
from jetpress.pipeline.recipe.reading import Recipe
from recipes import ssd


def test_the_data(tmp_path: Path) -> None:
    """Six images of 100 x 50, the last one with nothing in it."""
    images = [{"id": 7 * n, "file_name": f"{n}.png"} for n in range(6)]
    boxes: list[dict[str, Any]] = [
        {"image_id": 7 * n, "bbox": [10 * n, 5, 50, 25], "category_id": n + 1} for n in range(5)
    ]
    for split in ("train", "val"):
        (tmp_path / f"{split}.json").write_text(json.dumps({"images": images, "annotations": boxes}))
    for one in images:
        Image.new("RGB", (100, 50), (one["id"], 100, 200)).save(tmp_path / str(one["file_name"]))
    recipe = Recipe.load(Path(__file__).parents[2] / "recipes" / "detection.toml")
    loaded = loading.load(replace(recipe.data, root=str(tmp_path)), 0, recipe.task)
    assert len(loaded.train) + len(loaded.validation) + len(loaded.test) == 12
    assert loaded.classes == ("1", "2", "3", "4", "5")
    (pixels,), target = loaded.test.batch([0, 5], None)
    assert pixels.shape == (2, 3, 320, 320)
    assert target["boxes"][0].tolist() == [[0, 96, 160, 176]]  # letterboxed: 80 rows of grey above
    assert target["labels"].tolist() == [[0], [-1]]


def _marked(target: list[list[list[float]]]) -> dict[str, torch.Tensor]:
    most = max(map(len, target))
    rows = torch.tensor([one + [[0, 0, 0, 0, -1]] * (most - len(one)) for one in target])
    return {"boxes": rows[..., :4], "labels": rows[..., 4].long()}


def test_the_loss_is_torchvisions() -> None:
    torch.manual_seed(0)
    theirs: Any = get_model(
        "ssdlite320_mobilenet_v3_large", weights=None, weights_backbone=None, num_classes=5
    )
    images = torch.randn(2, 3, 320, 320)
    found = detectors.wrapped(theirs).train()(images)
    target = _marked([[[20.0, 20, 200, 220, 2], [150, 30, 310, 120, 0]], [[0, 0, 90, 120, 3.0]]])
    boxes = [
        {"boxes": box[label >= 0], "labels": label[label >= 0] + 1}
        for box, label in zip(target["boxes"], target["labels"], strict=True)
    ]
    match = [SSDMatcher(0.5)(box_iou(one["boxes"], found["anchors"])) for one in boxes]
    wanted = theirs.compute_loss(boxes, found, [found["anchors"]] * 2, match)
    assert torch.isclose(ssd.loss(found, target), sum(wanted.values()), rtol=1e-5)


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
    ssd.loss(smaller.train()(*inputs), _marked([[[20.0, 20, 200, 220, 3]]] * 2)).backward()
    assert all(p.grad is not None for p in smaller.parameters())
