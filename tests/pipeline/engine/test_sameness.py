"""An engine is held against its ONNX file: the same passes, a planted bug in the engine does not."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper

from jetpress.deploy.device.events import Infer, by_model, read
from jetpress.deploy.errors import StageError
from jetpress.deploy.runner.__main__ import main
from jetpress.pipeline.engine import sameness
from jetpress.pipeline.tasks.detection import DETECTED_NEAR, found_again
from tests.deploy.runner_bundles import bundle, seal

Array = NDArray[Any]


def printed(place: Path, capsys: pytest.CaptureFixture[str]) -> list[str]:
    """The bundle built and run here; the runner's lines."""
    assert main(["build", "--bundle", str(place)]) == 0
    assert main(["infer", "--bundle", str(place)]) == 0
    return capsys.readouterr().out.splitlines()


def inferred(place: Path, capsys: pytest.CaptureFixture[str]) -> dict[str, Infer]:
    """The bundle built and run here; model -> its ``infer`` event."""
    events = [read(line) for line in printed(place, capsys)]
    return by_model([event for event in events if event is not None], Infer)


def altered(folder: Path, change: Callable[[Array], Array]) -> None:
    path = folder / "outputs-compressed.npy"
    np.save(path, change(np.load(path)))


BUGS: dict[str, Callable[[Array], Array]] = {
    "swapped channels": lambda x: x[:, [1, 0, 2, 3, 4]],
    "a wrong mean": lambda x: x + np.abs(x).max(),
    "a layer zeroed": np.zeros_like,
    "samples in another order": lambda x: x[::-1],
    "NaN": lambda x: x * np.float32("nan"),
}


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
def test_the_engine_against_its_file(
    precision: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Five samples at batch two: the last batch is a short one. Limits are those of the plan's precision."""
    place = bundle(tmp_path / "b")
    tried = inferred(place, capsys)
    plan = json.loads((place / "plan.json").read_text())
    (place / "plan.json").write_text(json.dumps({**plan, "precision": precision}))
    engines = place / "engines"
    found = sameness.held(place, engines, tried)
    assert set(found) == {"compressed", "dense"}
    assert all(
        one.samples == 5 and one.max_relative < 1e-5 and one.top1 == 1 for s in found.values() for one in s
    )
    whole = np.load(engines / "outputs-compressed.npy")
    for bug, change in BUGS.items():
        if bug == "samples in another order" and precision != "fp32":
            continue  # noise looks much the same to a network that never saw any
        altered(engines, change)
        with pytest.raises(
            StageError, match="NaN or Inf" if bug == "NaN" else "engine of compressed"
        ) as error:
            sameness.held(place, engines, tried)
        assert "output 'logits'" in error.value.what
        np.save(engines / "outputs-compressed.npy", whole)


def test_class_numbers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place = bundle(tmp_path / "b")
    for file in ("model.onnx", "dense.onnx"):
        proto = onnx.load(place / file)
        proto.graph.node.append(helper.make_node("ArgMax", ["logits"], ["class"], axis=1, keepdims=0))
        proto.graph.output[0].CopyFrom(helper.make_tensor_value_info("class", TensorProto.INT64, [2]))
        onnx.save(proto, place / file)
    seal(place)
    tried = inferred(place, capsys)
    assert sameness.held(place, place / "engines", tried)["compressed"][0].top1 == 1
    altered(place / "engines", lambda x: (x + 1) % 5)
    with pytest.raises(StageError, match=r"equal on 0\.0 %"):
        sameness.held(place, place / "engines", tried)


def detector() -> onnx.ModelProto:
    """Gives its two inputs back: 6 boxes and scores of 3 classes for each image."""
    shapes = {"boxes": [2, 6, 4], "scores": [2, 3, 6]}
    nodes = [helper.make_node("Identity", [f"{name}_in"], [name]) for name in shapes]
    given, made = (
        [helper.make_tensor_value_info(f"{name}{end}", TensorProto.FLOAT, s) for name, s in shapes.items()]
        for end in ("_in", "")
    )
    graph = helper.make_graph(nodes, "heads", given, made)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=7)


def test_the_runner_writes_detections(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    inputs = [
        {"name": "boxes_in", "shape": [2, 6, 4], "dtype": "float32", "profile": None},
        {"name": "scores_in", "shape": [2, 3, 6], "dtype": "float32", "profile": None},
    ]
    rules = {"score": 0.3, "iou": 0.5, "candidates": 9, "detections": 4, "first_label": 1, "levels": []}
    place = bundle(tmp_path / "b", inputs=inputs, detection=rules)
    boxes = np.tile(
        np.array([[0, 0, 10, 10], [0, 0, 10, 9.5], [20, 20, 30, 30], *[[0, 0, 1, 1]] * 3]), (3, 1, 1)
    )
    scores = np.zeros((3, 3, 6))
    scores[0, 1, :3] = 0.9, 0.8, 0.7  # the second overlaps the first
    scores[1, 2, 1] = 0.5
    for name, array in (("boxes_in", boxes), ("scores_in", scores)):
        np.save(place / "samples" / f"{name}.npy", array.astype(np.float32))
    (place / "samples" / "labels.npy").unlink()
    for file in ("model.onnx", "dense.onnx"):
        onnx.save(detector(), place / file)
    seal(place)
    events = [json.loads(line) for line in printed(place, capsys)]
    said = next(event for event in events if (event["event"], event.get("model")) == ("infer", "compressed"))
    assert said["detections"]["found"] == 3
    assert json.loads((place / "engines" / said["detections"]["file"]).read_text()) == [
        {"boxes": [[0, 0, 10, 10], [20, 20, 30, 30]], "labels": [2, 2], "scores": [0.9, 0.7]},
        {"boxes": [[0, 0, 10, 9.5]], "labels": [3], "scores": [0.5]},
        {"boxes": [], "labels": [], "scores": []},
    ]


def test_detections_of_an_engine_and_its_file() -> None:
    file = {
        "boxes": np.array([[[0, 0, 10, 10], [20, 20, 30, 30], [0, 0, 0, 0.0]]]),
        "scores": np.array([[0.9, 0.8, 0.0]]),
        "labels": np.array([[1, 2, -1]]),
    }
    assert found_again(file, file, "fp32").top1 == 1
    rounded = {**file, "boxes": file["boxes"] + 0.5}
    assert found_again(file, rounded, "fp16").top1 == 1
    assert found_again(file, rounded, "fp32").top1 == 0
    wrong = found_again(file, {**file, "labels": np.array([[1, 1, -1]])}, "int8")
    assert wrong.top1 == 0.5 < DETECTED_NEAR
