"""Every rewrite keeps what the graph computes, and what it leaves passes the preflight of the version it is for."""

# ruff: noqa: E501 - one graph a line
from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from onnx import parser
from onnx.reference import ReferenceEvaluator

from jetpress.deploy.onnx_file import guard
from jetpress.deploy.preflight.compatibility import judge
from jetpress.deploy.preflight.graph import inferred
from jetpress.deploy.targets import Target, find
from jetpress.pipeline.graph.exporting import tidy
from jetpress.pipeline.graph.foreign import as_taken, opset_for
from jetpress.pipeline.graph.lowering import lower
from jetpress.pipeline.graph.rewrites.rules import REWRITES
from jetpress.pipeline.recipe.sections.data import DataConfig
from jetpress.pipeline.recipe.sections.export import ExportConfig

X = "float[1,4,6,6] x"
AXES = "int64[1] a = {1}"


def read(text: str, opset: int) -> onnx.ModelProto:
    model = parser.parse_model(f'<ir_version: 8, opset_import: ["" : {opset}]> {text}')
    for node in model.graph.node:  # the parser of texts drops empty names at the end
        node.input[:] = ["" if name == "BLANK" else name for name in node.input]
    return onnx.shape_inference.infer_shapes(model, data_prop=True)


def inputs_of(model: onnx.ModelProto, seed: int = 0) -> dict[str, Any]:
    rng, found = np.random.default_rng(seed), {}
    for one in model.graph.input:
        shape = [d.dim_value or 3 for d in one.type.tensor_type.shape.dim]
        dtype = onnx.helper.tensor_dtype_to_np_dtype(one.type.tensor_type.elem_type)
        values = rng.normal(size=shape) * 3
        found[one.name] = np.asarray(values > 0 if dtype == np.bool_ else values, dtype)
    return found


def computed(model: onnx.ModelProto, feeds: dict[str, Any]) -> list[Any]:
    ops = {node.op_type for node in model.graph.node}
    if ops == {"Where"} or any(one.name == "layout" for node in model.graph.node for one in node.attribute):
        # Where of BOOL, and batch first: ONNX Runtime has no such kernels
        return list(ReferenceEvaluator(model).run(None, feeds))
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    made = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return list(made.run(None, feeds))


def lowered(model: onnx.ModelProto, tensorrt: str) -> tuple[onnx.ModelProto, list[str]]:
    graph = ir.from_proto(model)
    said = lower(graph, tensorrt)
    tidy(graph, None)
    proto = onnx.shape_inference.infer_shapes(ir.to_proto(graph))
    onnx.checker.check_model(proto, full_check=True)
    return proto, said


SCATTER = ", ".join(str(i % 4) for i in range(3 * 36))
CASES = {
    "no empty names at the end": (13, f"g ({X}, float[2,4,3,3] w, float[2,3] v, float[3,2] z) => (float[1,2,4,4] y, float[2,2] p, float[1,2,6,6] q, float[1,2,6,6] r) {{ y = Conv<kernel_shape = [3, 3]>(x, w, BLANK) p = Gemm(v, z, BLANK) q, r = Split<axis = 1>(x, BLANK) }}"),
    "pads of auto_pad = VALID left out": (13, f'g ({X}) => (float[1,4,4,4] y) {{ y = MaxPool<kernel_shape = [3, 3], auto_pad = "VALID", pads = [1, 1, 1, 1]>(x) }}'),
    "Constant by its attribute value": (13, "g (float[4] x) => (float[4] y) { c = Constant<value_ints = [2]>() d = Cast<to = 1>(c) y = Add(x, d) }"),
    "kernel_shape written out": (13, f"g ({X}, float[2,4,3,3] w) => (float[1,2,4,4] y) {{ y = Conv(x, w) }}"),
    "ScatterND without its attribute reduction": (16, 'g (float[4] x, float[1] u) => (float[4] y) <int64[1,1] i = {2}> { y = ScatterND<reduction = "none">(x, i, u) }'),
    "Trilu with its attribute upper": (14, "g (float[4,4] x) => (float[4,4] y) { y = Trilu(x) }"),
    "RoiAlign with its attribute sampling_ratio": (16, f"g ({X}) => (float[1,4,2,2] y) <float[1,4] r = {{0.0, 0.0, 5.0, 5.0}}, int64[1] n = {{0}}> {{ y = RoiAlign<output_height = 2, output_width = 2>(x, r, n) }}"),
    "the axis of scales written out": (13, "g (float[2,3] x) => (float[2,3] y) <float[3] s = {0.1, 0.2, 0.3}, int8[3] z = {0, 0, 0}> { q = QuantizeLinear(x, s, z) y = DequantizeLinear(q, s, z) }"),
    "GridSample's mode by its default": (20, f'g ({X}, float[1,3,3,2] i) => (float[1,4,3,3] y) {{ y = GridSample<mode = "linear">(x, i) }}'),
    "Slice with its axes": (13, "g (float[4,4] x) => (float[2,4] y) <int64[1] s = {1}, int64[1] e = {3}> { y = Slice(x, s, e) }"),
    "Shape(start, end) as Shape and Slice": (15, f"g ({X}) => (int64[2] y) {{ y = Shape<start = 1, end = -1>(x) }}"),
    "ReduceSum without axes": (13, f"g ({X}) => (float[1,4,6,6] y) {{ y = ReduceSum<noop_with_empty_axes = 1>(x) }}"),
    "negative Pad as Slice": (13, f"g ({X}) => (float[1,4,5,6] y) <int64[8] p = {{0, 0, -2, 1, 0, 0, 1, -1}}, float v = {{2.0}}> {{ y = Pad(x, p, v) }}"),
    "Pad that wraps as Concat of slices": (19, f'g ({X}) => (float[1,4,9,7] y) <int64[8] p = {{0, 0, 2, 0, 0, 0, 1, 1}}> {{ y = Pad<mode = "wrap">(x, p) }}'),
    "dilated MaxPool as Max of slices": (13, f"g ({X}) => (float[1,4,2,5] y) {{ y = MaxPool<kernel_shape = [3, 2], dilations = [2, 1], strides = [2, 1], pads = [1, 0, 0, 0]>(x) }}"),
    "Trilu as Where": (14, f"g ({X}) => (float[1,4,6,6] y) <int64 k = {{1}}> {{ y = Trilu<upper = 0>(x, k) }}"),
    "Pow with an exponent in FP32": (13, f"g ({X}) => (float[1,4,6,6] y) <int64 e = {{3}}> {{ y = Pow(x, e) }}"),
    "Relu of integers as Max": (14, "g (int32[6] x) => (int32[6] y) { y = Relu(x) }"),
    "Sign of integers in FP32": (13, "g (int64[6] x) => (int64[6] y) { y = Sign(x) }"),
    "BOOL as INT32": (13, "g (bool[6] x, bool[6] z) => (bool[6] y, bool[2] w) <int64[2] i = {4, 1}> { y = Equal(x, z) w = Gather(x, i) }"),
    "Where of BOOL as And and Or": (13, "g (bool[6] c, bool[6] x, bool[6] z) => (bool[6] y) { y = Where(c, x, z) }"),
    "GlobalLpPool as powers and sums": (13, f"g ({X}) => (float[1,4,1,1] y) {{ y = GlobalLpPool<p = 3>(x) }}"),
    "ReduceLogSumExp as its parts": (18, f"g ({X}) => (float[1,6,6] y) <{AXES}> {{ y = ReduceLogSumExp<keepdims = 0>(x, a) }}"),
    "ScatterElements that adds as a product": (16, f'g ({X}, float[1,3,6,6] u) => (float[1,4,6,6] y) <int64[1,3,6,6] i = {{{SCATTER}}}> {{ y = ScatterElements<axis = 1, reduction = "add">(x, i, u) }}'),
    "ScatterND that adds as a product": (16, 'g (float[4,3,2] x, float[3,2] u) => (float[4,3,2] y) <int64[3,2] i = {1, 2, 1, 2, -1, 0}> { y = ScatterND<reduction = "add">(x, i, u) }'),
    "Einsum of many as Einsums of two": (13, 'g (float[2,3] x, float[3,4] v, float[4,5] w) => (float[5,2] y) { y = Einsum<equation = "ij,jk,kl->li">(x, v, w) }'),
    "indices of MaxPool by ArgMax": (13, "g (float[2,4,6,9] x) => (float[2,4,3,3] y, int64[2,4,3,3] i) { r = Round(x) y, i = MaxPool<kernel_shape = [2, 3], strides = [2, 3]>(r) }"),
    "outputs that nobody uses left out": (17, f"g ({X}, float[6] s) => (float[1,4,6,6] y) {{ y, m, v = LayerNormalization(x, s) }}"),
    "TopK of the smallest by negating": (13, "g (float[3,6] x) => (float[3,2] y, int64[3,2] i) <int64[1] k = {2}> { y, i = TopK<largest = 0>(x, k) }"),
    "batch first by Transpose": (14, "g (float[2,5,3] x, float[1,16,3] w, float[1,16,4] r, float[2,1,4] h, float[2,1,4] c) => (float[2,5,1,4] y, float[2,1,4] p) { y, p, q = LSTM<hidden_size = 4, layout = 1>(x, w, r, , , h, c) }"),
    "GroupNormalization as InstanceNormalization": (21, f"g ({X}, float[4] s, float[4] b) => (float[1,4,6,6] y) {{ y = GroupNormalization<num_groups = 2>(x, s, b) }}"),
    "Loop with a condition": (13, "g (float[2] x) => (float[2] y) <int64 n = {3}> { y = Loop(n, , x) <body = b (int64 i, bool c, float[2] v) => (bool d, float[2] w) { d = Identity(c) w = Add(v, v) }> }"),
    "initial states written out": (14, 'g (float[2,N,3] x, float[2,5,3] z, float[2,16,3] w, float[2,16,4] r, float[1,4,3] v, float[1,4,4] u) => (float[2,2,N,4] y, float[2,N,4] p, float[2,1,5,4] q) { y, p = LSTM<hidden_size = 4, direction = "bidirectional">(x, w, r) q = RNN<hidden_size = 4>(z, v, u) }'),
    "If of several outputs as one for each": (13, "g (bool c, float[4] x) => (float[4] y, float[4] z) { y, z = If(c) <then_branch = t () => (float[4] a, float[4] b) { b = Relu(x) a = Neg(b) }, else_branch = e () => (float[4] d, float[4] f) { k = Constant<value = float {2.0}>() h = Mul(x, k) m = Abs(h) d = Sqrt(m) f = Exp(h) }> }"),
}  # fmt: skip


def taken(model: onnx.ModelProto, target: Target) -> tuple[onnx.ModelProto, list[str]]:
    """As `jetpress engine` writes it."""
    export = ExportConfig(
        opset=target.opset, lower=target.lower, parser=target.tensorrt, int64_io=target.int64_io
    )
    graph, said = as_taken(model, (), opset_for(export, model.opset_import[0].version), DataConfig())
    proto = onnx.shape_inference.infer_shapes(ir.to_proto(graph))
    onnx.checker.check_model(proto, full_check=True)
    return proto, said


def version_of(until: tuple[int, int] | None) -> str:
    """The newest version that a rewrite is for among those that a preflight was made for."""
    known = ((10, 3), (8, 6), (8, 5), (8, 2))
    major, minor = next(one for one in known if until is None or one < until)
    return f"{major}.{minor}.1"


@pytest.mark.parametrize("rewrite", REWRITES, ids=lambda one: one.title)
def test_each_rewrite_keeps_what_is_computed(tmp_path: Path, rewrite: Any) -> None:
    opset, text = CASES[rewrite.title]
    model = read(text, opset)
    version = version_of(rewrite.until)
    proto, said = lowered(model, version)
    assert any(line.startswith(rewrite.title) for line in said), said
    feeds = inputs_of(model)
    for ours, theirs in zip(computed(proto, feeds), computed(model, feeds), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-5)
    assert not errors(tmp_path, proto, version)
    names = list(named(proto.graph))
    assert sorted(names) == sorted(set(names))


def named(graph: onnx.GraphProto) -> Iterator[str]:
    """What a graph and its branches compute or hold."""
    yield from (one.name for one in graph.initializer)
    for node in graph.node:
        yield from filter(None, node.output)
        for inner in node.attribute:
            yield from named(inner.g)


def errors(folder: Path, proto: onnx.ModelProto, version: str) -> list[str]:
    """What the importers have against a graph; opsets apart."""
    onnx.save(proto, folder / "model.onnx")
    target = replace(
        find("orin-nano" if version > "8.9" or version[0] == "1" else "xavier"), tensorrt=version
    )
    found = judge(inferred(guard.check_onnx(folder / "model.onnx")), target, trial=False)
    return [one.what for one in found.problems if one.level == "error" and one.about == "importer"]


def test_what_stands_already_is_left_alone() -> None:
    text = f"g ({X}, float[2,4,3,3] w) => (float[1,2,4,4] y) {{ y = Conv<kernel_shape = [3, 3]>(x, w) }}"
    assert lowered(read(text, 13), "8.5.2")[1] == []
    opset, text = CASES["Shape(start, end) as Shape and Slice"]
    assert lowered(read(text, opset), "10.3.0")[1] == []
    assert lower(ir.from_proto(read(text, opset)), None) == []


def test_axes_left_out_by_an_empty_name(tmp_path: Path) -> None:
    text = "g (float[4,4] x) => (float[2,4] y) <int64[2] s = {0, 0}, int64[2] e = {4, 4}, int64[2] t = {2, 1}> { y = Slice(x, s, e, , t) }"
    model = read(text, 13)
    assert errors(tmp_path, model, "8.5.2")
    proto, _ = lowered(model, "8.5.2")
    assert not errors(tmp_path, proto, "8.5.2")
    feeds = inputs_of(model)
    np.testing.assert_array_equal(computed(proto, feeds)[0], computed(model, feeds)[0])


def test_an_opset_that_rules_are_not_written_for() -> None:
    text = "g (float[1,4,6,6] x) => (float[1,4,4,4] y) { y = MaxPool<kernel_shape = [2, 2], dilations = [2, 2]>(x) }"
    assert lowered(read(text, 10), "8.5.2")[1] == []


@pytest.mark.parametrize("text", [
    f'g ({X}) => (float[1,4,5,7] y) <int64[8] p = {{0, 0, -2, 1, 0, 0, 1, 0}}> {{ y = Pad<mode = "reflect">(x, p) }}',
    "g (float[1,4,N,6] x) => (float[1,4,M,4] y) { y = MaxPool<kernel_shape = [2, 2], dilations = [2, 2]>(x) }",
    'g (float[4] x, float[1] u, int64[1,1] i) => (float[4] y) { y = ScatterND<reduction = "add">(x, i, u) }',
])  # fmt: skip
def test_what_cannot_be_written_another_way_stays_and_is_refused_by_name(tmp_path: Path, text: str) -> None:
    proto, said = lowered(read(text, 16), "8.5.2")
    assert said == []
    assert errors(tmp_path, proto, "8.5.2")


@given(st.data())
@settings(max_examples=40, deadline=None, derandomize=True)
def test_crops_and_pads_of_every_shape(data: Any) -> None:
    shape = data.draw(st.lists(st.integers(1, 6), min_size=1, max_size=4))
    pads = np.array([[data.draw(st.integers(-3, 3)) for _ in shape] for _ in range(2)])
    assume((np.array(shape) + np.minimum(pads, 0).sum(0) > 0).all())
    mode = data.draw(st.sampled_from(["constant", "edge"]))
    numbers, rank = ", ".join(map(str, pads.ravel())), len(shape)
    size = ",".join(map(str, shape))
    out = ",".join(map(str, np.array(shape) + pads.sum(0)))
    model = read(f'g (float[{size}] x) => (float[{out}] y) <int64[{2 * rank}] p = {{{numbers}}}> {{ y = Pad<mode = "{mode}">(x, p) }}', 13)  # fmt: skip
    proto, _ = lowered(model, "8.5.2")
    assert not any(
        node.op_type == "Pad" and (pads < 0).any() and (pads <= 0).all() for node in proto.graph.node
    )
    feeds = inputs_of(model)
    np.testing.assert_array_equal(computed(proto, feeds)[0], computed(model, feeds)[0])


@given(st.data())
@settings(max_examples=30, deadline=None, derandomize=True)
def test_dilated_pools_of_every_shape(data: Any) -> None:
    size, kernel, dilations, strides = (
        [data.draw(st.integers(low, high)) for _ in range(2)]
        for low, high in ((7, 12), (1, 3), (1, 3), (1, 3))
    )
    pads = [data.draw(st.integers(0, kernel[i % 2] - 1)) for i in range(4)]
    counts = [
        (size[i] + pads[i] + pads[i + 2] - dilations[i] * (kernel[i] - 1) - 1) // strides[i] + 1
        for i in range(2)
    ]
    assume(any(one != 1 for one in dilations))
    text = f"MaxPool<kernel_shape = {kernel}, dilations = {dilations}, strides = {strides}, pads = {pads}>(x)"
    model = read(f"g (float[2,3,{size[0]},{size[1]}] x) => (float[2,3,{counts[0]},{counts[1]}] y) {{ y = {text} }}", 13)  # fmt: skip
    proto, said = lowered(model, "8.5.2")
    assert said
    feeds = inputs_of(model)
    np.testing.assert_array_equal(computed(proto, feeds)[0], computed(model, feeds)[0])


@pytest.mark.parametrize(("target", "opset", "text"), [
    ("xavier", 20, 'g (float[1,4,6,6] x, float[1,3,3,2] i) => (float[1,4,3,3] y) { y = GridSample<mode = "cubic">(x, i) }'),
    ("nano", 21, "g (float[1,4,6,6] x) => (float[1,1,6,1] y) <int64[2] a = {1, 3}> { c = Cast<to = 1>(x) m = ReduceMax(c, a) y = Identity(m) }"),
    ("nano", 18, 'g (float[1,4,6,6] x) => (float[1,4,12,12] y) <float[1] two = {2.0}, float[4] k = {1.0, 1.0, 2.0, 2.0}> { s = Shape(x) f = Cast<to = 1>(s) d = Div(f, f) e = Mul(d, k) y = Resize<mode = "nearest">(x, , e) }'),
    ("xavier", 17, "g (float[1,4,6,6] x, float[6] s) => (float[1,4,6,6] y) { y = LayerNormalization(x, s) }"),
    ("xavier", 20, 'g (float[1,4,6,6] x) => (float[1,4,6,6] y) { y = Gelu<approximate = "tanh">(x) }'),
])  # fmt: skip
def test_newer_opsets_and_computed_scales(tmp_path: Path, target: str, opset: int, text: str) -> None:
    model = read(text, opset)
    proto, _ = taken(model, find(target))
    assert proto.opset_import[0].version <= find(target).newest_opset
    assert not errors(tmp_path, proto, find(target).tensorrt)
    feeds = inputs_of(model)
    np.testing.assert_allclose(computed(proto, feeds)[0], computed(model, feeds)[0], rtol=1e-5, atol=1e-6)


def test_a_foreign_file_is_mended_for_its_target(tmp_path: Path) -> None:
    """As TorchScript exports are: equal biases behind an Identity, axes behind a Cast, an If whose condition is known."""
    text = (
        "g (float[1,4,6,6] x, float[4,4,1,1] w) => (float[1,4,2,6] y) <float[4] b = {1.0, 2.0, 3.0, 4.0}, "
        "int64[1] s = {1}, int64[1] e = {3}, int32[1] i = {2}, bool t = {1}> { c = Identity(b) v = Conv(x, w, c) "
        "a = Cast<to = 7>(i) u = Slice(v, s, e, a) y = If(t) <then_branch = p () => (float[1,4,2,6] l) "
        "{ l = Relu(u) }, else_branch = q () => (float[1,4,2,6] m) { m = Neg(u) }> }"
    )
    model = read(text, 13)
    assert errors(tmp_path, model, "8.2.1")
    proto, said = taken(model, find("nano"))
    assert said == ["kernel_shape written out"]
    assert [node.op_type for node in proto.graph.node] == ["Conv", "Slice", "Relu"]
    assert not errors(tmp_path, proto, "8.2.1")
    feeds = inputs_of(model)
    np.testing.assert_allclose(computed(proto, feeds)[0], computed(model, feeds)[0], rtol=1e-6)
