"""Operators, opsets, conditions and types that a version takes or not; what is printed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from jetpress.deploy.preflight.compatibility import preflight
from jetpress.deploy.targets import find
from studies.hard_graphs import SAMPLE, Hard, node, small
from tests.deploy.preflight.graphs import (
    FLOAT,
    HARD,
    INT64,
    SAME,
    UINT8,
    custom,
    said,
    verdict,
)

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


def test_precision(tmp_path: Path) -> None:
    small([node("Relu", ["x"], ["y"])], [SAMPLE], [SAME], opset=13)(tmp_path / "model.onnx")
    found = preflight(tmp_path / "model.onnx", find("nano"), precision="int8")
    assert "does not compute in int8" in said(found)
    newest = replace(find("thor"), tensorrt="11.4.1")
    assert "no FP16" in said(preflight(tmp_path / "model.onnx", newest), "warning")


def test_missing_shapes_are_inferred(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Unsqueeze", ["x", "a"], ["m"], name="net.a/Unsqueeze"),
        helper.make_node("MaxPool", ["m"], ["y"], kernel_shape=[1, 1, 1, 1], name="net.b/MaxPool"),
    ]
    ends = [SAMPLE], [("y", FLOAT, [1, 1, 1, 4, 8, 8])], {"a": np.arange(2)}
    found = verdict(tmp_path, nodes, *ends, opset=13)
    assert "4 spatial dimensions" in said(found)
    assert found.problems[0].modules == ("net.b",)
