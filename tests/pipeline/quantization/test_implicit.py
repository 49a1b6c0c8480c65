"""What goes to a DLA: the same network in float, and a range for every tensor that a convolution reads."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
import torch

from jetpress.deploy.targets import TARGETS
from jetpress.pipeline.engine.contents import for_dla
from jetpress.pipeline.quantization.implicit import implicit
from jetpress.pipeline.quantization.judge import error
from jetpress.pipeline.recipe.configs import BundleConfig
from jetpress.pipeline.recipe.sections.device import BenchmarkConfig, BuildConfig
from tests.pipeline.graph.outputs import outputs
from tests.pipeline.quantization.test_qdq import Residual, feeds, quantized, subject


@pytest.mark.parametrize(("dialect", "opset"), [("tensorrt8", 13), ("tensorrt", 17)])
def test_the_float_graph_and_its_ranges(dialect: str, opset: int) -> None:
    torch.manual_seed(0)
    one = subject(Residual(), dialect, opset)
    explicit = quantized(one)
    made, ranges = implicit(explicit)
    proto = ir.to_proto(made)
    onnx.checker.check_model(proto, full_check=True)
    assert not {"QuantizeLinear", "DequantizeLinear"} & {node.op_type for node in proto.graph.node}
    assert [one.name for one in proto.graph.output] == [one.name for one in explicit.graph.output]
    before, after, rounded = (outputs(graph, feeds(1)[0])[0] for graph in (one.proto, proto, explicit))
    assert error(before, after) < error(before, rounded), "only the weights are rounded"
    assert not np.array_equal(before, after), "and they are"
    convolutions = [node for node in made.graph if node.op_type == "Conv"]
    assert convolutions
    assert {node.inputs[0].name for node in convolutions} <= set(ranges)  # type: ignore[union-attr]
    named = {one.name for node in made.graph for one in node.outputs} | {
        one.name for one in made.graph.inputs
    }
    assert set(ranges) <= named
    scales = {one.name: float(onnx.numpy_helper.to_array(one).max()) for one in explicit.graph.initializer}
    assert ranges["input"] == pytest.approx(127 * scales["input_scale"])
    for node in made.graph:
        if node.op_type == "Relu" and node.outputs[0].name in ranges:
            assert node.inputs[0].name in ranges  # type: ignore[union-attr]


@cache
def eight_bits() -> bytes:
    return quantized(subject(Residual(), "tensorrt")).SerializeToString()


@pytest.mark.parametrize(
    ("target", "precision", "wanted"),
    [("xavier", "int8", True), ("agx-orin", "int8", True), ("xavier", "fp16", False), ("orin-nano", "int8", False),
     ("agx-orin-jp7", "int8", False), ("agx-orin-jp722", "int8", False)],
)  # fmt: skip
def test_it_is_packed_for_boards_whose_dla_takes_no_qdq(
    target: str, precision: str, wanted: bool, tmp_path: Path
) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(eight_bits())
    build = BuildConfig(precision=precision)  # type: ignore[arg-type]
    packing = BundleConfig("r", TARGETS[target], build, BenchmarkConfig(), 0)
    entry = for_dla(packing, True, path, tmp_path)
    assert entry == ({"implicit": {"file": "dla.onnx", "ranges": "dla-ranges.json"}} if wanted else {})
    assert (tmp_path / "dla.onnx").exists() == wanted
    if wanted:
        assert all(value > 0 for value in json.loads((tmp_path / "dla-ranges.json").read_text()).values())
