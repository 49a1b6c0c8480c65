from __future__ import annotations

import json
import re
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, defs, helper

from jetpress.deploy.errors import JetpressError, RecipeError
from jetpress.deploy.onnx_file import guard
from jetpress.deploy.preflight import dla, graph, operators, restrictions, sparse, trial
from jetpress.deploy.preflight.compatibility import preflight, report_lines
from jetpress.deploy.preflight.dla import Share
from jetpress.deploy.preflight.verdict import Verdict, explain
from jetpress.deploy.targets import TARGETS, find
from jetpress.pipeline.graph.primitives import EXPANSIONS
from studies.hard_graphs import SAMPLE, Hard, hard_graphs, node, small

FLOAT, INT8, INT32, INT64, UINT8 = (
    1,
    TensorProto.INT8,
    TensorProto.INT32,
    TensorProto.INT64,
    TensorProto.UINT8,
)
SAME = ("y", FLOAT, [1, 4, 8, 8])
KERNEL = np.ones((4, 4, 3, 3), np.float32)
HARD = {case.name: case for case in hard_graphs()}


def verdict(
    folder: Path, *given: Any, target: str = "xavier", trial: bool | None = False, **more: Any
) -> Verdict:
    path = folder / "model.onnx"
    small(*given, **more)(path)
    return preflight(path, find(target), trial=trial)


def said(found: Verdict, level: str = "error") -> str:
    return " | ".join(f"{one.op}: {one.what}" for one in found.problems if one.level == level)


def conv(weight: str = "w", bias: str = "b") -> onnx.NodeProto:
    return node("Conv", ["x", weight, bias], ["y"], kernel_shape=[3, 3], pads=[1, 1, 1, 1])


# -- the ten known-hard graphs -------------------------------------------------------------------------------

# What is refused where; elsewhere the graph passes.
REFUSED = {
    "LayerNormalization (opset 17)": {"nano": "8.6 is the first", "xavier": "8.6 is the first"},
    "GridSample (16)": {"nano": "8.5 is the first"},
    "NonZero": {"nano": "8.5 is the first"},
    "HardSwish (14)": {"nano": "8.4 is the first"},
    "Slice, axes at run time": {"nano": "`axes` is computed", "xavier": "`axes` is computed"},
    "MaxPool over 4 dimensions": dict.fromkeys(("nano", "xavier", "orin-nano", "thor"), "4 spatial"),
    "Einsum with an ellipsis": {"nano": "ellipsis", "xavier": "ellipsis"},
    "Einsum in capital letters": dict.fromkeys(("nano", "xavier", "orin-nano", "thor"), "capital"),
    "Resize cubic": {"nano": "mode = cubic"},
    "Resize linear, antialias (18)": dict.fromkeys(("orin-nano", "thor"), "antialias"),
}


@pytest.mark.parametrize("case", [case for case in HARD.values() if case.try_it], ids=lambda case: case.name)
def test_hard_graphs(tmp_path: Path, case: Hard) -> None:
    case.write(tmp_path / "model.onnx")
    for target in ("nano", "xavier", "orin-nano", "thor"):
        found = preflight(tmp_path / "model.onnx", find(target), trial=False)
        expected = REFUSED.get(case.name, {}).get(target)
        assert found.ok == (expected is None), (target, said(found))
        assert expected is None or expected in said(found)
        assert all(one.remedy for one in found.problems if one.level == "error")


def test_more_than_two_gibibytes_in_a_file_beside(tmp_path: Path) -> None:
    HARD["MatMul of 2.5 GiB, external data"].write(tmp_path / "model.onnx")
    small_board, large_board = (preflight(tmp_path / "model.onnx", find(name)) for name in ("nano", "xavier"))
    assert small_board.ok
    assert "4.0 GiB" in said(small_board, "warning")
    assert not said(large_board, "warning")
    assert large_board.memory.weights == 32768 * 20480 * 4


# -- tables --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "table", "derived"),
    [
        ("8.0.1", "8.0", False),
        ("8.2.1", "8.2", False),
        ("8.5.2", "8.5", False),
        ("10.3.0", "10.3", True),
        ("10.7.0", "10.3", True),
        ("10.13.3", "10.13", True),
        ("10.16.2", "10.16", False),
        ("11.4.1", "11.1", False),
    ],
)
def test_the_nearest_older_table_is_taken(asked: str, table: str, derived: bool) -> None:
    found = operators.table(asked)
    assert (found.name, found.derived) == (table, derived)


def test_an_older_tensorrt_than_any_known() -> None:
    with pytest.raises(RecipeError, match=r"7\.1"):
        operators.table("7.1.3")


def test_every_target_has_a_table_that_reads_its_opset() -> None:
    for target in TARGETS.values():
        if target.backend == "tensorrt":
            table = operators.table(target.tensorrt)
            assert target.opset <= target.newest_opset == table.opsets[1]
            there = {op for op in EXPANSIONS if defs.has(op, target.opset)}
            assert not there - set(table.rows) - set(target.lower)


def every_restriction() -> list[tuple[str, str, str]]:
    facts = json.loads((Path(operators.__file__).parent / "operators.json").read_text())
    assert list(facts["sources"])[-1] == operators.NEWEST
    return [
        (op, version, row[1])
        for op, history in facts["operators"].items()
        for version, row in history.items()
        if row and len(row) > 1
    ]


def test_every_sentence_of_the_tables_is_understood() -> None:
    patterns = [*(pattern for pattern, _ in restrictions.RULES), *restrictions.ELSEWHERE]
    unused = set(patterns)
    for op, version, text in every_restriction():
        rest = text
        for pattern in patterns:
            if re.search(pattern, rest):
                unused.discard(pattern)
                rest = re.sub(pattern, "", rest)
        assert not re.sub(r"[\s.;,]|\band\b", "", rest), f"{op} {version}: nothing looks at {rest!r}"
    assert not unused


# -- conditions ----------------------------------------------------------------------------------------------


def test_what_an_identity_hands_on_is_a_tensor_to_the_parser(tmp_path: Path) -> None:
    same = node("Identity", ["a"], ["c"])
    ends = [SAMPLE], [("y", FLOAT, [1, 1, 4, 8, 8])], {"a": np.array([1])}
    given = ([same, node("Unsqueeze", ["x", "c"], ["y"])], *ends)
    assert "must be an initializer" in said(verdict(tmp_path, *given, opset=13))
    assert verdict(tmp_path, *given, opset=13, target="thor").ok  # 10.7 resolves it


@pytest.mark.parametrize(
    ("made", "constants", "target", "expected"),
    [
        (node("MaxPool", ["x"], ["y"], kernel_shape=[2, 2], dilations=[2, 2]), {}, "thor", "dilations"),
        (node("TopK", ["x", "k"], ["y", "i"]), {"k": np.array([3841])}, "thor", "up to 3840"),
        (node("Gather", ["x", "i"], ["y"]), {"i": np.array([-1])}, "8.0", "negative indices"),
        (
            node("Pad", ["x", "p"], ["y"], mode="reflect"),
            {"p": np.array([0, 0, 1, 1] * 2)},
            "8.0",
            "than zeros",
        ),
        (node("Pad", ["x", "p"], ["y"]), {"p": np.array([0, 1, 1, 1] * 2)}, "8.0", "more than two"),
        (
            node("GridSample", ["x", "g"], ["y"]),
            {"g": np.zeros((1, 4, 8, 8, 3), np.float32)},
            "thor",
            "has 5 dimensions",
        ),
        (node("ReverseSequence", ["x", "n"], ["y"]), {"n": np.array([1])}, "xavier", "open dimensions"),
    ],
)
def test_conditions(
    tmp_path: Path, made: onnx.NodeProto, constants: dict[str, Any], target: str, expected: str
) -> None:
    x: list[Any] = [1, 4, 8, 8]
    if made.op_type == "GridSample":
        x = [1, 4, 8, 8, 8]
    if made.op_type == "ReverseSequence":
        x = ["n", 1]
    proto = helper.make_model(
        helper.make_graph(
            [made],
            "g",
            [helper.make_tensor_value_info("x", FLOAT, x)],
            [helper.make_tensor_value_info("y", FLOAT, None)],
            [onnx.numpy_helper.from_array(value, name) for name, value in constants.items()],
        ),
        opset_imports=[helper.make_opsetid("", 13 if target == "8.0" else 17)],
        ir_version=8,
    )
    path = tmp_path / "model.onnx"
    path.write_bytes(proto.SerializeToString())
    board = replace(find("nano"), tensorrt="8.0.1") if target == "8.0" else find(target)
    assert expected in said(preflight(path, board))


def test_types(tmp_path: Path) -> None:
    # ONNX allows it; the tables of TensorRT do not list it.
    made = node("Softmax", ["x"], ["y"])
    double = [("x", TensorProto.DOUBLE, [1, 4])], [("y", TensorProto.DOUBLE, [1, 4])]
    assert "DOUBLE" in said(verdict(tmp_path, [made], *double), "warning")
    brain = [("x", TensorProto.BFLOAT16, [1, 4])], [("y", TensorProto.BFLOAT16, [1, 4])]
    assert "BFLOAT16" in said(verdict(tmp_path, [made], *brain))
    assert verdict(tmp_path, [made], *brain, target="thor").ok
    frames = [("x", UINT8, [1, 8, 8, 3])], [("y", FLOAT, [1, 8, 8, 3])]
    cast = node("Cast", ["x"], ["y"], to=FLOAT)
    assert not verdict(tmp_path, [cast], *frames, target="nano", opset=13).ok
    assert verdict(tmp_path, [cast], *frames, target="orin-nano").ok


def test_int64_at_the_border_of_tensorrt_8(tmp_path: Path) -> None:
    made = node("Add", ["x", "c"], ["y"])
    ends = [("x", INT64, [2])], [("y", INT64, [2])], {"c": np.array([2**40, 1])}
    found = verdict(tmp_path, [made], *ends)
    assert found.ok
    assert "input x: it is INT64" in said(found, "warning")
    assert "output y: it is INT64" in said(found, "warning")
    assert "clamps" in said(found, "warning")
    assert not said(verdict(tmp_path, [made], *ends, target="orin-nano"), "warning")


def test_rank_nine(tmp_path: Path) -> None:
    made = node("Unsqueeze", ["x", "a"], ["y"])
    ends = [SAMPLE], [("y", FLOAT, [1] * 5 + [1, 4, 8, 8])], {"a": np.arange(5)}
    assert "9 dimensions" in said(verdict(tmp_path, [made], *ends))


def test_open_shapes_need_a_profile(tmp_path: Path) -> None:
    found = verdict(
        tmp_path, [node("Relu", ["x"], ["y"])], [("x", FLOAT, ["n", 4])], [("y", FLOAT, ["n", 4])]
    )
    assert found.ok
    assert "profile" in said(found, "note")


# -- opset ---------------------------------------------------------------------------------------------------


def test_a_newer_opset_matters_where_a_node_uses_it(tmp_path: Path) -> None:
    mean = node("ReduceMean", ["x", "a"], ["y"])
    ends = [SAMPLE], [("y", FLOAT, [1, 1, 8, 8])], {"a": np.array([1])}
    found = verdict(tmp_path, [mean], *ends, opset=18)
    assert "came with opset 18" in said(found)
    assert found.problems[0].remedy.startswith("export at opset 17")
    assert found.nodes["restricted"] == 1
    assert verdict(tmp_path, [mean], *ends, opset=18, target="orin-nano").ok
    found = verdict(tmp_path, [node("Relu", ["x"], ["y"])], [SAMPLE], [SAME], opset=18)
    assert found.ok
    assert "no node uses what came later" in said(found, "warning")


# -- quantization --------------------------------------------------------------------------------------------


def quantized(
    weight: Any = None, zero: Any = None, bias: str = "b", scale: float = 0.1, stored: bool = False
) -> tuple[list[onnx.NodeProto], list[Any], list[Any], dict[str, Any]]:
    """A convolution whose weight comes through Q and DQ, or through DQ alone (``stored``)."""
    zero = np.zeros((), np.int8) if zero is None else zero
    constants = {"w": KERNEL.astype(np.int8) if stored else KERNEL, "s": np.float32(scale), "z": zero}
    nodes = [] if stored else [node("QuantizeLinear", ["w", "s", "z"], ["q"])]
    nodes += [node("DequantizeLinear", ["w" if stored else "q", "s", "z"], ["d"])]
    if bias == "dequantized":
        constants |= {"c": np.ones(4, np.int32), "i": np.int32(0)}
        nodes.append(
            helper.make_node("DequantizeLinear", ["c", "s", "i"], ["b"], name="net.bias/DequantizeLinear")
        )
    elif bias == "identity":
        constants["c"] = np.ones(4, np.float32)
        nodes.append(node("Identity", ["c"], ["b"]))
    else:
        constants["b"] = np.ones(4, np.float32)
    return [*nodes, conv("d")], [SAMPLE], [SAME], constants


def test_symmetric_pairs_pass_everywhere(tmp_path: Path) -> None:
    for target in ("nano", "xavier", "orin-nano", "thor"):
        found = verdict(tmp_path, *quantized(), opset=13, target=target)
        assert found.ok, said(found)


@pytest.mark.parametrize(
    ("how", "target", "expected"),
    [
        ({"zero": np.zeros((), np.uint8)}, "thor", "uint8"),
        ({"zero": np.zeros((), np.uint8)}, "nano", "uint8"),
        ({"zero": np.int8(3)}, "xavier", "zero point is not 0"),
        ({"scale": 0.0}, "orin-nano", "not positive"),
        ({"stored": True}, "xavier", "stored as INT8"),
        ({"bias": "dequantized"}, "orin-nano", "INT32 bias"),
        ({"bias": "identity"}, "nano", "bias is not an initializer"),
    ],
)
def test_pairs_that_tensorrt_refuses_or_misreads(
    tmp_path: Path, how: dict[str, Any], target: str, expected: str
) -> None:
    assert expected in said(verdict(tmp_path, *quantized(**how), opset=13, target=target))


def test_what_only_old_versions_refuse(tmp_path: Path) -> None:
    assert verdict(tmp_path, *quantized(stored=True), opset=13, target="orin-nano").ok
    assert verdict(tmp_path, *quantized(bias="identity"), opset=13, target="xavier").ok


def test_a_zero_point_left_out_means_uint8(tmp_path: Path) -> None:
    nodes = [node("QuantizeLinear", ["x", "s"], ["q"]), node("DequantizeLinear", ["q", "s"], ["y"])]
    found = verdict(tmp_path, nodes, [SAMPLE], [SAME], {"s": np.float32(0.1)}, opset=13, target="orin-nano")
    assert "left out" in said(found)


# -- operators that are not ONNX's ---------------------------------------------------------------------------


def custom(domain: str, op: str) -> onnx.ModelProto:
    made = helper.make_node(op, ["x"], ["y"], domain=domain, name="net.head/op")
    x, y = (helper.make_tensor_value_info(name, FLOAT, [1, 4]) for name in "xy")
    imports = [helper.make_opsetid("", 13), helper.make_opsetid(domain, 1)]
    return helper.make_model(helper.make_graph([made], "g", [x], [y]), opset_imports=imports, ir_version=7)


def test_plugins_and_functions(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(custom("com.acme", "Warp").SerializeToString())
    found = preflight(path, find("xavier"))
    assert "needs a plugin 'Warp'" in said(found)
    assert found.nodes["not supported"] == 1
    path.write_bytes(custom("TRT", "EfficientNMS_TRT").SerializeToString())
    assert preflight(path, find("xavier")).ok
    proto = custom("local", "f")
    inner = [helper.make_node("Bernoulli", ["a"], ["b"], name="Bernoulli")]
    proto.functions.append(
        helper.make_function("local", "f", ["a"], ["b"], inner, [helper.make_opsetid("", 15)])
    )
    path.write_bytes(proto.SerializeToString())
    assert "function of the model" in said(preflight(path, find("xavier")))
    inside = preflight(path, find("orin-nano"))  # what the function holds is looked at, too
    assert "Bernoulli" in said(inside)
    assert "function" not in said(inside)


def test_a_graph_that_is_wrong(tmp_path: Path) -> None:
    proto = custom("", "Relu")
    proto.graph.node[0].input[0] = "nowhere"
    proto.graph.initializer.extend([helper.make_tensor("w", FLOAT, [1], [v]) for v in (1.0, 2.0)])
    path = tmp_path / "model.onnx"
    path.write_bytes(proto.SerializeToString())
    found = said(preflight(path, find("thor")))
    assert "computed nowhere" in found
    assert "two values are called 'w'" in found


# -- sparsity, DLA, memory, precision ------------------------------------------------------------------------


def test_2_4_by_tensorrts_rule(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    dense, odd = rng.normal(size=(8, 64, 3, 3)), rng.normal(size=(8, 6, 1, 1))
    fitting = dense.copy()
    fitting[:, np.arange(64) % 4 < 2] = 0
    assert sparse.is_2_4(fitting, 1)
    assert not sparse.is_2_4(dense, 1)
    assert not sparse.is_2_4(np.zeros((4, 8)), 1)
    flat = rng.normal(size=(8, 64, 2, 2))
    flat[:, :, 0] = 0  # 2 of 4 along C*R*S, and none along C
    assert not sparse.is_2_4(flat, 1)
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["m"], name="net.conv/Conv"),
        helper.make_node("Transpose", ["f"], ["t"], name="net.fc/Transpose", perm=[1, 0]),
        helper.make_node("MatMul", ["n", "t"], ["y"], name="net.fc/MatMul"),
        helper.make_node("Conv", ["o", "odd"], ["p"], name="net.odd/Conv"),
    ]
    constants = {"w": fitting, "f": np.tile([[1, 0, 0, 1]], (8, 4)), "odd": odd}
    given = {name: array.astype(np.float32) for name, array in constants.items()}
    inputs = [("x", FLOAT, [1, 64, 8, 8]), ("n", FLOAT, [1, 16]), ("o", FLOAT, [1, 6, 1, 1])]
    outputs = [("m", FLOAT, [1, 8, 6, 6]), ("y", FLOAT, [1, 8]), ("p", FLOAT, [1, 8, 1, 1])]
    on_orin = verdict(tmp_path, nodes, inputs, outputs, given, opset=13, target="orin-nano")
    assert on_orin.sparsity == sparse.Layers(layers=3, could_be=2, are=2, can_pay=1, why_not="")
    on_xavier = verdict(tmp_path, nodes, inputs, outputs, given, opset=13)
    assert on_xavier.sparsity.can_pay == 0
    assert "cannot pay on this target" in said(on_xavier, "warning")


@given(st.integers(0, 2**32 - 1), st.integers(1, 5), st.integers(1, 4))
@settings(max_examples=30, deadline=None, derandomize=True)
def test_2_4_is_found_as_it_is_defined(seed: int, outputs: int, groups: int) -> None:
    rng = np.random.default_rng(seed)
    weight = rng.normal(size=(outputs, 4 * groups, 2, 2)) * (rng.random((outputs, 4 * groups, 2, 2)) < 0.45)
    lanes = weight.transpose(0, 2, 3, 1).reshape(-1, 4)
    expected = bool(weight.any()) and all(np.count_nonzero(lane) <= 2 for lane in lanes)
    assert sparse.is_2_4(weight, 1) == expected


def test_dla(tmp_path: Path) -> None:
    nodes = [conv(), helper.make_node("Softmax", ["y"], ["z"], axis=1, name="net.head/Softmax")]
    constants = {"w": KERNEL, "b": np.zeros(4, np.float32)}
    given = (nodes, [SAMPLE], [("z", FLOAT, [1, 4, 8, 8])], constants)
    on_xavier, on_orin = (verdict(tmp_path, *given, opset=13, target=name) for name in ("xavier", "agx-orin"))
    assert on_xavier.dla == Share(nodes=2, on_dla=1, pieces=1, fallback={"Softmax": 1})
    assert on_orin.dla == Share(nodes=2, on_dla=2, pieces=1, fallback={})
    assert verdict(tmp_path, *given, opset=13, target="nano").dla is None


def test_a_dla_has_limits(tmp_path: Path) -> None:
    """NVIDIA's page: batch 4096, 8192 in each other dimension, four dimensions."""
    on_dla = []
    for shape in ([4096, 1, 1, 8192], [4097, 1, 1, 1], [1, 8193, 1, 1], [1, 2, 3]):
        given = ([helper.make_node("Relu", ["x"], ["y"])], [("x", FLOAT, shape)], [("y", FLOAT, shape)])
        share = verdict(tmp_path, *given, opset=13, target="xavier").dla
        assert share is not None
        on_dla.append(share.on_dla)
    assert on_dla == [1, 0, 0, 0]


def test_a_dla_holds_sixteen_loadables(tmp_path: Path) -> None:
    ops = ["Relu", "Erf"] * 19 + ["Relu", "Relu"]  # twenty stretches, the last of two nodes
    nodes = [helper.make_node(op, [f"v{at}"], [f"v{at + 1}"]) for at, op in enumerate(ops)]
    ends = [[(name, FLOAT, [1, 2, 3, 4])] for name in ("v0", "v40")]
    share = verdict(tmp_path, nodes, *ends, opset=13, target="xavier").dla
    assert share == Share(nodes=40, on_dla=17, pieces=16, fallback={"Erf": 19, "Relu": 4})


def test_operators_of_a_dla_by_version() -> None:
    assert "Softmax" not in dla.taken_by("8.2.1", (7, 2)) | dla.taken_by("10.3.0", (7, 2))
    assert {"Softmax", "Equal"} <= dla.taken_by("10.3.0", (8, 7))
    assert "Equal" not in dla.taken_by("11.4.1", (8, 7))  # in INT8 alone


def test_precision(tmp_path: Path) -> None:
    small([node("Relu", ["x"], ["y"])], [SAMPLE], [SAME], opset=13)(tmp_path / "model.onnx")
    found = preflight(tmp_path / "model.onnx", find("nano"), precision="int8")
    assert "does not compute in int8" in said(found)
    newest = replace(find("thor"), tensorrt="11.4.1")
    assert "no FP16" in said(preflight(tmp_path / "model.onnx", newest), "warning")


def test_memory_is_the_most_that_lives_at_one_time(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Relu", ["x"], ["a"], name="a"),
        helper.make_node("Relu", ["a"], ["b"], name="b"),
        helper.make_node("Add", ["x", "b"], ["y"], name="y"),
    ]
    found = verdict(tmp_path, nodes, [SAMPLE], [SAME])
    assert found.memory.activations == 3 * 4 * 8 * 8 * 4  # x with a and b, later with b and y


# -- shapes that the file does not say -----------------------------------------------------------------------


def test_missing_shapes_are_inferred(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Unsqueeze", ["x", "a"], ["m"], name="net.a/Unsqueeze"),
        helper.make_node("MaxPool", ["m"], ["y"], kernel_shape=[1, 1, 1, 1], name="net.b/MaxPool"),
    ]
    ends = [SAMPLE], [("y", FLOAT, [1, 1, 1, 4, 8, 8])], {"a": np.arange(2)}
    found = verdict(tmp_path, nodes, *ends, opset=13)
    assert "4 spatial dimensions" in said(found)
    assert found.problems[0].modules == ("net.b",)


# -- what is printed -----------------------------------------------------------------------------------------


def test_explain_says_the_verdict_first(tmp_path: Path) -> None:
    HARD["LayerNormalization (opset 17)"].write(tmp_path / "model.onnx")
    lines, found, ok = report_lines(tmp_path / "model.onnx", "xavier", trial=False)
    assert not ok
    assert lines[0] == "NO   model.onnx will not run on xavier: 1 reason"
    assert "1 not supported" in lines[1]
    assert "TensorRT 8.5" in lines[1]
    assert "error:   LayerNormalization: TensorRT 8.5 does not take it, 8.6 is the first that does" in lines
    assert any("in net.layernormalization" in line for line in lines)
    assert any("export.lower" in line for line in lines)
    assert json.loads(json.dumps(found))["ok"] is False
    lines, found, ok = report_lines(tmp_path / "model.onnx", "orin-nano", trial=False)
    assert ok
    assert lines[0] == "ok   model.onnx should run on orin-nano"
    assert "derived" in lines[1]
    assert found["derived"] is True


def test_many_nodes_are_one_problem(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("HardSwish", [f"v{i}"], [f"v{i + 1}"], name=f"net.{i}/HardSwish") for i in range(150)
    ]
    ends = [("v0", *SAMPLE[1:])], [("v150", *SAMPLE[1:])]
    found = verdict(tmp_path, nodes, *ends, opset=14, target="nano")
    problem = next(one for one in found.problems if one.op == "HardSwish")
    assert problem.count == 150
    assert len(problem.nodes) == 100
    text = "\n".join(explain(found))
    assert "(150 times)" in text
    assert "net.0, net.1, net.2 and 97 more" in text


# -- hostile and damaged files -------------------------------------------------------------------------------


@given(st.data())
@settings(max_examples=100, deadline=None, derandomize=True)
def test_damaged_models_end_in_a_verdict_or_a_refusal(
    tmp_path_factory: pytest.TempPathFactory, data: Any
) -> None:
    path = tmp_path_factory.mktemp("damaged") / "model.onnx"
    nodes, inputs, outputs, constants = quantized()
    small(nodes, inputs, outputs, constants, opset=13)(path)
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(bytes(content))
    read = lambda skeleton: graph.Graph(graph._parse(skeleton), skeleton.path)  # noqa: E731
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            "jetpress.deploy.preflight.compatibility.inferred", read
        )  # without a process for each example
        with suppress(JetpressError):
            assert explain(preflight(path, find("xavier")))


# -- real runtimes -------------------------------------------------------------------------------------------


def test_the_host_is_asked_itself(tmp_path: Path) -> None:
    found = verdict(tmp_path, [node("Relu", ["x"], ["y"])], [SAMPLE], [SAME], target="host", trial=None)
    assert found.ok
    assert found.trial is not None
    assert found.trial.by == "ONNX Runtime"
    assert "asked ONNX Runtime" in explain(found)[1]
    path = tmp_path / "model.onnx"
    path.write_bytes(custom("com.acme", "Warp").SerializeToString())
    found = preflight(path, find("host"))
    assert not found.ok
    assert "Warp" in said(found)


def test_tensorrt_rtx_builds_for_a_gpu_that_is_not_here(tmp_path: Path) -> None:
    pytest.importorskip("tensorrt_rtx")
    found = verdict(tmp_path, [node("Relu", ["x"], ["y"])], [SAMPLE], [SAME], target="orin-nano", trial=True)
    assert found.ok
    assert found.trial is not None
    assert (found.trial.stage, found.trial.ok) == ("build", True)
    HARD["NonZero"].write(tmp_path / "model.onnx")
    found = preflight(tmp_path / "model.onnx", find("orin-nano"), trial=True)
    assert found.ok
    assert "says nothing about the board" in said(found, "note")
    assert not preflight(tmp_path / "model.onnx", find("rtx")).ok
    HARD["MaxPool over 4 dimensions"].write(tmp_path / "model.onnx")
    assert "cannot parse it" in said(preflight(tmp_path / "model.onnx", find("rtx")))


def test_a_runtime_that_is_not_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trial.importlib.util, "find_spec", lambda name: None)
    found = verdict(tmp_path, [node("Relu", ["x"], ["y"])], [SAMPLE], [SAME], trial=True)
    assert found.ok
    assert "not installed" in said(found, "note")


def test_a_runtime_that_does_not_end(tmp_path: Path) -> None:
    small([node("Relu", ["x"], ["y"])], [SAMPLE], [SAME])(tmp_path / "model.onnx")
    read = graph.inferred(guard.check_onnx(tmp_path / "model.onnx"))
    found = trial.attempt("onnxruntime", read, limit_s=0.01)
    assert found is not None
    assert found.ok is None
    assert "did not finish" in found.error


def test_a_runtime_that_takes_too_much_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trial, "MOST_MEMORY", 2**26)
    found = verdict(tmp_path, [node("Relu", ["x"], ["y"])], [SAMPLE], [SAME], target="host", trial=True)
    assert "did not finish within 0.1 GiB of memory" in said(found, "warning")
    assert "--no-trial" in explain(found)[-1]


def test_what_was_not_tried_is_said(tmp_path: Path) -> None:
    found = verdict(tmp_path, [node("Relu", ["x"], ["y"])], [SAMPLE], [SAME], target="host", trial=False)
    assert found.ok
    assert "ONNX Runtime was not asked: --no-trial" in said(found, "note")


def test_modules_where_the_user_stands_are_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    HARD["Resize linear"].write(tmp_path / "model.onnx")
    for name in ("onnx.py", "numpy.py", "deploy.py"):
        (tmp_path / name).write_text("open('canary', 'w').write('run')")
    monkeypatch.chdir(tmp_path)
    assert preflight(Path("model.onnx"), find("host"), trial=True).ok
    assert not (tmp_path / "canary").exists()


def test_a_verdict_is_plain_data(tmp_path: Path) -> None:
    found = verdict(tmp_path, [node("Relu", ["x"], ["y"])], [SAMPLE], [SAME])
    assert json.loads(json.dumps(asdict(found)))["nodes"] == {
        "supported": 1,
        "restricted": 0,
        "not supported": 0,
    }
