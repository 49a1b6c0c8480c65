"""Each rule: random attributes and shapes, and ONNX Runtime gives the same before and after."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from onnx import TensorProto, defs, helper, numpy_helper
from onnx_ir.passes import common

from jetpress.deploy.errors import RecipeError, StageError
from jetpress.pipeline.graph.rewrites.downgrade import READ, RULES, WIDENED, downgrade
from jetpress.pipeline.graph.rewrites.primitives import EXPANSIONS, lower

Array = NDArray[Any]
OLDER = st.sampled_from([13, 14, 15, 16, 17])
few = settings(max_examples=20, deadline=None, derandomize=True)


def graph(
    nodes: Sequence[onnx.NodeProto],
    x: Array,
    constants: dict[str, Array] | None = None,
    outputs: int = 1,
    opset: int = 18,
) -> onnx.ModelProto:
    """``x`` -> nodes -> ``y`` (or ``y0``, ``y1``, ...)."""
    names = ["y"] if outputs == 1 else [f"y{i}" for i in range(outputs)]
    made = helper.make_graph(
        list(nodes),
        "test",
        [helper.make_tensor_value_info("x", helper.np_dtype_to_tensor_dtype(x.dtype), x.shape)],
        [onnx.ValueInfoProto(name=name) for name in names],
        [numpy_helper.from_array(array, name) for name, array in (constants or {}).items()],
    )
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    return onnx.shape_inference.infer_shapes(model, data_prop=True)


def at_opset(model: onnx.ModelProto, opset: int, lowered: Sequence[str] = ()) -> onnx.ModelProto:
    inner = ir.from_proto(model)
    lower(inner, lowered)
    downgrade(inner, opset)
    common.NameFixPass()(inner)
    proto = onnx.shape_inference.infer_shapes(ir.to_proto(inner), strict_mode=True)
    onnx.checker.check_model(proto, full_check=True)
    assert proto.opset_import[0].version == opset
    return proto


def run(model: onnx.ModelProto, x: Array) -> list[Array]:
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return list(session.run(None, {"x": x}))


def same(
    model: onnx.ModelProto, x: Array, opset: int, lowered: Sequence[str] = (), tolerance: float = 0
) -> onnx.ModelProto:
    older = at_opset(model, opset, lowered)
    for before, after in zip(run(model, x), run(older, x), strict=True):
        assert before.shape == after.shape
        assert before.dtype == after.dtype
        np.testing.assert_allclose(after, before, rtol=tolerance, atol=tolerance)
    return older


@st.composite
def tensors(draw: st.DrawFn, least: int = 1, most: int = 4) -> Array:
    shape = draw(st.lists(st.integers(1, 5), min_size=least, max_size=most))
    seed = draw(st.integers(0, 2**16))
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def ints(*values: int) -> Array:
    return np.array(values, np.int64)


def test_every_operator_that_changed_was_looked_at() -> None:
    """What changed from 13 to 21 and is in no table is refused; these were read and are left so."""
    refused = {
        "AffineGrid", "Bernoulli", "BitwiseAnd", "BitwiseNot", "BitwiseOr", "BitwiseXor", "BlackmanWindow",
        "CenterCropPad", "Col2Im", "DFT", "DeformConv", "HammingWindow", "HannWindow", "ImageDecoder",
        "MelWeightMatrix", "Optional", "OptionalGetElement", "OptionalHasElement", "RegexFullMatch", "STFT",
        "SequenceMap", "StringConcat", "StringSplit",
    }  # fmt: skip
    changed = set()
    for schema in defs.get_all_schemas_with_history():
        if schema.domain == "" and 13 < schema.since_version <= READ and not schema.deprecated:
            changed.add(schema.name)
    assert changed == WIDENED | set(RULES) | refused | set(EXPANSIONS)
    assert not WIDENED & set(RULES)
    assert not refused & set(EXPANSIONS)


@given(tensors(), st.data(), OLDER)
@few
def test_reductions(x: Array, data: st.DataObject, opset: int) -> None:
    kind = data.draw(st.sampled_from(sorted(name for name in RULES if name.startswith("Reduce"))))
    axes = data.draw(st.none() | st.lists(st.integers(0, x.ndim - 1), unique=True))
    signed = None if axes is None else [axis - x.ndim * data.draw(st.booleans()) for axis in axes]
    x = np.abs(x) + 0.1
    inputs, constants = (["x"], {}) if signed is None else (["x", "axes"], {"axes": ints(*signed)})
    node = helper.make_node(
        kind, inputs, ["y"], keepdims=data.draw(st.integers(0, 1)), noop_with_empty_axes=0
    )
    same(graph([node], x, constants), x, opset)


def test_a_reduction_that_reduces_nothing_is_refused() -> None:
    x = np.ones((2, 2), np.float32)
    node = helper.make_node("ReduceMean", ["x"], ["y"], noop_with_empty_axes=1, name="head/ReduceMean")
    with pytest.raises(StageError, match=r"ReduceMean \(node 'head/ReduceMean'\): it reduces nothing"):
        at_opset(graph([node], x), 17)


@given(tensors(), st.data(), OLDER)
@few
def test_pad(x: Array, data: st.DataObject, opset: int) -> None:
    axes = data.draw(st.lists(st.integers(0, x.ndim - 1), unique=True, min_size=1))
    pads = [data.draw(st.integers(0, 3)) for _ in range(2 * len(axes))]
    signed = [axis - x.ndim * data.draw(st.booleans()) for axis in axes]
    constants = {"pads": ints(*pads), "value": np.array(1.5, np.float32), "axes": ints(*signed)}
    mode = data.draw(st.sampled_from(["constant", "edge"]))
    value = data.draw(st.sampled_from(["value", ""]))
    node = helper.make_node("Pad", ["x", "pads", value, "axes"], ["y"], mode=mode)
    same(graph([node], x, constants), x, opset)


@given(tensors(), st.data(), OLDER)
@few
def test_split_into_unequal_parts(x: Array, data: st.DataObject, opset: int) -> None:
    axis = data.draw(st.integers(-x.ndim, x.ndim - 1))
    length = x.shape[axis]
    count = data.draw(
        st.sampled_from([n for n in range(1, length + 1) if -(-length // n) * (n - 1) < length])
    )
    outputs = ["y"] if count == 1 else [f"y{i}" for i in range(count)]
    node = helper.make_node("Split", ["x"], outputs, axis=axis, num_outputs=count)
    same(graph([node], x, outputs=count), x, opset)


@given(tensors(), st.booleans(), st.booleans())
@few
def test_reshape(x: Array, computed: bool, allowzero: bool) -> None:
    """``allowzero`` may go where no tensor can be empty."""
    reshape = helper.make_node("Reshape", ["x", "shape"], ["y"], **({"allowzero": 1} if allowzero else {}))
    if computed:
        nodes = [helper.make_node("Shape", ["x"], ["shape"]), reshape]
        same(graph(nodes, x), x, 13)
    else:
        same(graph([reshape], x, {"shape": ints(-1, x.shape[0])}), x, 13)


def test_reshape_to_an_empty_tensor_is_refused() -> None:
    x = np.zeros((0, 3), np.float32)
    node = helper.make_node("Reshape", ["x", "shape"], ["y"], allowzero=1)
    with pytest.raises(StageError, match="empty tensor"):
        at_opset(graph([node], x, {"shape": ints(3, 0)}), 13)


@given(tensors(), st.data(), OLDER)
@few
def test_shape_of_a_part(x: Array, data: st.DataObject, opset: int) -> None:
    bound = st.none() | st.integers(-x.ndim - 2, x.ndim + 2)
    start, end = data.draw(bound), data.draw(bound)
    given = {name: value for name, value in (("start", start), ("end", end)) if value is not None}
    same(graph([helper.make_node("Shape", ["x"], ["y"], **given)], x), x, opset)


@given(
    st.sampled_from(["nearest", "linear", "cubic"]),
    st.sampled_from(["half_pixel", "align_corners", "asymmetric"]),
    OLDER,
)
@few
def test_resize(mode: str, coordinates: str, opset: int) -> None:
    x = np.random.default_rng(0).normal(size=(1, 2, 4, 5)).astype(np.float32)
    node = helper.make_node(
        "Resize", ["x", "", "", "sizes"], ["y"], mode=mode, coordinate_transformation_mode=coordinates,
        antialias=0, keep_aspect_ratio_policy="stretch",
    )  # fmt: skip
    same(graph([node], x, {"sizes": ints(1, 2, 7, 9)}), x, opset)


def test_antialiased_resize_is_refused() -> None:
    x = np.ones((1, 1, 4, 4), np.float32)
    node = helper.make_node(
        "Resize", ["x", "", "", "sizes"], ["y"], mode="linear", antialias=1, name="up/Resize"
    )
    with pytest.raises(
        StageError, match=r"Resize \(node 'up/Resize'\): its attribute antialias = 1 came later"
    ) as error:
        at_opset(graph([node], x, {"sizes": ints(1, 1, 2, 2)}), 17)
    assert "export.opset" in error.value.hint


@given(tensors(least=2), st.data(), OLDER)
@few
def test_layer_normalization(x: Array, data: st.DataObject, opset: int) -> None:
    axis = data.draw(st.integers(-x.ndim, x.ndim - 1))
    generator = np.random.default_rng(1)
    shape = x.shape[axis:]
    constants = {name: generator.normal(size=shape).astype(np.float32) for name in ("scale", "bias")}
    inputs = ["x", "scale", "bias"][: data.draw(st.integers(2, 3))]
    node = helper.make_node("LayerNormalization", inputs, ["y"], axis=axis, epsilon=1e-3)
    older = same(graph([node], x, constants), x, opset, ["LayerNormalization"], tolerance=1e-4)
    assert "LayerNormalization" not in {one.op_type for one in older.graph.node}


@given(tensors(), st.sampled_from(["HardSwish", "Mish"]), OLDER)
@few
def test_activations(x: Array, kind: str, opset: int) -> None:
    older = same(graph([helper.make_node(kind, ["x"], ["y"])], 4 * x), 4 * x, opset, [kind], tolerance=1e-5)
    assert kind not in {one.op_type for one in older.graph.node}


@pytest.mark.parametrize("approximate", ["none", "tanh"])
def test_gelu_as_primitives(approximate: str) -> None:
    x = np.linspace(-5, 5, 41, dtype=np.float32)
    model = graph([helper.make_node("Gelu", ["x"], ["y"], approximate=approximate)], x, opset=20)
    same(model, x, 20, ["Gelu"], tolerance=1e-5)


@given(tensors(least=2, most=3), st.integers(0, 1), st.none() | st.integers(-3, 3), OLDER)
@few
def test_trilu(x: Array, upper: int, k: int | None, opset: int) -> None:
    constants = {} if k is None else {"k": np.array(k, np.int64)}
    node = helper.make_node("Trilu", ["x", *constants], ["y"], upper=upper)
    same(graph([node], x, constants), x, opset, ["Trilu"])


def test_cast_like() -> None:
    x = np.array([1.5, -2.5], np.float32)
    node = helper.make_node("CastLike", ["x", "like"], ["y"])
    same(graph([node], x, {"like": ints(0)}), x, 13, ["CastLike"])


@pytest.mark.parametrize("mode", ["output_half_pixel", "half_pixel"])
def test_roi_align(mode: str) -> None:
    x = np.random.default_rng(0).normal(size=(1, 2, 8, 8)).astype(np.float32)
    constants = {"rois": np.array([[0, 0, 6, 6], [1, 2, 5, 7]], np.float32), "batch": ints(0, 0)}
    node = helper.make_node(
        "RoiAlign", ["x", "rois", "batch"], ["y"], output_height=3, output_width=3, sampling_ratio=2,
        coordinate_transformation_mode=mode,
    )  # fmt: skip
    model = graph([node], x, constants)
    if mode == "half_pixel":
        with pytest.raises(StageError, match="RoiAlign"):
            at_opset(model, 13)
    else:
        same(model, x, 13, tolerance=1e-6)


def test_widened_operators_stay() -> None:
    x = np.random.default_rng(0).normal(size=(1, 4, 4, 4)).astype(np.float32)
    ones = np.ones(4, np.float32)
    nodes = [
        helper.make_node("BatchNormalization", ["x", "s", "s", "s", "s"], ["a"], training_mode=0),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("Mul", ["b", "a"], ["c"]),
        helper.make_node("LeakyRelu", ["c"], ["y"], alpha=0.1),
    ]
    older = same(graph(nodes, x, {"s": ones}), x, 13)
    assert [one.op_type for one in older.graph.node] == ["BatchNormalization", "Relu", "Mul", "LeakyRelu"]


def test_a_type_that_came_later_is_refused() -> None:
    x = np.ones(3, np.int8)
    with pytest.raises(StageError, match=r"its input A is a tensor\(int8\), which came later"):
        at_opset(graph([helper.make_node("Add", ["x", "x"], ["y"])], x), 13)


def test_an_operator_that_came_later_is_refused_by_name() -> None:
    x = np.ones((1, 1, 4, 4), np.float32)
    grid = np.zeros((1, 2, 2, 2), np.float32)
    model = graph(
        [helper.make_node("GridSample", ["x", "grid"], ["y"], name="warp/GridSample")], x, {"grid": grid}
    )
    with pytest.raises(StageError, match=r"GridSample \(node 'warp/GridSample'\): it came with opset 16"):
        at_opset(model, 13)
    same(model, x, 17)


def test_bodies_of_loops_are_rewritten_too() -> None:
    x = np.ones((2, 3), np.float32)

    def branch(name: str, constant: float) -> onnx.GraphProto:
        nodes = [
            helper.make_node("Constant", [], [f"{name}_axes"], value=numpy_helper.from_array(ints(1))),
            helper.make_node("ReduceMax", ["x", f"{name}_axes"], [f"{name}_max"], keepdims=0),
            helper.make_node(
                "Constant", [], [f"{name}_c"], value=numpy_helper.from_array(np.array(constant, np.float32))
            ),
            helper.make_node("Add", [f"{name}_max", f"{name}_c"], [f"{name}_out"]),
        ]
        return helper.make_graph(
            nodes, name, [], [helper.make_tensor_value_info(f"{name}_out", TensorProto.FLOAT, [2])]
        )

    node = helper.make_node(
        "If", ["flag"], ["y"], then_branch=branch("then", 1), else_branch=branch("other", 2)
    )
    same(graph([node], x, {"flag": np.array(True)}), x, 13)


def test_unknown_and_impossible_lowering() -> None:
    x = np.ones(3, np.float32)
    model = graph([helper.make_node("Relu", ["x"], ["y"])], x)
    with pytest.raises(RecipeError, match="no operator 'HardSwich'"):
        at_opset(model, 18, ["HardSwich"])
    with pytest.raises(StageError, match=r"Relu .* cannot be written as primitives"):
        at_opset(model, 18, ["Relu"])


def test_outside_the_range() -> None:
    x = np.ones(3, np.float32)
    with pytest.raises(StageError, match="opset 12 is asked for"):
        at_opset(graph([helper.make_node("Relu", ["x"], ["y"])], x), 12)
