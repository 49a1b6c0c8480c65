"""Graphs with Q/DQ: valid at every opset, as each runtime wants them, and 2:4 where they were."""

from __future__ import annotations

import itertools
from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
import torch
from onnx import numpy_helper
from torch import Tensor, nn

from jetpress.deploy.onnx_file import guard
from jetpress.deploy.preflight import compatibility, trial
from jetpress.deploy.preflight.graph import inferred
from jetpress.deploy.targets import TARGETS
from jetpress.pipeline.graph.exporting import to_onnx
from jetpress.pipeline.quantization import calibrate, placement
from jetpress.pipeline.quantization.dialect import DIALECTS
from jetpress.pipeline.quantization.judge import error
from jetpress.pipeline.quantization.subject import Subject
from jetpress.pipeline.recipe.sections.export import ExportConfig
from jetpress.pipeline.recipe.sections.model import InputConfig
from jetpress.pipeline.sparse.masks import best_mask
from jetpress.pipeline.sparse.rule import sparse_layers
from tests.equivalence.networks import Cnn, Transformer
from tests.pipeline.graph.outputs import outputs

IMAGE = (InputConfig(shape=(3, 16, 16)),)
TARGET = {"tensorrt8": "xavier-jp4", "tensorrt": "orin-nano", "onnxruntime": "host"}


class Residual(nn.Module):
    """What TensorRT fuses: a block with a convolution in its shortcut, one without, two branches joined."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 3, padding=1)
        self.a1, self.a2 = nn.Conv2d(16, 16, 3, padding=1), nn.Conv2d(16, 16, 3, padding=1)
        self.b1, self.b2 = nn.Conv2d(16, 16, 3, 2, padding=1), nn.Conv2d(16, 16, 3, padding=1)
        self.short = nn.Conv2d(16, 16, 1, 2)
        self.left, self.right = nn.Conv2d(16, 8, 1), nn.Conv2d(16, 8, 1)
        self.head = nn.Linear(16, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.stem(x))
        x = torch.relu(x + self.a2(torch.relu(self.a1(x))))
        x = torch.relu(self.b2(torch.relu(self.b1(x))) + self.short(x))
        x = torch.cat([self.left(x), self.right(x)], 1)
        return self.head(torch.relu(x).mean((2, 3)))  # type: ignore[no-any-return]


def subject(module: nn.Module, dialect: str, opset: int = 17, masked: tuple[str, ...] = ()) -> Subject:
    torch.manual_seed(0)
    proto = to_onnx(module.eval(), IMAGE, (), ExportConfig(opset=opset))
    return Subject(proto, DIALECTS[dialect], (), masked)


def feeds(count: int = 4) -> list[dict[str, np.ndarray]]:  # type: ignore[type-arg]
    rng = np.random.default_rng(0)
    return [{"input": rng.standard_normal((1, 3, 16, 16)).astype(np.float32)} for _ in range(count)]


def quantized(one: Subject) -> onnx.ModelProto:
    seen = calibrate.look(one.proto, one.tensors(), feeds(), counted=False)
    return one.graph(calibrate.ranges(seen, "max", one.dialect))


FAST = {
    (Residual, 13, "tensorrt8"),
    (Residual, 20, "tensorrt"),
    (Residual, 17, "onnxruntime"),
    (Cnn, 17, "tensorrt"),
    (Transformer, 13, "onnxruntime"),
}
EVERY = [
    pytest.param(*one, marks=() if one in FAST else pytest.mark.slow)
    for one in itertools.product((Residual, Cnn, Transformer), (13, 17, 20), sorted(TARGET))
]


@pytest.mark.parametrize(("network", "opset", "dialect"), EVERY)
def test_valid_near_fp32_and_taken_by_the_tables(
    network: type[nn.Module], opset: int, dialect: str, tmp_path: Path
) -> None:
    one = subject(network(), dialect, opset)
    made = quantized(one)
    onnx.checker.check_model(made, full_check=True)
    assert made.opset_import[0].version == opset
    before, after = (outputs(proto, feeds(1)[0])[0] for proto in (one.proto, made))
    assert error(before, after) < 0.1
    (tmp_path / "model.onnx").write_bytes(made.SerializeToString())
    target = TARGETS[TARGET[dialect]]
    if opset <= target.opset:
        found = compatibility.preflight(tmp_path / "model.onnx", target, precision="int8", trial=False)
        assert not [p for p in found.problems if p.about == "quantization"]
        assert opset != target.opset or found.ok or network is Transformer


@pytest.mark.parametrize(
    ("network", "opset", "dialect"),
    [
        (Residual, 20, "tensorrt"),
        (Residual, 13, "tensorrt8"),
        *(
            pytest.param(network, 17, dialect, marks=pytest.mark.slow)
            for network in (Cnn, Transformer)
            for dialect in ("tensorrt8", "tensorrt")
        ),
    ],
)
def test_tensorrt_rtx_builds_it(network: type[nn.Module], opset: int, dialect: str, tmp_path: Path) -> None:
    pytest.importorskip("tensorrt_rtx")
    path = tmp_path / "model.onnx"
    path.write_bytes(quantized(subject(network(), dialect, opset)).SerializeToString())
    found = trial.attempt("tensorrt_rtx", inferred(guard.check_onnx(path)))
    assert found is not None
    assert found.ok, found.error
    assert found.stage == "build"


def test_placement_is_what_tensorrt_fuses() -> None:
    one = subject(Residual(), "tensorrt")
    graph = ir.from_proto(one.proto).graph
    found = placement.place(graph, one.dialect, ())
    reads = Counter(node.name for edges in found.activations.values() for node, _ in edges)
    assert reads["Add"] == 1  # the shortcut's edge, not the convolution's own
    second = next(node for node in graph if node.op_type == "Add" and node.name != "Add")
    assert reads[second.name] == 1
    own = {
        node.name: index
        for edges in found.activations.values()
        for node, index in edges
        if node.op_type == "Add"
    }
    producer = second.inputs[own[second.name or ""]].producer()  # type: ignore[union-attr]
    assert producer is not None
    assert producer.name == "b2/Conv" or producer.name == "short/Conv"
    order = [node.name for node in graph]
    others = {"b2/Conv", "short/Conv"} - {producer.name}
    assert order.index(producer.name) < order.index(others.pop())  # the later one is fused with the Add


def test_tensorrt_keeps_biases_constant_and_zero_points_zero() -> None:
    made = quantized(subject(Residual(), "tensorrt8", 13))
    arrays = {one.name: numpy_helper.to_array(one) for one in made.graph.initializer}
    for node in made.graph.node:
        if node.op_type in ("QuantizeLinear", "DequantizeLinear"):
            assert arrays[node.input[2]].dtype == np.int8
            assert not arrays[node.input[2]].any()
            assert (arrays[node.input[1]] > 0).all()
        if node.op_type in ("Conv", "Gemm"):
            assert arrays[node.input[2]].dtype == np.float32
    # TensorRT 8 takes no INT8 weights
    assert not [name for name, one in arrays.items() if one.dtype == np.int8 and "zero_point" not in name]


def test_onnx_runtime_computes_all_of_it_in_int8(tmp_path: Path) -> None:
    import onnxruntime as ort

    made = quantized(subject(Residual(), "onnxruntime"))
    options = ort.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimised.onnx")
    ort.InferenceSession(made.SerializeToString(), options, providers=["CPUExecutionProvider"])
    found = Counter(node.op_type for node in onnx.load(tmp_path / "optimised.onnx").graph.node)
    assert found["QLinearConv"] == 8
    assert found["QLinearAdd"] == 2
    assert found["Conv"] + found["FusedConv"] + found["Add"] == 0
    # Not a Gemm whose weights are unpacked in every run: the bias of the last layer is INT32 in the file.
    assert (found["QGemm"], found["Gemm"]) == (1, 0)


@pytest.mark.parametrize("dialect", sorted(TARGET))
def test_sparse_stays_sparse(dialect: str) -> None:
    module = Residual()
    names = ("a1.weight", "a2.weight", "b1.weight")
    with torch.no_grad():
        for name in names:
            weight = module.get_parameter(name)
            weight *= best_mask(weight)
    one = subject(module, dialect, masked=names)
    made = quantized(one)
    sparse = [layer.module for layer in sparse_layers(made) if layer.is_2_4]
    assert sparse == ["a1", "a2", "b1"]


def test_sparse_layers_give_int8_to_whoever_reads_them() -> None:
    """TensorRT has sparse INT8 kernels where the output is INT8, too."""
    one = subject(Residual(), "tensorrt", masked=("right.weight",))
    graph = ir.from_proto(one.proto).graph
    found = placement.place(graph, one.dialect, (), one.sparse)
    plain = placement.place(graph, one.dialect, ())
    extra = [v for v in found.activations if v not in plain.activations]
    assert [v.producer().name for v in extra] == ["right/Conv"]  # type: ignore[union-attr]


def test_layers_left_out_have_no_qdq() -> None:
    one = subject(Residual(), "tensorrt")
    seen = calibrate.look(one.proto, one.tensors(), feeds(1), counted=False)
    made = one.graph(calibrate.ranges(seen, "max", one.dialect), ["a1/Conv"])
    weights = {node.name: node.input[1] for node in made.graph.node if node.op_type == "Conv"}
    initializers = {tensor.name for tensor in made.graph.initializer}
    assert weights["a1/Conv"] in initializers
    assert weights["a2/Conv"] not in initializers
    patterns = Subject(one.proto, one.dialect, ("head.*", "a?.weight"))
    assert patterns.always.keys() == {"head/Gemm", "a1/Conv", "a2/Conv"}


@pytest.mark.parametrize("dialect", ["tensorrt", "onnxruntime"])
def test_every_choice_of_layers_has_its_ranges(dialect: str) -> None:
    one = subject(Residual(), dialect, masked=("b2.weight",))
    ranges = dict.fromkeys(one.tensors(), (-1.0, 1.0))
    for count in (1, len(one.names) - 1):
        for without in itertools.combinations(one.names, count):
            one.graph(ranges, without)
