"""Raw heads and our search give what torchvision's detectors give, to the bit; in ONNX Runtime within rounding."""

from __future__ import annotations

import copy
from dataclasses import asdict, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.datasets import load_sample_images
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.ops import nms

from jetpress.deploy.errors import RecipeError, StageError
from jetpress.deploy.preflight.compatibility import preflight
from jetpress.deploy.runner.decode.detections import detections, suppress
from jetpress.deploy.targets import TARGETS, find
from jetpress.pipeline.graph import fp16_layers
from jetpress.pipeline.graph.cases import cases
from jetpress.pipeline.graph.ends import DETECTIONS, Ends
from jetpress.pipeline.graph.exporting import to_onnx
from jetpress.pipeline.graph.session import load
from jetpress.pipeline.graph.suppress import raw
from jetpress.pipeline.graph.suppress import suppress as suppress_in
from jetpress.pipeline.graph.tolerance import LIMITS
from jetpress.pipeline.network import detectors, models
from jetpress.pipeline.network.models import Network
from jetpress.pipeline.recipe.reading import Recipe
from jetpress.pipeline.recipe.resolve import resolve
from jetpress.pipeline.recipe.sections.data import DataConfig
from jetpress.pipeline.recipe.sections.export import ExportConfig
from jetpress.pipeline.recipe.sections.model import InputConfig, ModelConfig
from jetpress.pipeline.stages import equivalence
from jetpress.pipeline.store.facts.onnx_file import DetectionRules
from tests.equivalence.detectors import SIZES, detector

Found = tuple[NDArray[Any], NDArray[Any], NDArray[Any]]
FAST = "tiny-ssd"
NAMES = [pytest.param(name, marks=() if name.startswith("tiny") else pytest.mark.slow) for name in SIZES]


@cache
def photographs(size: int) -> Tensor:
    """Four real ones, 0 to 1: two that scikit-learn ships, each as it is and its middle."""
    found = torch.stack([torch.from_numpy(one.copy()) for one in load_sample_images().images])
    whole = found.permute(0, 3, 1, 2).float() / 255
    both = [whole, whole[..., 100:330, 200:430]]
    return torch.cat([F.interpolate(one, (size, size), mode="bilinear") for one in both])


@cache
def prepared(name: str) -> tuple[Any, detectors.Detector, Tensor, Tensor]:
    """torchvision's detector, ours, photographs, and the same as the network takes them."""
    images = photographs(SIZES[name])
    theirs = detector(name, images)
    ours = detectors.wrapped(theirs)
    assert isinstance(ours, detectors.Detector)
    return theirs, ours, images, theirs.transform(list(images))[0].tensors


@cache
def expected(name: str) -> list[Found]:
    theirs, _, images, _ = prepared(name)
    with torch.no_grad():
        found = theirs(list(images))
    return [(one["boxes"].numpy(), one["scores"].numpy(), one["labels"].numpy()) for one in found]


def rules(name: str) -> DetectionRules:
    return prepared(name)[1].rules((3, SIZES[name], SIZES[name]))


def ordered(found: Found) -> Found:
    """Equal scores in one order."""
    boxes, scores, labels = found
    order = np.lexsort((*boxes.round(2).T, labels, -scores))
    return boxes[order], scores[order], labels[order]


@pytest.mark.parametrize("name", NAMES)
def test_our_search_is_torchvisions(name: str) -> None:
    _, ours, _, inputs = prepared(name)
    with torch.no_grad():
        boxes, scores = ours(inputs)
    found = detections({"boxes": boxes.numpy(), "scores": scores.numpy()}, asdict(rules(name)))
    for one, theirs in zip(found, expected(name), strict=True):
        assert len(one[1]) > 20
        assert len(np.unique(one[2])) > 1
        for mine, wanted in zip(ordered(one), ordered(theirs), strict=True):
            assert np.array_equal(mine, wanted)


@pytest.mark.parametrize("name", NAMES[1:])  # the first is looked at below
def test_in_onnx_runtime_at_the_oldest_opset(name: str) -> None:
    """As a Nano takes it; what differs in the last digits may swap two detections of almost the same score."""
    _, ours, _, inputs = prepared(name)
    shape = InputConfig((3, SIZES[name], SIZES[name]), "images")
    proto = to_onnx(ours, (shape,), detectors.OUTPUTS, ExportConfig(opset=13, batch=len(inputs)))
    run = load(proto)
    assert [one.name for one in proto.graph.output] == ["boxes", "scores"]
    boxes, scores = run({"images": inputs.numpy()}).values()
    for one, theirs in zip(
        detections({"boxes": boxes, "scores": scores}, asdict(rules(name))), expected(name), strict=True
    ):
        assert matched(one, theirs) == 1
        assert matched(theirs, one) == 1


def matched(found: Found, wanted: Found) -> float:
    """Share of what was found that is there in the other, too: label, score within 1e-4, box within 0.01 pixels."""
    near = np.abs(found[0][:, None] - wanted[0]).max(-1) < 1e-2
    same = (found[2][:, None] == wanted[2]) & (np.abs(found[1][:, None] - wanted[1]) < 1e-4)
    return float((near & same).any(1).mean())


@given(st.integers(0, 2**32 - 1), st.integers(0, 60), st.floats(0.05, 0.95))
@settings(max_examples=100, deadline=None, derandomize=True)
def test_suppression(seed: int, count: int, iou: float) -> None:
    rng = np.random.default_rng(seed)
    corner, side = rng.uniform(0, 60, (count, 2)), rng.uniform(0, 40, (count, 2))
    boxes = np.concatenate([corner, corner + side], 1).astype(np.float32)
    boxes[::7, 2] = boxes[::7, 0]  # some without area
    scores = rng.permutation(count).astype(np.float32)
    wanted = nms(torch.from_numpy(boxes), torch.from_numpy(scores), iou)
    assert np.array_equal(suppress(boxes, scores, iou), wanted.numpy())


def test_nothing_above_the_threshold() -> None:
    nothing = {"boxes": np.zeros((1, 8, 4), np.float32), "scores": np.zeros((1, 3, 8), np.float32)}
    empty = detections(nothing, asdict(rules(FAST)))
    assert [len(part) for part in empty[0]] == [0, 0, 0]


@pytest.mark.parametrize("name", NAMES)
def test_the_losses_are_torchvisions(name: str) -> None:
    """Two objects in the first image, a crowd beside one in the second, none in the others."""
    theirs, ours, images, inputs = (copy.deepcopy(one) for one in prepared(name))
    side = SIZES[name] / 64
    boxes = side * torch.tensor([[[5.0, 5, 40, 44], [20, 8, 62, 24]], [[0, 0, 30, 40], [9, 9, 33, 33]]])
    boxes, labels = F.pad(boxes, (0, 0, 0, 0, 0, 2)), torch.tensor([[2, 0], [3, 1], [-1, -1], [-1, -1]])
    crowd = torch.zeros(4, 2, dtype=torch.bool)
    crowd[1, 1] = True
    first = ours.rules(inputs.shape[1:]).first_label
    there = (labels >= 0) & ~crowd
    targets = [{"boxes": b[k], "labels": n[k] + first} for b, n, k in zip(boxes, labels, there, strict=True)]
    wanted = theirs.train()(list(images), targets)
    scale = inputs.shape[-1] / SIZES[name]
    found = ours.loss(ours.train()(inputs), {"boxes": scale * boxes, "labels": labels, "crowd": crowd})
    assert found.keys() == wanted.keys()
    assert all(torch.isclose(found[key], wanted[key], rtol=1e-4) for key in wanted)


def test_what_is_refused() -> None:
    with pytest.raises(RecipeError, match="two stages"):
        models.build(ModelConfig("torchvision:fasterrcnn_mobilenet_v3_large_fpn"))
    with pytest.raises(RecipeError, match=r"mean \[0\.5, 0\.5, 0\.5\]"):
        detectors.fits(prepared(FAST)[1], DataConfig())
    detectors.fits(prepared(FAST)[1], DataConfig(mean=(0.5,) * 3, std=(0.5,) * 3))
    detectors.fits(nn.Linear(1, 1), DataConfig())


def test_a_function_of_ones_own_may_give_one_of_torchvisions(tmp_path: Path) -> None:
    (tmp_path / "my.py").write_text(
        "from torchvision.models.detection import ssdlite320_mobilenet_v3_large as ssdlite\n"
        "def build():\n    return ssdlite(weights=None, weights_backbone=None, num_classes=3)\n"
    )
    assert isinstance(models.build(ModelConfig(f"{tmp_path / 'my.py'}:build")), detectors.Detector)


def test_rules_of_networks_of_ones_own() -> None:
    class Own(nn.Module):
        def rules(self, shape: tuple[int, ...]) -> dict[str, Any]:
            return {"score": 0.1, "iou": 0.5, "candidates": 9, "detections": shape[0], "first_label": 0}

    made = Network(Own(), ModelConfig(inputs=(InputConfig((3, 8, 8)),)), DataConfig())
    assert models.rules(made) == DetectionRules(0.1, 0.5, 9, 3, 0)
    made.module = nn.Linear(1, 1)
    assert models.rules(made) is None
    Own.rules = lambda *_: {"score": 0.1}  # type: ignore[method-assign,assignment,return-value]
    with pytest.raises(RecipeError, match="iou"):
        models.rules(Network(Own(), made.model, DataConfig()))


@cache
def searched(opset: int = 13, output: Any = "detections") -> onnx.ModelProto:
    """With the suppression in the graph, for two images."""
    config = ExportConfig(opset=opset, batch=2, output=output)
    shape = InputConfig((3, SIZES[FAST], SIZES[FAST]), "images")
    return to_onnx(prepared(FAST)[1], (shape,), detectors.OUTPUTS, config, rules=rules(FAST))


def as_network() -> tuple[Network, Ends]:
    ours, side = prepared(FAST)[1], SIZES[FAST]
    model = ModelConfig(inputs=(InputConfig((3, side, side), "images"),), outputs=detectors.OUTPUTS)
    return Network(ours, model, DataConfig()), Ends(output=DETECTIONS, rules=rules(FAST))


def test_the_suppression_in_the_graph() -> None:
    """The same detections as torchvision's, in outputs of one shape; and the gate says so."""
    _, _, _, inputs = prepared(FAST)
    proto = searched()
    most = rules(FAST).detections
    shapes = {
        one.name: tuple(d.dim_value for d in one.type.tensor_type.shape.dim) for one in proto.graph.output
    }
    assert shapes == {"boxes": (2, most, 4), "scores": (2, most), "labels": (2, most)}
    run = load(proto, shown=raw(rules(FAST)))
    boxes, scores, labels, *inner = run({"images": inputs[:2].numpy()}).values()
    assert labels.dtype == np.int32
    for at, outside in enumerate(
        detections(dict(zip(("boxes", "scores"), inner, strict=True)), asdict(rules(FAST)))
    ):
        inside = boxes[at], scores[at], labels[at]
        for found in (inside, outside):
            assert matched(found, expected(FAST)[at]) > 0.99
        assert (np.diff(scores[at]) <= 0).all()
    results = equivalence.compare(
        as_network()[0], proto, cases((inputs,), 2, edges=True), LIMITS["fp32"], as_network()[1]
    )
    assert {one.output for one in results} == {"boxes_raw", "scores_raw", "detections"}


def test_a_wrong_search_is_caught() -> None:
    proto = onnx.ModelProto()
    proto.CopyFrom(searched())
    limits = next(node for node in proto.graph.node if node.op_type == "NonMaxSuppression").input[3]
    weak = next(one for one in proto.graph.initializer if one.name == limits)
    weak.CopyFrom(onnx.numpy_helper.from_array(np.array([0.9], np.float32), limits))
    with pytest.raises(StageError, match=r"output 'detections' on images.*equal on \d"):
        equivalence.compare(
            as_network()[0],
            proto,
            cases((prepared(FAST)[3],), 2, edges=False),
            LIMITS["fp32"],
            as_network()[1],
        )


@pytest.mark.parametrize("plugin", [False, True])
def test_few_detections_are_filled_up(plugin: bool) -> None:
    """A tail of its own: 3 classes, 6 anchors in two levels, one image of two with nothing in it."""
    few = replace(rules(FAST), levels=(4, 2), candidates=3, detections=5, score=0.3, iou=0.5)
    names = {"boxes": [2, 6, 4], "scores": [2, 3, 6]}
    graph = ir.Graph([], [], nodes=[], opset_imports={"": 17}, name="tail")
    for name, shape in names.items():
        given = ir.Value(name=f"{name}_in", shape=ir.Shape(shape), type=ir.TensorType(ir.DataType.FLOAT))
        graph.inputs.append(given)
        same = ir.node("Identity", [given])
        same.outputs[0].name, same.outputs[0].shape, same.outputs[0].type = name, given.shape, given.type
        graph.append(same)
        graph.outputs.append(same.outputs[0])
    model = ir.Model(graph, ir_version=8)
    suppress_in(model, few, plugin)
    proto = ir.to_proto(model)
    assert plugin == ("EfficientNMS_TRT" in {node.op_type for node in proto.graph.node})
    rng = np.random.default_rng(0)
    boxes = np.concatenate([low := rng.uniform(0, 20, (2, 6, 2)), low + 15], -1).astype(np.float32)
    scores = rng.uniform(0, 1, (2, 3, 6)).astype(np.float32)
    scores[1] = 0.1
    found = load(proto)({"boxes_in": boxes, "scores_in": scores})
    wanted = detections({"boxes": boxes, "scores": scores}, asdict(few))
    count = len(wanted[0][1])
    assert 0 < count <= 5
    assert np.array_equal(found["boxes"][0][:count], wanted[0][0])
    assert np.array_equal(found["labels"][0], [*wanted[0][2], *[-1] * (5 - count)])
    assert (found["scores"][1] == 0).all()
    assert (found["labels"][1] == -1).all()
    assert (found["boxes"][1] == 0).all()


def test_a_search_needs_a_detector_and_a_fixed_batch() -> None:
    shape = (InputConfig((3, 8, 8)),)
    with pytest.raises(RecipeError, match="is no detector"):
        to_onnx(nn.Conv2d(3, 4, 1), shape, (), ExportConfig(output="detections"))
    with pytest.raises(RecipeError, match="NonMaxSuppression of its own"):
        resolve(Recipe("r", export=ExportConfig(output="detections")), find("nano"))


@pytest.mark.parametrize("name", ["nano", "xavier", "orin-nano"])
def test_the_plugin_where_the_board_has_it(name: str, tmp_path: Path) -> None:
    """The graph has the plugin's node with what it is asked for, the preflight knows it, and it finds the same."""
    wanted = resolve(Recipe("r", export=ExportConfig(output="efficient_nms")), TARGETS[name]).recipe.export
    proto = searched(int(str(wanted.opset)), "efficient_nms")
    (node,) = [one for one in proto.graph.node if one.op_type == "EfficientNMS_TRT"]
    asked = {one.name: onnx.helper.get_attribute_value(one) for one in node.attribute}
    assert asked["max_output_boxes"] == rules(FAST).detections
    assert asked["iou_threshold"] == pytest.approx(rules(FAST).iou)
    onnx.save(proto, tmp_path / "model.onnx")
    found = preflight(tmp_path / "model.onnx", TARGETS[name], precision="fp32", trial=False)
    assert found.ok
    assert any("plugin" in one.what for one in found.problems)
    feed = {"images": prepared(FAST)[3][:2].numpy()}
    bare = onnx.ModelProto()
    bare.CopyFrom(proto)
    del bare.graph.value_info[:]  # as quantization leaves it
    first, *others = (load(one)(feed) for one in (searched(int(str(wanted.opset))), proto, bare))
    assert all(
        np.array_equal(first[key], one[key]) for one in others for key in ("boxes", "scores", "labels")
    )
    assert (
        fp16_layers.largest(proto, [feed])["boxes"] > 0
    )  # looks at every tensor, and the plugin has none here


def test_the_plugin_is_refused_where_it_is_not_known_to_be() -> None:
    for name in ("host", "rtx", "gpu"):
        with pytest.raises(RecipeError, match="not known to have the plugin"):
            resolve(Recipe("r", export=ExportConfig(output="efficient_nms")), find(name))


@pytest.mark.parametrize("name", [name for name, target in TARGETS.items() if target.suppression])
def test_every_target_with_suppression_takes_the_graph(name: str, tmp_path: Path) -> None:
    """From JetPack 5 to 7 and on the host: the recipe is not refused, and the tables take every node."""
    wanted = resolve(Recipe("r", export=ExportConfig(output="detections")), TARGETS[name]).recipe.export
    assert wanted.opset is not None
    onnx.save(searched(wanted.opset), tmp_path / "model.onnx")
    found = preflight(tmp_path / "model.onnx", TARGETS[name], precision="fp32", trial=False)
    assert not [one.what for one in found.problems if one.level == "error"]


def test_asking_for_the_rules_in_training_teaches_nothing() -> None:
    """SSDlite's last map is one pixel: in training mode a single image has no spread there."""
    detector = models.build(
        ModelConfig("torchvision:ssdlite320_mobilenet_v3_large", {"num_classes": 4})
    ).train()
    frozen = next(one for one in detector.modules() if isinstance(one, torch.nn.BatchNorm2d)).eval()
    before = [value.clone() for value in detector.buffers()]
    rules = detectors.rules_of(detector, (3, 320, 320))
    assert rules is not None
    assert all(torch.equal(a, b) for a, b in zip(before, detector.buffers(), strict=True))
    assert detector.training
    assert not frozen.training
