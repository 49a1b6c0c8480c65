"""2:4 by TensorRT's rule."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import helper

from jetpress.deploy.preflight import sparse
from tests.deploy.preflight.graphs import (
    FLOAT,
    said,
    verdict,
)


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
