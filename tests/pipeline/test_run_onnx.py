"""An ONNX file in hand to a report: small files of several kinds, made here, on the host and for boards."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper
from PIL import Image

import jetpress
from jetpress.benchmarks.report.record import RunReport
from jetpress.deploy.errors import JetpressError, RecipeError, StageError
from jetpress.pipeline.cli import main
from jetpress.pipeline.recipe.onnx_run import pixels, sizings

QUICK = ("benchmark.seconds=0.2", "benchmark.runs=11", "benchmark.sessions=1")
FLOAT = onnx.TensorProto.FLOAT


def saved(
    path: Path, text: str, *weights: tuple[str, np.ndarray[tuple[int, ...], np.dtype[np.float32]]]
) -> Path:
    """A model in ONNX's own text form, with these weights."""
    model = onnx.parser.parse_model(text)
    model.graph.initializer.extend(numpy_helper.from_array(array, name) for name, array in weights)
    onnx.save(model, path)
    return path


def weight(*shape: int, seed: int = 0) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    return (np.random.default_rng(seed).standard_normal(shape) / 4).astype(np.float32)


CONV = """<ir_version: 7, opset_import: ["" : 11]>
net (float[N, 3, H, W] image) => (float[N, 4, A, B] out) {
  a = Conv <kernel_shape = [3, 3], pads = [1, 1, 1, 1]> (image, w)
  b = Relu (a)
  c = Shape (b)
  d = Conv <kernel_shape = [3, 3], pads = [1, 1, 1, 1]> (b, v)
  out = Sigmoid (d)
}"""
STATE = """<ir_version: 8, opset_import: ["" : 16]>
net (float[N, 8] x, float[2, N, 8] state, int64 rate) => (float[N, 8] y, float[2, N, 8] next, int64 again) {
  r = Cast <to = 1> (rate)
  m = MatMul (x, w)
  y = Add (m, r)
  next = Add (state, y)
  again = Identity (rate)
}"""


HEAD = """<ir_version: 8, opset_import: ["" : 17]>
net (float[1, 3, 16, 16] image) => (float[1, 6, 16] found) {
  a = Conv <kernel_shape = [4, 4], strides = [4, 4]> (image, w)
  b = Relu (a)
  c = Conv <kernel_shape = [1, 1]> (b, v)
  shape = Constant <value_ints = [1, 6, 16]> ()
  found = Reshape (c, shape)
}"""
"""As YOLOv8's: four numbers of a box and two classes for each of 16 anchors."""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def conv(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("files") / "conv.onnx"
    return saved(path, CONV, ("w", weight(8, 3, 3, 3)), ("v", weight(4, 8, 3, 3)))


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("images")
    draw = np.random.default_rng(0)
    for number in range(20):
        small = draw.integers(0, 255, (6, 8, 3), np.uint8)
        Image.fromarray(small).resize((40, 30)).save(folder / f"{number:02}.png")
    return folder


def made(report: RunReport, file: str = "model.onnx") -> onnx.ModelProto:
    assert report.folder is not None
    return onnx.load(report.folder / "bundle" / file)


@pytest.fixture(scope="module")
def on_host(conv: Path, home: Path, images: Path) -> RunReport:
    shapes = sizings(["image=1x3x8x8:1x3x16x16:2x3x24x32"])
    return jetpress.engine(conv, calibration=images, shapes=shapes, settings=QUICK, home=home)


def test_a_file_with_open_sides_is_built_measured_and_told_of(on_host: RunReport) -> None:
    assert on_host.engine_built
    assert on_host.verdict.standing in ("unjudged", "slower", "unknown")
    assert on_host.dense.latency is not None
    assert on_host.ratios.latency is not None
    pairs = {row.pair for row in on_host.equivalence}
    assert pairs == {"as given = as it is now", "ONNX Runtime = engine"}
    assert on_host.dense.test is None
    assert "model" not in on_host.recipe
    assert on_host.folder is not None
    page = (on_host.folder / "report.html").read_text()
    assert "as it was given" in page
    assert on_host.reproduce.startswith("jetpress engine ")


def test_the_profile_reaches_the_plan_of_the_bundle(on_host: RunReport) -> None:
    assert on_host.folder is not None
    (told,) = json.loads((on_host.folder / "bundle" / "plan.json").read_text())["inputs"]
    assert told["shape"] == [1, 3, 16, 16]
    assert told["profile"] == {"min": [1, 3, 8, 8], "opt": [1, 3, 16, 16], "max": [2, 3, 24, 32]}


def test_a_second_run_finds_everything(conv: Path, home: Path, images: Path, on_host: RunReport) -> None:
    shapes = sizings(["image=1x3x8x8:1x3x16x16:2x3x24x32"])
    again = jetpress.engine(conv, calibration=images, shapes=shapes, settings=QUICK, home=home)
    states = {stage.state for stage in again.stages if stage.name != "benchmark"}
    assert (
        states == {"cached"} or again.created == on_host.created
    )  # then not even the report was written again
    assert again.id == on_host.id


def test_state_and_scalars_are_inputs_like_others(tmp_path: Path, home: Path) -> None:
    """Its first axis is no batch, and one input has no axis at all."""
    file = saved(tmp_path / "state.onnx", STATE, ("w", weight(8, 8)))
    samples = [
        {"x": weight(1, 8, seed=n), "state": weight(2, 1, 8, seed=n), "rate": np.int64(n)} for n in range(3)
    ]
    report = jetpress.engine(file, calibration=samples, settings=QUICK, home=home)
    assert report.engine_built
    assert {row.output for row in report.equivalence} == {"y", "next", "again"}


@pytest.mark.parametrize(("target", "opset"), [("nano", 13), ("orin-nano", 18)])
def test_a_board_gets_a_bundle_at_its_opset(conv: Path, home: Path, target: str, opset: int) -> None:
    report = jetpress.engine(conv, target, shapes={"image": (1, 3, 16, 16)}, home=home)
    assert not report.engine_built
    assert report.next
    assert "bundle" in report.next
    assert made(report).opset_import[0].version == opset
    assert made(report, "dense.onnx").opset_import[0].version == 11  # as it was given
    halved = any(one.data_type == onnx.TensorProto.FLOAT16 for one in made(report).graph.initializer)
    assert halved == (target == "orin-nano")


def test_int64_ends_are_int32_where_there_is_no_int64(tmp_path: Path, home: Path) -> None:
    file = saved(tmp_path / "state.onnx", STATE, ("w", weight(8, 8)))
    graph = made(jetpress.engine(file, "xavier", home=home)).graph
    assert {one.name: one.type.tensor_type.elem_type for one in graph.input}["rate"] == onnx.TensorProto.INT32


def test_eight_bits_by_images(conv: Path, home: Path, images: Path) -> None:
    report = jetpress.engine(
        conv, "xavier", precision="int8", calibration=images, shapes={"image": (1, 3, 16, 16)}, home=home
    )
    assert report.quantization is not None
    assert report.quantization.validation is None
    assert any(one.int8 for one in report.quantization.layers)
    assert "QuantizeLinear" in {node.op_type for node in made(report).graph.node}


def test_frames_in_and_classes_out(conv: Path, home: Path, images: Path) -> None:
    report = jetpress.engine(
        conv,
        "orin-nano",
        calibration=images,
        shapes={"image": (1, 3, 16, 24)},
        pixels=pixels("0.5,0.4,0.3", "0.2", colour="bgr", fit="letterbox"),
        input="uint8_nhwc",
        output="argmax",
        home=home,
    )
    (frame,) = made(report).graph.input
    assert frame.type.tensor_type.elem_type == onnx.TensorProto.UINT8
    assert [dim.dim_value for dim in frame.type.tensor_type.shape.dim] == [1, 16, 24, 3]
    assert made(report).graph.output[0].type.tensor_type.elem_type == onnx.TensorProto.INT32


@pytest.fixture(scope="module")
def detector(conv: Path) -> Path:
    return saved(conv.parent / "head.onnx", HEAD, ("w", weight(8, 3, 4, 4)), ("v", abs(weight(6, 8, 1, 1))))


def test_a_detector_ends_with_what_it_finds(detector: Path, home: Path, images: Path) -> None:
    """What is compared is what the head reads, in INT8, too."""
    report = jetpress.engine(
        detector, "orin-nano", precision="int8", calibration=images, output="detections", head="yolov8",
        settings=("task.detections=5",), home=home,
    )  # fmt: skip
    outputs = {one.name: one.type.tensor_type.shape.dim for one in made(report).graph.output}
    sizes = {name: [one.dim_value for one in dims] for name, dims in outputs.items()}
    assert sizes == {"boxes": [1, 5, 4], "scores": [1, 5], "labels": [1, 5]}
    assert {row.output for row in report.equivalence} == {"found_raw"}
    assert "--output detections --head yolov8" in report.reproduce


def test_the_runner_finds_what_the_graph_does_not(detector: Path, home: Path, images: Path) -> None:
    report = jetpress.engine(detector, "xavier", calibration=images, head="yolov8", home=home)
    assert report.folder is not None
    told = json.loads((report.folder / "bundle" / "plan.json").read_text())["detection"]
    assert (told["head"], told["reads"], told["size"]) == ("yolov8", ["found"], [16, 16])
    with pytest.raises(RecipeError, match="has 2 outputs"):
        jetpress.engine(detector, "xavier", head="detr", home=home)
    with pytest.raises(RecipeError, match=r"task\.head"):
        jetpress.engine(detector, "xavier", head="yolo", home=home)
    with pytest.raises(RecipeError, match="no detector"):
        jetpress.engine(detector, "xavier", output="detections", home=home)


def plugin(path: Path) -> Path:
    node = helper.make_node("EfficientNMS_TRT", ["x"], ["y"], domain="trt.plugins")
    values = [helper.make_tensor_value_info(name, FLOAT, [1, 4]) for name in "xy"]
    graph = helper.make_graph([node], "net", values[:1], values[1:])
    imports = [helper.make_opsetid("", 17), helper.make_opsetid("trt.plugins", 1)]
    onnx.save(helper.make_model(graph, opset_imports=imports, ir_version=8), path)
    return path


@pytest.mark.parametrize(
    ("how", "words"),
    [
        (lambda conv, _: jetpress.engine(conv), "--shape image=Nx3xNxN"),
        (lambda conv, _: jetpress.engine(conv, shapes={"imag": (1, 3, 8, 8)}), "no input 'imag'"),
        (lambda conv, _: jetpress.engine(conv, shapes={"image": (1, 4, 8, 8)}), "an axis is 3 already"),
        (lambda conv, _: jetpress.engine(conv, shapes={"image": (1, 3, 8)}), "has 4 axes"),
        (lambda conv, _: jetpress.engine(conv, precision="int8"), "needs real inputs"),
        (lambda conv, _: jetpress.engine(conv, calibration="nowhere"), "there is no nowhere to calibrate with"),
        (lambda conv, _: jetpress.engine(conv, precision="fp8"), "FP8 needs tensor cores"),
        (lambda conv, _: jetpress.engine(conv, settings=["train.epochs=3"]), "there is no recipe here"),
        (lambda _, folder: jetpress.engine(folder / "none.onnx"), "there is no file"),
        (lambda _, folder: jetpress.engine(plugin(folder / "p.onnx")), "trt.plugins.EfficientNMS_TRT"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused_by_name(
    how: Callable[[Path, Path], RunReport],
    words: str,
    conv: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("JETPRESS_RUNS", str(tmp_path))
    with pytest.raises(JetpressError) as refused:
        how(conv, tmp_path)
    assert isinstance(refused.value, RecipeError | StageError)
    assert words in str(refused.value)


def test_another_function_would_be_seen(conv: Path, tmp_path: Path) -> None:
    from jetpress.pipeline.graph.held import Pair, hold
    from jetpress.pipeline.graph.tolerance import LIMITS

    other = onnx.load(conv)
    other.graph.initializer[0].CopyFrom(numpy_helper.from_array(1.01 * weight(8, 3, 3, 3), "w"))
    onnx.save(other, tmp_path / "other.onnx")
    feed = {"image": weight(1, 3, 8, 8)}
    with pytest.raises(StageError, match="first node that differs is"):
        hold(conv, tmp_path / "other.onnx", [Pair("images", feed, feed)], LIMITS["fp32"])


def test_the_command(
    conv: Path, home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With ``--json`` one object on stdout; the exit code is that of the standing."""
    monkeypatch.setenv("JETPRESS_RUNS", str(home))
    assert main(["engine", str(conv), "--target", "nano", "--shape", "image=1x3x16x16", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["verdict"]["standing"] == "unjudged"
