"""Every head, read in numpy as on a board, by the nodes of a graph, and by torch as its authors publish it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import numpy as np
import onnx_ir as ir
import onnxruntime as ort
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torchvision.ops import box_convert, nms

from jetpress.deploy.errors import RecipeError
from jetpress.deploy.runner.decode.detections import detections
from jetpress.deploy.runner.decode.heads import CLEAN, HEADS, clean
from jetpress.deploy.runner.system.failures import BundleError
from jetpress.pipeline.graph.heads import clean as clean_in_graph
from jetpress.pipeline.graph.nodes import Writer
from jetpress.pipeline.graph.suppress import suppress
from jetpress.pipeline.network import detectors, heads
from jetpress.pipeline.network.models import Network
from jetpress.pipeline.recipe.sections.data import DataConfig
from jetpress.pipeline.recipe.sections.model import InputConfig, ModelConfig
from jetpress.pipeline.recipe.sections.task import TaskConfig
from jetpress.pipeline.store.facts.onnx_file import DetectionRules
from jetpress.pipeline.tasks.detection import check_outputs, counted
from jetpress.pipeline.tasks.task import Shown

Arrays = list[np.ndarray[Any, Any]]
HEIGHT, WIDTH, CLASSES = 64, 96, 5
CELLS = sum((HEIGHT // s) * (WIDTH // s) for s in (8, 16, 32))


def yolov5(whole: Tensor) -> tuple[Tensor, Tensor]:
    """``Detect.forward`` at inference gives xywh in pixels, and sigmoids of objectness and classes; NMS takes their
    product (ultralytics/yolov5, utils/general.py, non_max_suppression)."""
    return box_convert(whole[..., :4], "cxcywh", "xyxy"), (whole[..., 4:5] * whole[..., 5:]).mT


def yolov8(whole: Tensor) -> tuple[Tensor, Tensor]:
    """``[n, 4 + nc, anchors]``, xywh in pixels and sigmoids of classes (docs.ultralytics.com, export)."""
    boxes, scores = whole.split([4, whole.shape[1] - 4], dim=1)
    return box_convert(boxes.mT, "cxcywh", "xyxy"), scores


def yolov10(whole: Tensor) -> tuple[Tensor, Tensor]:
    """x1, y1, x2, y2, score, class of the detections of the one-to-one head (THU-MIG/yolov10, v10postprocess)."""
    scores = torch.zeros(len(whole), CLASSES, whole.shape[1])
    for image, rows in enumerate(whole):
        for at, row in enumerate(rows):
            scores[image, int(row[5]), at] = row[4]
    return whole[..., :4], scores


def yolox(whole: Tensor) -> tuple[Tensor, Tensor]:
    """``decode_outputs`` of Megvii-BaseDetection/YOLOX, yolox/models/yolo_head.py."""
    grids, strides = [], []
    for stride in (8, 16, 32):
        rows, columns = HEIGHT // stride, WIDTH // stride
        yv, xv = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
        grids.append(torch.stack((xv, yv), 2).view(1, -1, 2))
        strides.append(torch.full((1, rows * columns, 1), stride))
    cells, steps = torch.cat(grids, 1), torch.cat(strides, 1)
    boxes = torch.cat([(whole[..., :2] + cells) * steps, torch.exp(whole[..., 2:4]) * steps], -1)
    return box_convert(boxes, "cxcywh", "xyxy"), (whole[..., 4:5] * whole[..., 5:]).mT


def detr(logits: Tensor, boxes: Tensor) -> tuple[Tensor, Tensor]:
    """``PostProcess`` of facebookresearch/detr, models/detr.py; the last class is "no object"."""
    scale = torch.tensor([WIDTH, HEIGHT, WIDTH, HEIGHT])
    return box_convert(boxes, "cxcywh", "xyxy") * scale, logits.softmax(-1)[..., :-1].mT


PUBLISHED: dict[str, Callable[..., tuple[Tensor, Tensor]]] = {
    "ours": lambda boxes, scores: (boxes, scores),
    "torchvision": lambda boxes, scores: (boxes, scores),
    "yolov5": yolov5,
    "yolov8": yolov8,
    "yolov10": yolov10,
    "yolox": yolox,
    "detr": detr,
}


def outputs(name: str, seed: int, images: int = 2) -> Arrays:
    """Random ones as such a head gives them: boxes of 4 to 40 pixels that overlap, no two scores alike."""
    rng = np.random.default_rng(seed)
    count = CELLS if name == "yolox" else 30
    centre, extent = rng.uniform(8, HEIGHT, (images, count, 2)), rng.uniform(4, 40, (images, count, 2))
    boxes, scores = np.concatenate([centre, extent], -1), rng.uniform(0, 1, (images, count, CLASSES))
    corners = np.concatenate([centre - extent / 2, centre + extent / 2], -1)
    sure = rng.uniform(0, 1, (images, count, 1))
    found: Arrays = {
        "yolov5": lambda: [np.concatenate([boxes, sure, scores], -1)],
        "yolov8": lambda: [np.concatenate([boxes, scores], -1).swapaxes(1, 2)],
        "yolov10": lambda: [
            np.concatenate([corners, sure, rng.integers(0, CLASSES, (images, count, 1))], -1)
        ],
        "yolox": lambda: [np.concatenate([rng.normal(0, 1, (images, count, 4)), sure, scores], -1)],
        "detr": lambda: [
            rng.normal(0, 2, (images, count, CLASSES + 1)),
            boxes / [WIDTH, HEIGHT, WIDTH, HEIGHT],
        ],
    }.get(name, lambda: [corners, scores.swapaxes(1, 2)])()
    return [one.astype(np.float32) for one in found]


def graph_of(given: Arrays) -> ir.Graph:
    """A network that gives its inputs back."""
    graph = ir.Graph([], [], nodes=[], opset_imports={"": 17}, name="head")
    for place, array in enumerate(given):
        one = ir.Value(name=f"in{place}", shape=ir.Shape(array.shape), type=ir.TensorType(ir.DataType.FLOAT))
        graph.inputs.append(one)
        same = ir.node("Identity", [one])
        same.outputs[0].name, same.outputs[0].shape, same.outputs[0].type = f"out{place}", one.shape, one.type
        graph.append(same)
        graph.outputs.append(same.outputs[0])
    return graph


def run(graph: ir.Graph, given: Arrays) -> Arrays:
    proto = ir.to_proto(ir.Model(graph, ir_version=8))
    session = ort.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    return list(session.run(None, {f"in{place}": one for place, one in enumerate(given)}))


def rules(name: str, **changes: Any) -> DetectionRules:
    task = TaskConfig(kind="detection", head=name, classes=tuple("abcde"), **changes)  # type: ignore[arg-type]
    model = ModelConfig(inputs=(InputConfig((3, HEIGHT, WIDTH)),), outputs=("out0", "out1"))
    return detectors.of_head(task, model)


@pytest.mark.parametrize("name", HEADS)
@given(seed=st.integers(0, 2**32 - 1))
@settings(max_examples=8, deadline=None, derandomize=True)
def test_numpy_graph_and_what_is_published_agree(name: str, seed: int) -> None:
    given, head = outputs(name, seed), HEADS[name]
    wanted = [one.numpy() for one in PUBLISHED[name](*map(torch.from_numpy, given))]
    graph = graph_of(given)
    graph.outputs[:] = clean_in_graph(
        Writer(graph, "head"), list(graph.outputs), head, (HEIGHT, WIDTH), CLASSES
    )
    for place, value in enumerate(graph.outputs):
        value.name, value.type = f"clean{place}", ir.TensorType(ir.DataType.FLOAT)
    for found in (clean(given, head, (HEIGHT, WIDTH), CLASSES), run(graph, given)):
        for one, other in zip(found, wanted, strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("name", HEADS)
@given(seed=st.integers(0, 2**32 - 1))
@settings(max_examples=3, deadline=None, derandomize=True)
def test_what_is_found_is_the_same(name: str, seed: int) -> None:
    """With the search, against torchvision's suppression; where the head needs none, none is made."""
    given, how = outputs(name, seed), rules(name, score=0.3, detections=20)
    graph = graph_of(given)
    suppress(ir.Model(graph, ir_version=8), how)
    inside = run(graph, given)
    outside = detections({f"out{place}": one for place, one in enumerate(given)}, asdict(how))
    boxes, scores = PUBLISHED[name](*map(torch.from_numpy, given))
    for at, (where, sure, labels) in enumerate(outside):
        wanted = searched(boxes[at], scores[at], how)
        np.testing.assert_allclose(where, wanted[0], rtol=1e-5, atol=1e-4)
        np.testing.assert_array_equal(labels, wanted[2])
        count = len(sure)
        assert 5 < count <= 20
        np.testing.assert_allclose(inside[0][at][:count], where, rtol=1e-5, atol=1e-4)
        np.testing.assert_allclose(inside[1][at][:count], sure, rtol=1e-5)
        assert inside[2][at].tolist() == [*labels.tolist(), *[-1] * (20 - count)]


def searched(boxes: Tensor, scores: Tensor, how: DetectionRules) -> list[np.ndarray[Any, Any]]:
    """Threshold, suppression class by class, best first."""
    rows = []
    for label, each in enumerate(scores):
        above = torch.where(each > how.score)[0]
        kept = nms(boxes[above], each[above], how.iou) if how.iou < 1 else torch.arange(len(above))
        rows += [(boxes[n], each[n], label) for n in above[kept].tolist()]
    rows = sorted(rows, key=lambda row: -float(row[1]))[: how.detections]
    return [np.array(column) for column in zip(*[(b.tolist(), float(s), n) for b, s, n in rows], strict=True)]


def test_what_a_head_does_not_read_is_named() -> None:
    one = np.zeros((1, 30, 4), np.float32)
    with pytest.raises(BundleError, match="no room for scores"):
        clean([one], HEADS["yolov5"], (HEIGHT, WIDTH), CLASSES)
    with pytest.raises(BundleError, match="2 outputs of three axes"):
        clean([one], HEADS["detr"], (HEIGHT, WIDTH), CLASSES)
    with pytest.raises(BundleError, match="no output out0"):
        detections({"boxes": one}, asdict(rules("yolov8")))
    with pytest.raises(BundleError, match="this runner knows"):
        detections({}, {**asdict(rules("yolov8")), "head": "yolov99"})
    with pytest.raises(RecipeError, match="names of the classes"):
        detectors.of_head(TaskConfig(head="yolov10"), ModelConfig(inputs=(InputConfig((3, 8, 8)),)))
    assert HEADS["ours"] is HEADS["torchvision"] is CLEAN


class Gives(torch.nn.Module):
    """Whatever it is asked, the same outputs."""

    def __init__(self, outputs: tuple[Tensor, ...]) -> None:
        super().__init__()
        self.outputs = outputs

    def forward(self) -> tuple[Tensor, ...]:
        return self.outputs


@pytest.mark.parametrize(
    ("asked", "shapes", "told", "hint"),
    [
        ("yolov8", [(2, 6, 84)], "", ""),
        ("yolov5", [(2, 6, 84)], "has scores for 79 classes, the data has 2", 'task.head = "yolov8"'),
        ("yolox", [(2, 80, 7)], "80 boxes, and 64 x 64 pixels have 84 cells of 8, 16, 32", "the layouts"),
        ("yolox", [(2, 84, 7)], "", ""),
        ("detr", [(2, 6, 84)], "2 outputs of three axes", 'task.head = "yolov8"'),
        ("detr", [(2, 9, 3), (2, 8, 4)], r"boxes have shape \[2, 8, 4\], scores \[2, 9, 3\]", "the layouts"),
        ("yolov10", [(2, 6, 84)], r"\[2, 6, 84\] has not six numbers", 'task.head = "yolov8"'),
        ("ours", [(2, 2, 84), (2, 84, 4)], "boxes have shape", "the layouts"),
    ],
)
def test_outputs_of_another_head_are_told_with_the_head_that_fits(
    asked: Any, shapes: list[tuple[int, ...]], told: str, hint: str
) -> None:
    outputs = tuple(torch.rand(shape) for shape in shapes)
    task = TaskConfig("detection", classes=("a", "b"), head=asked)
    model = ModelConfig(builder="mine.py:net", inputs=(InputConfig((3, 64, 64)),))
    scored = heads.scored(Network(Gives(outputs), model, DataConfig(), task=task), (), counted)
    shown = Shown("mine.py:net", outputs, 2, 2, None, scored, (64, 64), task)
    if not told:
        check_outputs(shown)
        return
    with pytest.raises(RecipeError, match=told) as caught:
        check_outputs(shown)
    assert hint in str(caught.value.hint)
