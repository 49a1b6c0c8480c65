"""Objects with points: from what a head of YOLOv8's pose form gives to the figure, the runner and a picture."""

from __future__ import annotations

import contextlib
import io
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from jetpress.deploy.errors import RecipeError
from jetpress.deploy.runner.decode.detections import poses
from jetpress.deploy.runner.decode.meaning import meaning
from jetpress.pipeline.data import loading
from jetpress.pipeline.network import models
from jetpress.pipeline.recipe.configs import SourceConfig
from jetpress.pipeline.recipe.sections.data import DataConfig
from jetpress.pipeline.recipe.sections.export import EquivalenceConfig, ExportConfig
from jetpress.pipeline.recipe.sections.model import InputConfig, ModelConfig
from jetpress.pipeline.recipe.sections.task import TaskConfig
from jetpress.pipeline.stages.equivalence import equivalence
from jetpress.pipeline.stages.export import export
from jetpress.pipeline.stages.source import source
from jetpress.pipeline.store.facts.onnx_file import DetectionRules
from jetpress.pipeline.tasks import TASKS
from jetpress.pipeline.tasks.drawing import PALETTE, Drawn
from jetpress.pipeline.tasks.metric import Setting
from jetpress.pipeline.tasks.pose import FILLED, as_targets
from jetpress.pipeline.training.assessment import opened
from jetpress.pipeline.training.evaluate import judged
from tests.pipeline import small

POINTS = 17


def rules(**more: Any) -> DetectionRules:
    known = {
        "score": 0.0,
        "iou": 1.0,
        "candidates": 1000,
        "detections": 100,
        "first_label": 0,
        "head": "yolov8",
    }
    return DetectionRules(
        **{**known, "reads": ("output",), "size": (100, 100), "points": (POINTS, 3), **more}
    )


def people(count: int, seed: int) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Boxes ``[count, 4]`` and points ``[count, 17, 3]`` in them, some of them not there."""
    rng = np.random.default_rng(seed)
    low = rng.uniform(0, 50, (count, 2))
    boxes = np.concatenate([low, low + rng.uniform(20, 50, (count, 2))], 1)
    places = low[:, None] + rng.uniform(size=(count, POINTS, 2)) * (boxes[:, None, 2:] - low[:, None])
    there = (rng.uniform(size=(count, POINTS, 1)) > 0.3) * 1.0
    there[count // 2] = 0  # an object without points
    return boxes, np.concatenate([places, there], 2)


def raw(boxes: Any, points: Any, scores: Any) -> Any:
    """``[1, 4 + 1 + 17 * 3, anchors]``, as such a head has them."""
    middle, extent = (boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:] - boxes[:, :2]
    rows = np.concatenate([middle, extent, scores[:, None], points.reshape(len(points), -1)], 1)
    return torch.tensor(rows.T[None]).float()


def test_it_is_pycocotools_own_evaluation() -> None:
    metric, rng = TASKS["pose"].metrics["oks_map"](Setting(("person",), rules)), np.random.default_rng(9)
    seen, truth, found = list[Any](), list[Any](), list[Any]()
    for image in range(6):
        boxes, points = people(4, image)
        moved, scores = points.copy(), rng.uniform(0.1, 1, 4)
        moved[..., :2] += rng.normal(0, [[[1.0]], [[2.0]], [[3.0]], [[4.0]]], moved[..., :2].shape)
        target = {
            "boxes": boxes[None],
            "labels": np.zeros((1, 4)),
            "crowd": np.zeros((1, 4)),
            "points": points[None],
        }
        seen += metric.shown(raw(boxes, moved, scores), {k: torch.tensor(v) for k, v in target.items()})
        for at, (x1, y1, x2, y2) in enumerate(boxes.tolist()):
            one = {
                "image_id": image,
                "category_id": 0,
                "id": len(truth) + 1,
                "bbox": [x1, y1, x2 - x1, y2 - y1],
            }
            area, there = FILLED * (x2 - x1) * (y2 - y1), int(points[at, :, 2].sum())
            shape = {"keypoints": points[at].ravel().tolist(), "num_keypoints": there}
            truth.append({**one, **shape, "area": area, "iscrowd": 0})
            found.append({**one, "keypoints": moved[at].ravel().tolist(), "score": float(scores[at])})
    with contextlib.redirect_stdout(io.StringIO()):
        whole = COCO()
        whole.dataset = {
            "images": [{"id": n} for n in range(6)],
            "annotations": truth,
            "categories": [{"id": 0}],
        }
        whole.createIndex()
        judge = COCOeval(whole, whole.loadRes(found), "keypoints")
        judge.params.areaRng, judge.params.areaRngLbl = [[0, 1e10]], ["all"]
        judge.evaluate()
        judge.accumulate()
    wanted = 100 * judge.eval["precision"].mean()
    assert 20 < wanted < 95
    assert metric.total(seen) == pytest.approx(wanted, abs=0.1)
    assert list(metric.parts(seen)) == ["person"]


@pytest.mark.parametrize("each", [2, 3])
def test_points_go_with_their_boxes(each: int) -> None:
    boxes, points = people(3, 0)
    given = raw(
        np.repeat(boxes, 2, 0), np.repeat(points, 2, 0)[..., :each], np.array([0.3, 0.5, 0.9, 0.8, 0.7, 0.6])
    )
    asked = asdict(rules(iou=0.5, points=(POINTS, each)))
    (found,) = poses({"output": given.numpy()}, asked)
    assert found[1] == pytest.approx([0.9, 0.7, 0.5])
    assert found[2].tolist() == [0, 0, 0]
    assert np.abs(found[3][..., :2] - points[[1, 2, 0], :, :2]).max() < 1e-4
    assert np.abs(found[3][..., 2] - (points[[1, 2, 0], :, 2] if each == 3 else 1)).max() < 1e-4
    (told,) = meaning({"output": given.numpy()}, {"detection": asked})
    assert np.abs(np.array(told["points"]) - found[3]).max() < 1e-6


CODE = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.same = nn.Conv1d(14, 14, 1, bias=False)  # 4, 1 class, 3 points of 3 numbers
        self.same.weight.data[:] = torch.eye(14)[..., None]

    def forward(self, x):
        return self.same(x)

    def loss(self, outputs, target):
        return outputs.mean() + target["points"].sum()

class Data:
    def __len__(self):
        return 4

    def __getitem__(self, number):
        draw = torch.Generator().manual_seed(number)
        centres = torch.tensor([[20.0, 20], [60, 20]]) + 4 * torch.rand(2, 2, generator=draw)
        points = torch.cat([centres[:, None] + torch.rand(2, 3, 2, generator=draw), torch.ones(2, 3, 1)], 2)
        whole = torch.cat([centres, torch.full((2, 2), 10.0), torch.tensor([[0.9], [0.8]]), points.flatten(1)], 1)
        boxes = torch.cat([centres - 5, centres + 5], 1)
        target = {"boxes": boxes, "labels": torch.zeros(2, dtype=torch.int64),
                  "crowd": torch.zeros(2, dtype=torch.bool), "points": points}
        return torch.cat([whole.T, torch.zeros(14, 6)], 1), target

def load():
    return {name: Data() for name in ("train", "validation", "test")} | {"classes": ["person"]}
"""


def test_from_the_recipe_to_a_picture(tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text(CODE)
    data = DataConfig(source=f"{tmp_path / 'net.py'}:load", calibration_images=4, sample_images=4)
    task = TaskConfig(kind="pose", head="yolov8", points=(3, 3))
    made = source(
        SourceConfig(ModelConfig(f"{tmp_path / 'net.py'}:Net"), data, task=task), small.draft(tmp_path, "s")
    )
    network, loaded = opened(made)
    assert made.facts.measured == "OKS mAP"
    assert judged(network, loaded.test, "test").points == pytest.approx(100)
    exported = export(ExportConfig(opset=17), made, small.draft(tmp_path, "export"))
    equivalence(EquivalenceConfig(), made, exported, small.draft(tmp_path, "equivalence"))
    assert exported.facts.detection is not None
    assert exported.facts.detection.points == (3, 3)
    with pytest.raises(RecipeError, match="points of objects"):
        export(ExportConfig(opset=17, output="detections"), made, small.draft(tmp_path, "searched"))
    inputs, _ = loading.samples(loaded, 1)
    (found,) = as_targets(network.module(*inputs), Setting(("person",), lambda: models.rules(network)))
    picture = Drawn(Image.new("RGB", (100, 60)))
    TASKS["pose"].draw(picture, found, ("person",))
    colours = {tuple(colour) for colour in np.array(picture.image).reshape(-1, 3).tolist()}
    assert {tuple(bytes.fromhex(one[1:])) for one in PALETTE[:3]} <= colours


def test_what_does_not_fit_together_is_refused() -> None:
    model = ModelConfig(inputs=(InputConfig((3, 64, 64)),))
    for task in (
        TaskConfig(kind="pose", head="yolov8"),
        TaskConfig(kind="detection", head="yolov8", points=(17, 3)),
        TaskConfig(kind="pose", head="yolox", points=(17, 3)),
    ):
        with pytest.raises(RecipeError, match=r"task\.points"):
            models.rules(models.Network(torch.nn.Identity(), model, DataConfig(), task=task))
    with pytest.raises(RecipeError, match="the network does not say"):
        as_targets(torch.zeros(1, 14, 8), Setting(("person",)))
