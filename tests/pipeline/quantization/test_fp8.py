"""FP8: the numbers of ONNX, graphs that TensorRT builds where there are tensor cores for it, a refusal elsewhere."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper
from torch import Tensor, nn

from jetpress.deploy.errors import RecipeError, StageError
from jetpress.deploy.onnx_file import guard
from jetpress.deploy.preflight import compatibility, trial
from jetpress.deploy.preflight.graph import inferred
from jetpress.deploy.targets import TARGETS
from jetpress.pipeline.graph import fp16_layers, session
from jetpress.pipeline.graph.cases import cases
from jetpress.pipeline.graph.exporting import to_onnx
from jetpress.pipeline.quantization import bias, calibrate, fake, judge
from jetpress.pipeline.quantization.dialect import DIALECTS, FP8, Array
from jetpress.pipeline.quantization.fake import Grid
from jetpress.pipeline.quantization.result import rest_in_fp16
from jetpress.pipeline.quantization.subject import NO_KERNEL, Subject
from jetpress.pipeline.recipe.reading import Recipe
from jetpress.pipeline.recipe.resolve import resolve
from jetpress.pipeline.recipe.sections.compression import QuantizeConfig
from jetpress.pipeline.recipe.sections.device import BuildConfig
from jetpress.pipeline.recipe.sections.export import ExportConfig
from jetpress.pipeline.recipe.sections.model import InputConfig
from tests.pipeline.graph.outputs import outputs

DIALECT = DIALECTS["tensorrt_fp8"]
ADA = BuildConfig(precision="fp8", compute_capabilities=("8.9",))


class Wide(nn.Module):
    """What has FP8 kernels (two convolutions, a Linear), and what has none."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.one, self.two = (nn.Conv2d(n, 32, 3, padding=1) for n in (3, 32, 32))
        self.each = nn.Conv2d(32, 32, 3, padding=1, groups=32)
        self.large = nn.Conv2d(32, 32, 7, padding=3)
        self.hidden, self.head = nn.Linear(32, 24), nn.Linear(24, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.stem(x))
        x = torch.relu(x + self.two(torch.relu(self.one(x))))
        x = torch.relu(self.large(torch.relu(self.each(x)))).mean((2, 3))
        return self.head(torch.relu(self.hidden(x)))  # type: ignore[no-any-return]


@pytest.fixture(scope="module")
def feeds() -> list[dict[str, Array]]:
    rng = np.random.default_rng(0)
    return [{"input": rng.standard_normal((1, 3, 16, 16)).astype(np.float32)} for _ in range(8)]


@pytest.fixture(scope="module")
def module() -> nn.Module:
    torch.manual_seed(0)
    return Wide().eval()


@pytest.fixture(scope="module")
def subject(module: nn.Module) -> Subject:
    proto = to_onnx(module, (InputConfig(shape=(3, 16, 16)),), (), ExportConfig(opset=20))
    return Subject(proto, DIALECT)


@pytest.fixture(scope="module")
def ranges(subject: Subject, feeds: list[dict[str, Array]]) -> Any:
    return calibrate.ranges(calibrate.look(subject.proto, subject.tensors(), feeds), "mse", DIALECT)


@pytest.fixture(scope="module")
def file(
    subject: Subject, ranges: Any, feeds: list[dict[str, Array]], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """As it is delivered: the rest in FP16."""
    path = tmp_path_factory.mktemp("fp8") / "model.onnx"
    seen = cases((torch.from_numpy(feeds[0]["input"]),), 1, edges=True)
    made = subject.graph(ranges)
    path.write_bytes(rest_in_fp16(made, fp16_layers.feeds(made, seen)).SerializeToString())
    return path


def on_onnx(x: Array, scale: float) -> Array:
    """What ONNX Runtime makes of it."""
    zero = helper.make_tensor("zero", TensorProto.FLOAT8E4M3FN, [], b"\0", raw=True)
    constants = [onnx.numpy_helper.from_array(np.array(scale, np.float32), "scale"), zero]
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "scale", "zero"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "scale", "zero"], ["y"]),
    ]
    ends = [[helper.make_tensor_value_info(one, TensorProto.FLOAT, ["n"])] for one in "xy"]
    graph = helper.make_graph(nodes, "pair", *ends, constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)
    return np.asarray(outputs(model, {"x": x})[0])


@settings(max_examples=60)
@given(
    st.lists(st.floats(-(2.0**20), 2.0**20, width=32), min_size=1, max_size=40),
    st.floats(2.0**-12, 2.0**6, width=32),
)
def test_rounding_is_that_of_onnx_bit_for_bit(values: list[float], scale: float) -> None:
    ties = np.arange(-600, 600) / 4 * scale
    x = np.concatenate([np.array(values), ties]).astype(np.float32)
    expected = on_onnx(x, scale)
    ours = fake.rounded(torch.from_numpy(x), Grid(scale, -448, 448, fp8=True)).numpy()
    assert np.array_equal(ours, expected)
    whole = FP8.rounded(x / np.float32(scale))
    assert np.array_equal(whole.astype(np.float32) * np.float32(scale), expected)


def test_gradients_stop_where_values_are_clipped() -> None:
    x = torch.tensor([-500.0, -447.0, 0.3, 448.0, 449.0], requires_grad=True)
    fake.rounded(x, Grid(1.0, -448, 448, fp8=True)).sum().backward()
    assert x.grad is not None
    assert x.grad[[0, 1, 2, 4]].tolist() == [0, 1, 1, 0]


def test_what_has_no_kernel_stays_out(subject: Subject) -> None:
    assert subject.names == ["one/Conv", "two/Conv", "hidden/Gemm"]
    assert set(subject.always.values()) == {NO_KERNEL}
    small = to_onnx(nn.Conv2d(3, 8, 3), (InputConfig(shape=(3, 8, 8)),), (), ExportConfig(opset=20))
    with pytest.raises(StageError, match=NO_KERNEL):
        _ = Subject(small, DIALECT).names


def test_valid_near_fp32_and_taken_by_thors_tables(
    subject: Subject, file: Path, feeds: list[dict[str, Array]]
) -> None:
    made = onnx.load(file)
    onnx.checker.check_model(made, full_check=True)
    kinds = {one.name: one.data_type for one in made.graph.initializer}
    layers = [node for node in made.graph.node if node.op_type in ("QuantizeLinear", "DequantizeLinear")]
    assert len(layers) == 3 * 2 + 3  # pairs on what the layers read; their weights are in FP8 already
    assert all(kinds[node.input[2]] == TensorProto.FLOAT8E4M3FN for node in layers)
    before, after = (outputs(proto, feeds[0])[0] for proto in (subject.proto, made))
    assert 1e-3 < judge.error(before, after) < 0.1
    assert np.array_equal(after, outputs(file, feeds[0])[0])  # read from a file, too
    for name in ("thor", "thor-jp72"):
        found = compatibility.preflight(file, TARGETS[name], precision="fp8", trial=False)
        assert found.ok, found.problems
        assert "opset" not in {one.about for one in found.problems if one.level == "error"}


@pytest.mark.parametrize(
    ("target", "why"), [("orin-nano", "8.7"), ("xavier", "7.2"), ("rtx", "8.6"), ("host", "CPU")]
)
def test_preflight_says_why_not(target: str, why: str, file: Path) -> None:
    found = compatibility.preflight(file, TARGETS[target], precision="fp8", trial=False)
    assert not found.ok
    assert any("8.9" in one.what and why in one.what for one in found.problems if one.level == "error")


@pytest.mark.parametrize(
    ("capability", "ok"), [("8.6", False), ("8.9", True), pytest.param("12.0", True, marks=pytest.mark.slow)]
)
def test_tensorrt_rtx_builds_it_for_ada_and_blackwell(capability: str, ok: bool, file: Path) -> None:
    pytest.importorskip("tensorrt_rtx")
    found = trial.attempt("tensorrt_rtx", inferred(guard.check_onnx(file)), capability)
    assert found is not None
    assert (found.ok, found.stage) == (ok, "build"), found.error
    assert ok or "fp8" in found.error


def test_the_trial_is_for_the_gpu_nearest_to_the_board() -> None:
    nearest = {
        name: trial.nearest(TARGETS[name].compute_capability) for name in ("host", "orin-nano", "thor", "rtx")
    }
    assert nearest == {"host": "8.6", "orin-nano": "8.6", "thor": "8.9", "rtx": "8.6"}


def test_training_rounds_as_the_file_does(
    module: nn.Module, subject: Subject, ranges: Any, feeds: list[dict[str, Array]]
) -> None:
    grids = fake.grids(subject.proto, module, DIALECT, ranges, tuple(subject.always))
    assert grids.weights == {"one.weight", "two.weight", "hidden.weight"}
    run, apart = session.load(subject.graph(ranges)), []
    with torch.no_grad(), fake.quantized(module, grids):
        for feed in feeds:
            (expected,) = run(feed).values()
            apart.append(judge.error(expected, module(torch.from_numpy(feed["input"])).numpy()))
    assert np.median(apart) < 1e-3


def test_bias_correction_takes_back_the_mean(
    subject: Subject, ranges: Any, feeds: list[dict[str, Array]]
) -> None:
    seen = calibrate.look(subject.proto, subject.tensors(), feeds, counted=False)
    corrected = replace(subject, shifts=bias.shifts(subject.layers, seen, FP8))

    def scores(proto: onnx.ModelProto) -> Array:
        run = session.load(proto)
        return np.concatenate([next(iter(run(feed).values())) for feed in feeds])

    wanted = scores(subject.proto)
    plain, mended = (judge.error(wanted, scores(one.graph(ranges))) for one in (subject, corrected))
    assert mended < plain


@pytest.mark.parametrize("name", ["host", "nano", "xavier", "orin-nano", "agx-orin-jp7", "rtx"])
def test_refused_with_the_reason_where_there_is_no_fp8(name: str) -> None:
    with pytest.raises(RecipeError, match=r"fp8.* 8\.9 or newer"):
        resolve(Recipe(name="r", build=BuildConfig(precision="fp8")), TARGETS[name])


def test_what_ada_and_thor_are_given() -> None:
    ada = resolve(Recipe(name="r", build=ADA), TARGETS["rtx"])
    assert ada.target.compute_capability == (8, 9)
    with pytest.raises(RecipeError, match=r"8\.6"):  # the oldest GPU of an engine decides
        resolve(Recipe(name="r", build=replace(ADA, compute_capabilities=("12.0", "8.6"))), TARGETS["rtx"])
    for plan in (ada, resolve(Recipe(name="r", build=BuildConfig(precision="fp8")), TARGETS["thor"])):
        recipe = plan.recipe
        assert (recipe.quantize.dialect, recipe.quantize.rest, recipe.export.opset) == (
            "tensorrt_fp8",
            "fp16",
            20,
        )
    # INT8 on Thor stays as it was: FP32 around Q/DQ, flags, the newest opset of the target.
    int8 = resolve(Recipe(name="r", build=BuildConfig(precision="int8")), TARGETS["thor"]).recipe
    assert (int8.quantize.dialect, int8.quantize.rest, int8.export.opset) == ("tensorrt", "fp32", 18)


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"export": ExportConfig(opset=18)}, "since opset 19"),
        ({"export": ExportConfig(fp16=True)}, "export.fp16"),
        ({"quantize": QuantizeConfig(method="entropy")}, "entropy"),
    ],
)
def test_combinations_that_cannot_be(changed: dict[str, Any], why: str) -> None:
    with pytest.raises(RecipeError, match=why):
        resolve(Recipe(name="r", build=ADA, **changed), TARGETS["rtx"])
