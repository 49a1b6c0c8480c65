"""The rules of importers.json, one small graph each: refused where the importer's source says so, and nowhere else."""

# ruff: noqa: E501 - one graph a line
from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, parser

from jetpress.deploy.onnx_file import guard
from jetpress.deploy.preflight import importers
from jetpress.deploy.preflight.compatibility import judge
from jetpress.deploy.preflight.graph import Graph, _parse
from jetpress.deploy.preflight.importer_checks import CHECKS, TAKEN
from jetpress.deploy.targets import Target, find

VERSIONS = {
    "8.2": replace(find("nano"), tensorrt="8.2.1"),
    "8.5": replace(find("xavier"), tensorrt="8.5.2"),
    "8.6": replace(find("xavier"), tensorrt="8.6.1"),
    "10.1": replace(find("orin-nano"), tensorrt="10.1.0"),
    "10.3": find("orin-nano"),
    "10.13": find("thor"),
}
X = "float[1,8,16,16] x"
WEIGHT = "float[4,8,3,3] w = {" + ", ".join(["1.0"] * 288) + "}"
BIAS = "float[4] b = {1.0, 1.0, 1.0, 1.0}"
AXES = "int64[1] a = {1}"


def refusals(
    folder: Path, text: str, opset: int, versions: Mapping[str, Target] = VERSIONS
) -> dict[str, str]:
    """The errors about a graph, by version."""
    model = parser.parse_model(f'<ir_version: 8, opset_import: ["" : {opset}]> {text}')
    for node in model.graph.node:  # the parser of texts drops empty names at the end
        node.input[:] = ["" if name == "BLANK" else name for name in node.input]
    path = folder / "model.onnx"
    onnx.save(onnx.shape_inference.infer_shapes(model, data_prop=True), path)
    skeleton = guard.check_onnx(path)
    graph = Graph(_parse(skeleton), skeleton.path)
    found = {}
    for version, target in versions.items():
        errors = [one.what for one in judge(graph, target, trial=False).problems if one.level == "error"]
        if errors:
            found[version] = " | ".join(errors)
    return found


EIGHT, UP_TO_10_3, ALL = "8.2 8.5 8.6", "8.2 8.5 8.6 10.1 10.3", "8.2 8.5 8.6 10.1 10.3 10.13"

CASES = [
    # what is never read, or read as something else
    ("constant", 13, f"g ({X}) => (float[1,8,16,16] y) {{ c = Constant<value_int = 1>() d = Cast<to = 1>(c) y = Add(x, d) }}", EIGHT, "value_int"),
    ("shape", 15, f"g ({X}) => (int64[2] y) {{ y = Shape<start = 2>(x) }}", EIGHT, "start = 2"),
    ("shape end", 15, f"g ({X}) => (int64[2] y) {{ y = Shape<end = 2>(x) }}", EIGHT, "attribute end"),
    ("scatter", 16, f"g ({X}, float[1,8,1,16] u) => (float[1,8,16,16] y) <int64[1,8,1,16] i = {{{', '.join(['0'] * 128)}}}> {{ y = ScatterElements<axis = 2, reduction = \"mul\">(x, i, u) }}", EIGHT, "reduction = mul"),
    ("scatter_nd", 16, "g (float[4] x, float[1] u) => (float[4] y) <int64[1,1] i = {2}> { y = ScatterND<reduction = \"none\">(x, i, u) }", "10.1 10.3", "attribute reduction"),
    ("gru", 14, "g (float[2,5,3] x, float[1,12,3] w, float[1,12,4] r) => (float[2,5,1,4] y) { y = GRU<hidden_size = 4, layout = 1>(x, w, r) }", ALL, "layout = 1"),
    ("topk", 13, "g (float[1,8] x) => (float[1,2] y, int64[1,2] i) <int64[1] k = {2}> { y, i = TopK<largest = 0>(x, k) }", "8.2", "largest = 0"),
    ("noop", 13, f"g ({X}) => (float[1,8,16,16] y) {{ y = ReduceSum<noop_with_empty_axes = 1>(x) }}", EIGHT, "noop_with_empty_axes"),
    ("logsumexp", 18, f"g ({X}) => (float[1,1,16,16] y) <{AXES}> {{ y = ReduceLogSumExp(x, a) }}", ALL, "axes"),
    ("grid", 20, f"g ({X}, float[1,4,4,2] i) => (float[1,8,4,4] y) {{ y = GridSample<mode = \"linear\">(x, i) }}", ALL, "mode = linear"),
    ("lppool", 13, f"g ({X}) => (float[1,8,1,1] y) {{ y = GlobalLpPool<p = 1>(x) }}", ALL, "p = 1"),
    # what is left out and read as something else
    ("trilu", 14, f"g ({X}) => (float[1,8,16,16] y) {{ y = Trilu(x) }}", ALL, "`upper`|upper is left out"),
    ("roialign", 13, f"g ({X}, float[1,4] r, int64[1] n) => (float[1,8,4,4] y) {{ y = RoiAlign<output_height = 4, output_width = 4>(x, r, n) }}", ALL, "sampling_ratio is left out"),
    # what is asserted
    ("pad", 13, f"g ({X}) => (float[1,8,14,14] y) <int64[8] p = {{0, 0, -1, -1, 0, 0, -1, -1}}> {{ y = Pad(x, p) }}", UP_TO_10_3, "negative `pads`"),
    ("pad mode", 19, f"g ({X}) => (float[1,8,18,18] y) <int64[8] p = {{0, 0, 1, 1, 0, 0, 1, 1}}> {{ y = Pad<mode = \"wrap\">(x, p) }}", EIGHT, "mode = wrap"),
    ("dilated pool", 13, f"g ({X}) => (float[1,8,14,14] y) {{ y = MaxPool<kernel_shape = [2, 2], dilations = [2, 2]>(x) }}", ALL, "dilations"),
    ("bn", 15, "g (float[1,1,4,4] x, float[1] s) => (float[1,1,4,4] y) { y, m, v = BatchNormalization<training_mode = 1>(x, s, s, s, s) }", ALL, "training_mode = 1"),
    ("dropout", 13, f"g ({X}) => (float[1,8,16,16] y) <float r = {{0.5}}, bool t = {{1}}> {{ y = Dropout(x, r, t) }}", ALL, "training"),
    ("squeeze", 13, "g (float[N,1,4] x) => (float[N,4] y) { y = Squeeze(x) }", ALL, "no axes"),
    ("pow exponent", 13, f"g ({X}) => (float[1,8,16,16] y) <int64 e = {{2}}> {{ y = Pow(x, e) }}", UP_TO_10_3, "INT64"),
    ("pow base", 13, "g (int32[4] x) => (int32[4] y) <float e = {2.0}> { y = Pow(x, e) }", UP_TO_10_3, "INT32"),
    ("rsum", 13, f"g ({X}, int64[1] a) => (float[1,1,16,16] y) {{ y = ReduceSum(x, a) }}", ALL, "must be"),
    ("slice", 13, "g (float[4,4] x) => (float[2,4] y) <int64[1] s = {0}, int64[1] e = {2}> { y = Slice(x, s, e) }", ALL, "no axes and 1 starts"),
    ("slice axes", 13, "g (float[4,4] x) => (float[2,4] y) <int64[1] s = {0}, int64[1] e = {2}, int32[1] c = {0}> { a = Cast<to = 6>(c) y = Slice(x, s, e, a) }", "8.2 8.5 8.6 10.1", "must be an initializer"),
    ("bias", 13, f"g ({X}) => (float[1,4,14,14] y) <{WEIGHT}, {BIAS}> {{ c = Identity(b) y = Conv<kernel_shape = [3, 3]>(x, w, c) }}", "8.2", "must be an initializer"),
    ("kernel", 13, f"g ({X}) => (float[1,4,14,14] y) <{WEIGHT}, {BIAS}> {{ c = Identity(b) y = Conv(x, w, c) }}", UP_TO_10_3, "initializer"),
    ("resize", 13, "g (float[1,1,4,4,4] x) => (float[1,1,8,8,8] y) <float[5] s = {1.0, 1.0, 2.0, 2.0, 2.0}> { y = Resize<mode = \"cubic\">(x, , s) }", ALL, "cubic"),
    ("relu", 14, "g (int32[4] x) => (int32[4] y) { y = Relu(x) }", ALL, "INT32"),
    ("argmax", 13, "g (int32[4,4] x) => (int64[4,1] y) { y = ArgMax<axis = 1>(x) }", "8.2 8.5", "INT32"),
    ("matmul", 13, "g (int64[4,4] x) => (int64[4,4] y) { y = MatMul(x, x) }", ALL, "INT64"),
    ("where", 13, "g (bool[4] x) => (bool[4] y) { y = Where(x, x, x) }", "8.2", "BOOL"),
    ("uint8", 13, "g (float[4] x) => (float[4] y) { c = Cast<to = 2>(x) y = Cast<to = 1>(c) }", "8.2 8.6 10.1 10.3 10.13", "UINT8"),
    ("int16", 13, "g (float[4] x) => (float[4] y) <int16 i = {2}> { c = Cast<to = 1>(i) y = Mul(x, c) }", ALL, "INT16"),
    ("trilu4", 14, f"g ({X}) => (float[1,8,16,16] y) {{ y = Trilu<upper = 1>(x) }}", "8.2 8.5", "dimensions"),
    ("k", 13, "g (float[1,8400] x) => (float[1,3841] y, int64[1,3841] i) <int64[1] k = {3841}> { y, i = TopK(x, k) }", ALL, "3841"),
    ("einsum", 13, "g (float[2,3] x, float[3,4] v, float[4,5] w) => (float[2,5] y) { y = Einsum<equation = \"ij,jk,kl->il\">(x, v, w) }", EIGHT, "3 operands"),
    ("output shape", 13, "g (float[1,1,4,4] x, float[1,1,2,2] w) => (float[1,1,9,9] y) { y = ConvTranspose<output_shape = [9, 9]>(x, w) }", ALL, "output_shape"),
    ("cumsum", 14, "g (float[4] x, int32 a) => (float[4] y) { y = CumSum(x, a) }", ALL, "`axis`"),
    ("range", 13, "g (float s, float e) => (float[N] y) <float d = {1.0}> { y = Range(s, e, d) }", "8.2", "FLOAT"),
    ("half pixel", 13, 'g (float[1,1,4,4] x) => (float[1,1,8,8] y) <int64[4] s = {1, 1, 8, 8}> { y = Resize<mode = "nearest", coordinate_transformation_mode = "tf_half_pixel_for_nn">(x, , , s) }', "8.5 8.6 10.1 10.3 10.13", "sizes"),
    ("activations", 14, 'g (float[2,5,3] x, float[1,4,3] w, float[1,4,4] r) => (float[2,1,5,4] y) { y = RNN<hidden_size = 4, activations = ["Affine"]>(x, w, r) }', ALL, "Affine"),
    ("pool's places", 13, f"g ({X}) => (float[1,8,15,15] y) {{ y, i = MaxPool<kernel_shape = [2, 2]>(x) }}", ALL, "2 outputs"),
    ("cast uint8", 13, "g (uint8[4] x) => (int32[4] y) { y = Cast<to = 6>(x) }", "8.2 8.5", "UINT8"),
    ("axis", 13, "g (float[2,3] x) => (float[2,3] y) <float[3] s = {0.1, 0.2, 0.3}, int8[3] z = {0, 0, 0}> { q = QuantizeLinear(x, s, z) y = DequantizeLinear(q, s, z) }", ALL, "axis is left out"),
    ("3d pads", 13, "g (float[1,1,3,3,3] x) => (float[1,1,3,3,3] y) <float[1,1,2,2,2] w = {1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0}> { y = ConvTranspose<pads = [0, 0, 0, 1, 1, 1]>(x, w) }", "8.2", "differently"),
    ("1d padding", 13, "g (float[1,1,4] x) => (float[1,1,10] y) <float[1,1,3] w = {1.0, 1.0, 1.0}> { y = ConvTranspose<strides = [2], output_padding = [1]>(x, w) }", "8.2", "output_padding"),
    ("gru", 14, "g (float16[2,5,3] x, float16[1,12,3] w, float16[1,12,4] r, float16[1,5,4] h) => (float16[2,1,5,4] y) { y = GRU<hidden_size = 4>(x, w, r, , , h) }", "10.1 10.3", "is FLOAT16"),
    ("state", 14, "g (float16[2,5,3] x, float16[1,16,3] w, float16[1,16,4] r, float16[1,5,4] h) => (float16[2,1,5,4] y) { y = LSTM<hidden_size = 4>(x, w, r, , , h) }", "10.1 10.3 10.13", "input 6 is left out"),
    ("no name", 17, f"g ({X}, float[16] s) => (float[1,8,16,16] y) {{ y, m = LayerNormalization(x, s) }}", ALL, "2 outputs"),
    # an input that is left out by an empty name, where the importer counts inputs
    ("blank bias", 13, f"g ({X}) => (float[1,4,14,14] y) <{WEIGHT}> {{ y = Conv<kernel_shape = [3, 3]>(x, w, BLANK) }}", "8.2", "empty name"),
    ("blank bias, no kernel", 13, f"g ({X}) => (float[1,4,14,14] y) <{WEIGHT}> {{ y = Conv(x, w, BLANK) }}", UP_TO_10_3, "empty name|no kernel_shape"),
    ("blank addend", 13, "g (float[2,3] x, float[3,4] w) => (float[2,4] y) { y = Gemm(x, w, BLANK) }", ALL, "empty name"),
    ("blank axes", 13, "g (float[4,4] x) => (float[2,4] y) <int64[2] s = {0, 0}, int64[2] e = {4, 4}, int64[2] t = {2, 1}> { y = Slice(x, s, e, , t) }", UP_TO_10_3, "empty name"),
    ("blank steps", 13, "g (float[4,4] x) => (float[2,4] y) <int64[1] s = {0}, int64[1] e = {2}, int64[1] a = {0}> { y = Slice(x, s, e, a, BLANK) }", ALL, "empty name"),
    ("blank parts", 13, "g (float[4] x) => (float[2] y, float[2] z) { y, z = Split(x, BLANK) }", ALL, "empty name"),
    ("blank offset", 14, "g (float[4,4] x) => (float[4,4] y) { y = Trilu<upper = 0>(x, BLANK) }", ALL, "empty name"),
    # what is padded, scaled and broadcast as nobody asked
    ("valid", 13, f'g ({X}) => (float[1,8,14,14] y) {{ y = MaxPool<kernel_shape = [3, 3], auto_pad = "VALID", pads = [1, 1, 1, 1]>(x) }}', ALL, "auto_pad = VALID"),
    ("uneven pool", 13, f"g ({X}) => (float[1,8,16,16] y) {{ y = AveragePool<kernel_shape = [3, 3], pads = [0, 0, 2, 2]>(x) }}", "8.2", "pads [0, 0] before"),
    ("even pool", 13, f"g ({X}) => (float[1,8,15,15] y) {{ y = AveragePool<kernel_shape = [3, 3], pads = [0, 0, 1, 1]>(x) }}", "", ""),
    ("old broadcast", 6, "g (float[1,8,4,4] x, float[8] b) => (float[1,8,4,4] y) { y = Add<axis = 1, broadcast = 1>(x, b) }", ALL, "as opset 6 does"),
    ("old gemm", 6, "g (float[2,3] x, float[3,4] w, float[4] b) => (float[2,4] y) { y = Gemm<broadcast = 1>(x, w, b) }", ALL, "as opset 6 does"),
    ("old dropout", 6, "g (float[4] x) => (float[4] y) { y = Dropout<is_test = 0>(x) }", ALL, "is_test = 0"),
    ("old bn", 6, "g (float[1,1,4,4] x, float[1] s) => (float[1,1,4,4] y) { y = BatchNormalization(x, s, s, s, s) }", ALL, "is_test is left out"),
    ("alphas", 14, 'g (float[2,5,3] x, float[1,12,3] w, float[1,12,4] r) => (float[2,1,5,4] y) { y = GRU<hidden_size = 4, activations = ["Sigmoid", "LeakyRelu"], activation_alpha = [0.1]>(x, w, r) }', ALL, "1 numbers for Sigmoid, LeakyRelu"),
    ("both alphas", 14, 'g (float[2,5,3] x, float[2,4,3] w, float[2,4,4] r) => (float[2,2,5,4] y) { y = RNN<hidden_size = 4, direction = "bidirectional", activations = ["LeakyRelu", "LeakyRelu"], activation_alpha = [0.1, 0.2]>(x, w, r) }', ALL, "different activation_alpha"),
    ("erf", 13, "g (int32[4] x) => (int32[4] y) { y = Erf(x) }", ALL, "INT32"),
    ("boxes behind a Cast", 13, "g (float[1,10,4] b, float[1,2,10] s) => (int64[N,3] y) <int32[1] c = {3}> { m = Cast<to = 7>(c) y = NonMaxSuppression(b, s, m) }", "8.2", "must be an initializer"),
    ("boxes left out", 13, "g (float[1,10,4] b, float[1,2,10] s) => (int64[N,3] y) <int64[1] m = {3}> { y = NonMaxSuppression(b, s, m, BLANK) }", "8.2", "empty name"),
    ("half clip", 13, "g (float16[4] x) => (float16[4] y) <float16 m = {17920}> { y = Clip(x, , m) }", "8.2", "FLOAT16"),
    # what is taken
    ("turned weight", 13, "g (float[1,8,4,4] x) => (float[1,4,4,4] y) <float[1,1,8,4] v = {" + ", ".join(["1.0"] * 32) + "}> { w = Transpose<perm = [3, 2, 0, 1]>(v) y = Conv(x, w) }", "8.5 8.6 10.1 10.3", "no kernel_shape"),
    ("aligned alphas", 14, 'g (float[2,5,3] x, float[1,12,3] w, float[1,12,4] r) => (float[2,1,5,4] y) { y = GRU<hidden_size = 4, activations = ["LeakyRelu", "Tanh"], activation_alpha = [0.1]>(x, w, r) }', "", ""),
    ("trilu upper", 14, "g (float[4,4] x) => (float[4,4] y) { y = Trilu<upper = 0>(x) }", "8.2", ""),
    ("largest k", 13, "g (float[1,8400] x) => (float[1,3840] y, int64[1,3840] i) <int64[1] k = {3840}> { y, i = TopK(x, k) }", "", ""),
    ("kernel written", 13, f"g ({X}) => (float[1,4,14,14] y) <{WEIGHT}> {{ v = Identity(w) y = Conv<kernel_shape = [3, 3]>(x, v) }}", "", ""),
    ("allowzero", 14, f"g ({X}) => (float[8,256] y) <int64[2] s = {{8, 256}}> {{ y = Reshape<allowzero = 1>(x, s) }}", "", ""),
    ("even split", 18, f"g ({X}) => (float[1,4,16,16] y, float[1,4,16,16] z) {{ y, z = Split<axis = 1, num_outputs = 2>(x) }}", "", ""),
    ("uneven split", 18, "g (float[7] x) => (float[4] y, float[3] z) { y, z = Split<axis = 0, num_outputs = 2>(x) }", EIGHT, "num_outputs"),
    ("reciprocal", 13, f"g ({X}) => (float[1,8,16,16] y) {{ y = Reciprocal(x) }}", "", ""),
    ("states", 14, "g (float16[2,5,3] x, float16[1,16,3] w, float16[1,16,4] r, float16[1,5,4] h) => (float16[2,1,5,4] y) { y = LSTM<hidden_size = 4>(x, w, r, , , h, h) }", "", ""),
    ("unsorted", 13, "g (float[1,8] x) => (float[1,2] y, int64[1,2] i) <int64[1] k = {2}> { y, i = TopK<sorted = 0>(x, k) }", "", ""),
]  # fmt: skip


@pytest.mark.parametrize(
    ("opset", "text", "refused", "says"), [case[1:] for case in CASES], ids=[case[0] for case in CASES]
)
def test_each_rule(tmp_path: Path, opset: int, text: str, refused: str, says: str) -> None:
    found = refusals(tmp_path, text, opset)
    assert " ".join(found) == refused, found
    assert not any(
        "no changelog since" in found[version]
        for version in ("8.2", "8.5", "8.6", "10.1")
        if version in found
    )
    for version in refused.split() if says else ():
        if "TensorRT 8." not in found[version]:  # the operator is not there at all
            assert any(one in found[version] for one in says.split("|")), found


def test_if_needs_branches_of_one_shape(tmp_path: Path) -> None:
    def branch(name: str, shape: list[int]) -> onnx.GraphProto:
        value = helper.make_tensor_value_info(name, 1, shape)
        made = helper.make_node(
            "Constant", [], [name], value=onnx.numpy_helper.from_array(np.zeros(shape, np.float32))
        )
        return helper.make_graph([made], name, [], [value])

    def model(shape: list[int]) -> onnx.ModelProto:
        made = helper.make_node(
            "If", ["c"], ["y"], then_branch=branch("t", [8, 4]), else_branch=branch("e", shape)
        )
        ends = [helper.make_tensor_value_info("c", 9, [])], [helper.make_tensor_value_info("y", 1, None)]
        return helper.make_model(
            helper.make_graph([made], "g", *ends), opset_imports=[helper.make_opsetid("", 13)], ir_version=8
        )

    for shape, wrong in (([8, 4], False), ([1, 8, 4], True), ([8, 5], True)):
        path = tmp_path / "model.onnx"
        onnx.save(model(shape), path)
        skeleton = guard.check_onnx(path)
        found = judge(Graph(_parse(skeleton), path), find("xavier"), trial=False)
        assert any("branches give" in one.what for one in found.problems) == wrong


def test_branches_of_8_5_give_their_outputs_in_the_order_of_their_layers(tmp_path: Path) -> None:
    body = "() => (float[4] {0}, float[4] {1}) {{ {2} = Relu(x) {3} = Neg(x) }}"
    hashed = {"8.6": "give 2 outputs, which are paired in no fixed order"}
    for order, refused in (("abab", hashed), ("abba", {"8.5": "in another order", **hashed})):
        then, other = (body.format(*(letter + tag for letter in order)) for tag in "te")
        text = f"g (bool c, float[4] x) => (float[4] y, float[4] z) {{ y, z = If(c) <then_branch = t {then}, else_branch = e {other}> }}"
        found = refusals(tmp_path, text, 13)
        assert set(found) == set(refused)
        assert all(refused[version] in said for version, said in found.items())
    read = "() => (float[4] {0}a, float[4] {0}b) {{ {0}a = Relu(x) {0}b = Neg({0}a) }}"
    text = f"g (bool c, float[4] x) => (float[4] y, float[4] z) {{ y, z = If(c) <then_branch = t {read.format('t')}, else_branch = e {read.format('e')}> }}"
    assert list(refusals(tmp_path, text, 13)) == [
        "8.5",
        "8.6",
    ]  # what a branch reads itself is no output to them
    same = "() => (float[4] b) { b = Relu(x) }"
    text = f"g (bool c, float[4] x) => (float[4] y) {{ y = If(c) <then_branch = t {same}, else_branch = e {same}> }}"
    assert list(refusals(tmp_path, text, 13)) == ["8.2"]


@pytest.mark.parametrize(("opset", "text"), [
    (13, "g (bool c, float[4] x) => (float[4] y) { y = If(c) <then_branch = t () => (float[4] b) { b = Relu(x) }, else_branch = e () => (float[4] b) { b = Neg(x) }> }"),
    (13, "g (float s, float e) => (float[N] y) <float d = {1.0}> { y = Range(s, e, d) }"),
    (13, "g (float[1,1,3,3,3] x) => (float[1,1,3,3,3] y) <float[1,1,2,2,2] w = {1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0}> { y = ConvTranspose<pads = [0, 0, 0, 1, 1, 1]>(x, w) }"),
])  # fmt: skip
def test_8_4_takes_what_8_2_refuses(tmp_path: Path, opset: int, text: str) -> None:
    assert list(refusals(tmp_path, text, opset, {"8.2": find("nano"), "8.4": find("xavier-jp50")})) == ["8.2"]


def test_what_is_said_of_versions_whose_importers_were_not_read(tmp_path: Path) -> None:
    found = refusals(tmp_path, "g (float[N,1,4] x) => (float[N,4] y) { y = Squeeze(x) }", 13)
    assert "of 10.1)" in found["10.1"]
    assert "of 10.10, and no changelog since says otherwise)" in found["10.13"]


def test_every_check_is_named_and_every_place_is_a_line() -> None:
    facts = json.loads((Path(importers.__file__).parent / "importers.json").read_text())
    assert {rule["check"] for rule in facts["rules"]} == set(CHECKS)
    assert {rule["check"] for rule in facts["taken"]} == set(TAKEN)
    for rule in [*facts["rules"], *facts["taken"]]:
        assert set(rule["places"]) <= set(importers.READ)
        assert rule.get("how", "refused") in importers.WORDS
        assert ("until" in rule) == ("changelog" in rule)
    assert all(rule["remedy"] for rule in facts["rules"])
