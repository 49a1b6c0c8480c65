"""FP16 in the file: what computes so, what stays, and that the file is still the same function."""

from __future__ import annotations

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
from onnx import TensorProto, helper, numpy_helper

from jetpress.pipeline.graph import fp16 as half
from jetpress.pipeline.graph import fp16_layers, tolerance
from jetpress.pipeline.graph.cases import cases
from jetpress.pipeline.graph.exporting import checked as _checked
from jetpress.pipeline.graph.exporting import tidy as _tidy
from jetpress.pipeline.graph.exporting import to_onnx
from jetpress.pipeline.recipe.sections.export import ExportConfig
from jetpress.pipeline.sparse.masks import best_mask
from jetpress.pipeline.sparse.rule import sparse_layers
from jetpress.pipeline.stages import equivalence
from tests.equivalence.networks import network, onnx_of
from tests.equivalence.test_matrix import inputs_of
from tests.pipeline.graph.outputs import outputs

Array = NDArray[Any]


def fp16(proto: onnx.ModelProto, seen: tuple[torch.Tensor, ...]) -> tuple[onnx.ModelProto, dict[str, Any]]:
    halved, facts = fp16_layers.to_fp16(proto, cases(seen, 1, edges=True))
    _tidy(halved, None)
    return _checked(halved), facts


def types(proto: onnx.ModelProto) -> dict[str, int]:
    values = [*proto.graph.input, *proto.graph.output, *proto.graph.value_info]
    return {v.name: v.type.tensor_type.elem_type for v in values} | {
        one.name: one.data_type for one in proto.graph.initializer
    }


def one_node(op: str, x: Array, *constants: Array, **attributes: Any) -> onnx.ModelProto:
    names = [f"c{i}" for i in range(len(constants))]
    made = helper.make_graph(
        [helper.make_node(op, ["x", *names], ["y"], name=f"layer/{op}", **attributes)],
        "test",
        [helper.make_tensor_value_info("x", helper.np_dtype_to_tensor_dtype(x.dtype), x.shape)],
        [onnx.ValueInfoProto(name="y")],
        [numpy_helper.from_array(c, name) for c, name in zip(constants, names, strict=True)],
    )
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    return onnx.shape_inference.infer_shapes(model)


def why(model: onnx.ModelProto, x: Array) -> str:
    """Why the only node stays in FP32; empty where it does not."""
    _, facts = fp16_layers.to_fp16(model, [("images", (torch.from_numpy(x),))])
    return next(iter(facts.fp32.values()), "")


@pytest.mark.parametrize(("name", "opset"), [("cnn", 18), ("transformer", 20), ("segmenter", 18)])
def test_the_whole_network_computes_in_fp16(name: str, opset: int) -> None:
    made = network(name)
    proto, facts = fp16(onnx_of(name, opset=opset), inputs_of(made, 8))
    assert facts.fp32 == {}
    known = types(proto)
    assert all(known[v.name] == TensorProto.FLOAT for v in [*proto.graph.input, *proto.graph.output])
    casts = [node for node in proto.graph.node if node.op_type == "Cast"]
    assert len(casts) == len(proto.graph.input) + len(proto.graph.output)
    inner = [out for node in proto.graph.node if node not in casts for out in node.output]
    assert {known[one] for one in inner} <= {TensorProto.FLOAT16, TensorProto.INT64}
    given = cases(inputs_of(made, 8), 1, edges=True)
    found = equivalence.compare(made, proto, given, tolerance.LIMITS["fp16"])
    assert all(1e-7 < one.max_relative < 5e-3 for one in found if one.case == "images"), "really rounded"


def test_a_layer_that_overflows_stays() -> None:
    """The sum of squares leaves FP16; the rest of the network does not care."""
    made = network("cnn")
    with torch.no_grad():
        made.module.get_parameter("stem.0.weight").mul_(1e6)
        made.module.get_buffer("stem.1.running_mean").mul_(1e6)
        made.module.get_buffer("stem.1.running_var").mul_(1e12)
        made.module.get_parameter("hidden.0.weight").mul_(1e6)
        made.module.get_buffer("hidden.1.running_mean").mul_(1e6)
        made.module.get_parameter("hidden.1.weight").mul_(1e5)
    whole = to_onnx(made.module, made.model.inputs, (), ExportConfig())
    proto, facts = fp16(whole, inputs_of(made, 8))
    assert set(facts.fp32) == {"hidden.0/Gemm", "hidden.2/Relu", "head/Gemm"}
    assert "constant by inf" in facts.fp32["hidden.0/Gemm"]
    assert "was seen, FP16 ends at 65504" in facts.fp32["head/Gemm"]
    equivalence.compare(made, proto, cases(inputs_of(made, 8), 1, edges=True), tolerance.LIMITS["fp16"])
    # Without the look at the data every one of these would be FP16, and the file another function.
    blind = ir.from_proto(whole)
    half.halve(blind, {})
    _tidy(blind, None)
    feed = {"input": inputs_of(made, 1)[0].numpy()}
    assert not np.isfinite(outputs(_checked(blind), feed)[0]).all()


def test_constants_that_fp16_cannot_hold() -> None:
    x = np.ones((1, 4), np.float32)
    assert "its constant by 1e+02 %" in why(one_node("Add", x, np.array(1e-12, np.float32)), x)
    assert "its constant by" in why(one_node("Add", x, np.array(1e-6, np.float32)), x)
    assert why(one_node("Add", x, np.array(1e-5, np.float32)), x) == ""
    assert "constant by inf" in why(one_node("Mul", x, np.array(1e5, np.float32)), x)
    assert why(one_node("Add", x, np.array(-np.inf, np.float32)), x) == "", "a mask is the same in FP16"


def test_small_values_whole_numbers_and_coordinates_stay() -> None:
    x = np.full((1, 4), 1e-6, np.float32)
    assert "below FP16's normal numbers" in why(one_node("Relu", x), x)
    assert why(one_node("Relu", np.zeros_like(x)), np.zeros_like(x)) == ""
    large, small = np.array([[4097]], np.int32), np.array([[7]], np.int32)
    assert "every whole number" in why(one_node("Cast", large, to=TensorProto.FLOAT), large)
    assert why(one_node("Cast", small, to=TensorProto.FLOAT), small) == ""
    assert "whole numbers" in why(
        one_node("Cast", np.ones((1, 1), np.float32), to=TensorProto.INT32), x[:, :1]
    )
    image = np.random.default_rng(0).random((1, 3, 8, 8), np.float32)
    grid = np.zeros((1, 4, 4, 2), np.float32)
    assert "coordinates" in why(one_node("GridSample", image, grid), image)


def test_what_the_opset_does_not_define_in_fp16_stays() -> None:
    """QuantizeLinear takes FP16 from opset 19 on."""
    x = np.ones((1, 4), np.float32)
    model = one_node("QuantizeLinear", x, np.array(0.1, np.float32), np.array(0, np.int8))
    assert "opset 18 does not define it in FP16" in why(model, x)


def test_recurrent_layers_that_tensorrt_would_start_or_compute_wrongly_stay() -> None:
    """10.3 reads the 1 of an FP16 GRU as 0; a layer without initial states gets them in FP32."""
    rng = np.random.default_rng(0)

    def draw(*shape: int) -> Array:
        return rng.normal(size=shape).astype(np.float32)

    x, state = draw(2, 5, 3), draw(1, 5, 4)
    layers = {
        "GRU": ((draw(1, 12, 3), draw(1, 12, 4), draw(1, 24), np.full(5, 2, np.int32), state), "10.4"),
        "LSTM": ((draw(1, 16, 3), draw(1, 16, 4)), "starts it in FP32"),
    }
    for op, (constants, why) in layers.items():
        _, facts = fp16(one_node(op, x, *constants, hidden_size=4), (torch.from_numpy(x),))
        assert why in facts.fp32[f"layer/{op}"]
        model = one_node(op, x, *constants, hidden_size=4)
        _, facts = fp16_layers.to_fp16(model, [("x", (torch.from_numpy(x),))], "10.13.3")
        assert bool(facts.fp32) == (op == "LSTM"), "10.4 and newer compute a GRU"
    given = (draw(1, 16, 3), draw(1, 16, 4), draw(1, 32), np.full(5, 2, np.int32), state, state)
    _, facts = fp16(one_node("LSTM", x, *given, hidden_size=4), (torch.from_numpy(x),))
    assert not facts.fp32


@pytest.mark.parametrize("other", ["big", "c_fp16"])
def test_a_constant_read_in_both_types_is_there_twice(other: str) -> None:
    """Whatever the others are called."""
    x = np.full((1, 4), 2.0, np.float32)
    model = helper.make_model(
        helper.make_graph(
            [
                helper.make_node("Mul", ["x", "c"], ["small"], name="a/Mul"),
                helper.make_node("Mul", ["small", other], ["large"], name="b/Mul"),
                helper.make_node("Sub", ["large", "c"], ["y"], name="c/Sub"),
            ],
            "test",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, x.shape)],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, x.shape)],
            [
                numpy_helper.from_array(np.full(4, 3, np.float32), "c"),
                numpy_helper.from_array(np.full(4, 30000, np.float32), other),
            ],
        ),
        opset_imports=[helper.make_opsetid("", 18)],
        ir_version=8,
    )
    halved, facts = fp16_layers.to_fp16(
        onnx.shape_inference.infer_shapes(model), [("images", (torch.from_numpy(x),))]
    )
    assert set(facts.fp32) == {"b/Mul", "c/Sub"}
    _tidy(halved, None)
    proto = _checked(halved)
    known = types(proto)
    assert (known["c"], known["c_fp16" if other == "big" else "c_fp16_1"], known[other]) == (
        TensorProto.FLOAT,
        TensorProto.FLOAT16,
        TensorProto.FLOAT,
    )
    assert np.array_equal(outputs(proto, {"x": x})[0], x * 3 * 30000 - 3)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.lists(st.floats(-60000, 60000, width=32), min_size=1, max_size=20))
def test_rounding_is_what_fp16_does(values: list[float]) -> None:
    array = np.array(values, np.float32)
    error, exact = half.rounding(array), array.astype(np.float64)
    apart = np.linalg.norm(exact - exact.astype(np.float16))
    assert error == pytest.approx(apart / (np.linalg.norm(exact) or 1.0))
    if (np.abs(array) > half.SMALLEST).all():
        assert error <= 2.0**-11


def test_zeros_of_2_4_stay_zeros() -> None:
    made = network("cnn")
    with torch.no_grad():
        weight = made.module.get_parameter("body.0.weight")
        weight.masked_fill_(~best_mask(weight), 0)
    proto, _ = fp16(to_onnx(made.module, made.model.inputs, (), ExportConfig()), inputs_of(made, 2))
    layers = {one.name: one for one in sparse_layers(proto)}
    assert layers["body.0.weight"].is_2_4
    assert types(proto)["body.0.weight"] == TensorProto.FLOAT16


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("name", ["cnn", "transformer"])
def test_tensorrt_rtx_builds_it_in_fp16(name: str, tmp_path: Path) -> None:
    """For compute capability 8.6, ahead of time; the graph alone says FP16, no flag is set."""
    pytest.importorskip("tensorrt_rtx", reason="not installed: pip install 'jetpress[rtx]'")
    from jetpress.deploy.runner.backends.tensorrt import load_library, make_log
    from jetpress.deploy.runner.interface.settings import Input, Settings
    from jetpress.deploy.runner.tensorrt.build import build_engine

    made = network(name)
    proto, _ = fp16(onnx_of(name, opset=18), inputs_of(made, 2))
    path = tmp_path / "model.onnx"
    path.write_bytes(proto.SerializeToString())
    settings = Settings(name, "fp16", [Input("input", [1, 3, 16, 16])], strongly_typed=True)
    trt = load_library("tensorrt_rtx")
    plan, built = build_engine(trt, make_log(trt), str(path), settings, ["8.6"])
    assert plan is not None
    assert built.strongly_typed
    assert built.flags == []
    assert "HALF" in built.types
