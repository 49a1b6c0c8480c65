"""A file that was given loses channels: held against what it was before and after, and refused by name."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper

import jetpress
from jetpress.benchmarks.report import headline
from jetpress.benchmarks.report.record import RunReport
from jetpress.deploy.errors import JetpressError, StageError
from jetpress.pipeline.graph import onnx_operators, session
from jetpress.pipeline.graph.converted import network_of
from jetpress.pipeline.recipe.onnx_run import sizings
from jetpress.pipeline.stages.prune_file import SHARES

pytest.importorskip("onnx2torch")
NET = """<ir_version: 7, opset_import: ["" : 11]>
net (float[N, 3, H, W] image) => (float[N, 5] out) {
  a = Conv <kernel_shape = [3, 3], pads = [1, 1, 1, 1], strides = [2, 2]> (image, w0)
  b = Relu (a)
  c = Conv <kernel_shape = [3, 3], pads = [1, 1, 1, 1]> (b, w1)
  d = HardSigmoid (c)
  e = Mul (c, d)
  f = GlobalMaxPool (e)
  shape = Constant <value = int64[2] {1, 32}> ()
  g = Reshape (f, shape)
  h = MatMul (g, w2)
  out = Sigmoid (h)
}"""
SHAPE = "image=1x3x16x16"
ROUGH = ("prune.scope=uniform", "prune.criterion=l2", "prune.reconstruct=false")
"""A cut that loses answers: the default keeps all of so few."""


def saved(path: Path, text: str = NET) -> Path:
    model, draw = onnx.parser.parse_model(text), np.random.default_rng(0)
    shapes = {"w0": (32, 3, 3, 3), "w1": (32, 32, 3, 3), "w2": (32, 5), "w3": (7, 32, 1, 1)}
    for name, shape in shapes.items():
        if name in text:
            array = draw.standard_normal(shape).astype(np.float32) / np.sqrt(np.prod(shape[1:])).astype(
                np.float32
            )
            model.graph.initializer.append(numpy_helper.from_array(array, name))
    onnx.save(model, path)
    return path


def samples(count: int = 24) -> list[dict[str, np.ndarray[tuple[int, ...], np.dtype[np.float32]]]]:
    draw = np.random.default_rng(1)
    return [{"image": draw.random((1, 3, 16, 16), np.float32)} for _ in range(count)]


def test_the_file_loses_channels_and_the_report_says_what_is_known(tmp_path: Path) -> None:
    def report(agreement: float) -> RunReport:
        return jetpress.engine(
            saved(tmp_path / "net.onnx"), "xavier", calibration=samples(), shapes=dict(sizings([SHAPE])), prune=0.3,
            settings=[f"budget.agreement={agreement}", *ROUGH], home=tmp_path / "runs",
        )  # fmt: skip

    found = report(0)
    assert found.verdict.standing == "cut, unjudged"
    assert found.verdict.why is not None
    assert "agreement, not accuracy" in found.verdict.why
    assert found.ratios.macs is not None
    assert found.ratios.macs >= 1 / 0.7
    assert any(layer.after < layer.before for layer in found.layers)
    told = [row for row in found.equivalence if row.pair == "as given, pruned: agreement"]
    assert [(row.output, row.met, row.inputs) for row in told] == [("out", None, 6)]
    assert told[0].cosine is not None
    assert 0.5 < told[0].cosine < 1
    assert {row.pair for row in found.equivalence} == {
        "as given, pruned: agreement",
        "pruned = as it is now",
    }
    assert "--prune 0.3" in found.reproduce
    assert found.folder is not None
    bundle = found.folder / "bundle"
    smaller, dense = (onnx.load(bundle / f"{name}.onnx").graph for name in ("model", "dense"))
    assert [one.name for one in smaller.output] == ["out"]
    assert max(len(one.raw_data) for one in smaller.initializer) < max(
        len(one.raw_data) for one in dense.initializer
    )
    (limit,) = found.verdict.checks
    assert limit.what == "the given file's top classes that are kept"
    assert limit.found is not None
    assert 0 < limit.found < 100
    missed = report(limit.found + 1)
    assert missed.verdict.standing == "not met"
    assert headline.shown(missed).exit_code == 8


def test_the_most_that_keeps_enough_answers_is_searched_for(tmp_path: Path) -> None:
    def report(agreement: float) -> RunReport:
        return jetpress.engine(
            saved(tmp_path / "net.onnx"), "xavier", calibration=samples(), shapes=dict(sizings([SHAPE])), prune="auto",
            settings=[f"budget.agreement={agreement}", *ROUGH], home=tmp_path / "runs",
        )  # fmt: skip

    most = report(0).ratios.macs
    assert most is not None
    assert most >= 1 / (1 - SHARES[-1])
    with pytest.raises(
        StageError, match=r"auto: with 5% of the multiply-adds gone, 17% of the file's 6 top classes"
    ):
        report(99)


DETECTOR = """<ir_version: 8, opset_import: ["" : 13]>
net (float[1, 3, 16, 16] image) => (float[1, 7, 64] out) {
  a = Conv <kernel_shape = [3, 3], pads = [1, 1, 1, 1], strides = [2, 2]> (image, w0)
  b = Relu (a)
  c = Conv <kernel_shape = [3, 3], pads = [1, 1, 1, 1]> (b, w1)
  d = Relu (c)
  e = Conv <kernel_shape = [1, 1]> (d, w3)
  shape = Constant <value = int64[3] {1, 7, 64}> ()
  f = Reshape (e, shape)
  g = Sigmoid (f)
  pixels = Constant <value = float[1, 7, 1] {16, 16, 6, 6, 1, 1, 1}> ()
  out = Mul (g, pixels)
}"""


def test_a_detector_is_judged_by_its_detections(tmp_path: Path) -> None:
    report = jetpress.engine(
        saved(tmp_path / "net.onnx", DETECTOR), "xavier", calibration=samples(8), prune=0.3, head="yolov8",
        settings=["budget.agreement=100"], home=tmp_path / "runs",
    )  # fmt: skip
    (limit,) = report.verdict.checks
    assert limit.what in ("the given file's detections that are kept", "detections that are not new")
    assert limit.found is not None
    assert limit.met is (limit.found == 100)
    assert report.verdict.standing == ("cut, unjudged" if limit.met else "not met")
    assert "detections are kept, and" in str(report.verdict.why)


NORMED = """<ir_version: 8, opset_import: ["" : 13]>
net (float[2, 3, 16, 16] image) => (float[2, 32, 16, 16] out) {
  a = Conv <kernel_shape = [3, 3], pads = [1, 1, 1, 1]> (image, w0)
  mean = ReduceMean <axes = [1]> (a)
  b = Sub (a, mean)
  two = Constant <value = float {2.0}> ()
  squares = Pow (b, two)
  variance = ReduceMean <axes = [1]> (squares)
  small = Constant <value = float {1e-5}> ()
  sum = Add (variance, small)
  root = Sqrt (sum)
  d = Div (b, root)
  c = Max (d, small)
  out = Conv <kernel_shape = [3, 3], pads = [1, 1, 1, 1]> (c, w1)
}"""


def test_exponents_and_epsilons_are_no_weights_and_a_maximum_takes_any_batch(tmp_path: Path) -> None:
    inputs = torch.randn(2, 3, 16, 16)
    network = network_of(onnx.load(saved(tmp_path / "net.onnx", NORMED)), (inputs,))
    assert all(one.numel() > 1 for one in network.parameters())
    assert network(inputs[:1])[0].shape == (1, 32, 16, 16)
    assert jetpress.prune(network, inputs, ratio=0.5).removed


LSTM = """<ir_version: 8, opset_import: ["" : 14]>
net (float[6, 2, 4] x, float[2, 2, 8] h, float[2, 2, 8] c) => (float[6, 2, 2, 8] y, float[2, 2, 8] last) {
  y, last = LSTM <hidden_size = 8, direction = "bidirectional"> (x, w, r, b, , h, c)
}"""


@pytest.mark.parametrize("opset", [13, 14])
def test_operators_that_the_library_lacks_are_those_of_onnx(opset: int) -> None:
    model, draw = onnx.parser.parse_model(LSTM), np.random.default_rng(0)
    model.opset_import[0].version = opset
    for name, shape in {"w": (2, 32, 4), "r": (2, 32, 8), "b": (2, 64)}.items():
        array = draw.standard_normal(shape).astype(np.float32)
        model.graph.initializer.append(numpy_helper.from_array(array, name))
    feed = {"x": draw.standard_normal((6, 2, 4)), "h": draw.random((2, 2, 8)), "c": draw.random((2, 2, 8))}
    arrays = {name: one.astype(np.float32) for name, one in feed.items()}
    tensors = tuple(map(torch.from_numpy, arrays.values()))
    with torch.no_grad():
        found = network_of(model, tensors)(*tensors)
    for wanted, got in zip(session.load(model)(arrays).values(), found, strict=True):
        np.testing.assert_allclose(got, wanted, atol=1e-5)
    assert {"LSTM", "GlobalMaxPool", "Conv"} <= onnx_operators.known(13)


IF = NET.replace("out = Sigmoid (h)", """s = ReduceMax <axes = [0, 1], keepdims = 0> (h)
  zero = Constant <value = float {0.0}> ()
  yes = Greater (s, zero)
  out = If (yes) <then_branch = t () => (float[1, 5] p) { p = Sigmoid (h) },
                  else_branch = e () => (float[1, 5] q) { q = Relu (h) }>""")  # fmt: skip


@pytest.mark.parametrize(("text", "how", "words"), [
    (NET, {"calibration": None}, "--prune needs real inputs"),
    (NET, {"settings": ["prune.latency=0.3"]}, "a time is reached in rounds"),
    (NET, {"settings": ["prune.criterion=taylor"]}, "there are no labels"),
    (NET, {"settings": ["prune.regularize_epochs=1"]}, "a file is not trained"),
    (NET, {"shapes": ["image=1x3x8x8:1x3x16x16:1x3x16x32"]}, "several sizes"),
    (NET, {"settings": ["prune.ignore=['*']"]}, "nothing could be removed"),
    (IF, {}, "onnx2torch does not read the file: it has no If"),
    (NET.replace("int64[2] {1, 32}", "int64[2] {-1, 32}").replace("out = ", """k = ReduceMean <axes = [0]> (h)
  out = Add (k, h)
  unused = """), {}, "fixes how many samples"),
])  # fmt: skip
def test_what_cannot_be_pruned_is_said(tmp_path: Path, text: str, how: dict[str, object], words: str) -> None:
    shapes = dict(sizings(how.pop("shapes", [SHAPE])))  # type: ignore[arg-type]
    told = {"calibration": samples(4), "shapes": shapes, **how}
    with pytest.raises(JetpressError, match=words):
        jetpress.engine(saved(tmp_path / "net.onnx", text), "xavier", prune=0.3, home=tmp_path, **told)  # type: ignore[arg-type]
