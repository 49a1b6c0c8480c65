"""Ranges from what was seen."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import helper

from jetpress.pipeline.quantization import calibrate
from jetpress.pipeline.quantization.calibrate import BINS, METHODS, Seen
from jetpress.pipeline.quantization.dialect import DIALECTS, Array


def passing() -> onnx.ModelProto:
    """``y = relu(x)``, any length."""
    x, y = (helper.make_tensor_value_info(name, 1, ["n"]) for name in ("x", "y"))
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "test", [x], [y])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def look(*arrays: Array) -> Mapping[str, Seen]:
    return calibrate.look(passing(), ["x", "y"], [{"x": one.astype(np.float32)} for one in arrays])


def squared_error(values: Array, low: float, high: float) -> float:
    scale, zero = DIALECTS["tensorrt"].parameters(low, high)
    return float(((np.clip(np.rint(values / scale) + zero, -127, 127) * scale - values) ** 2).sum())


def test_histograms_hold_every_value_of_every_image() -> None:
    seen = look(np.array([-2.0, 0.5, 1.0]), np.array([4.0, -1.0]))
    assert (seen["x"].low, seen["x"].high, seen["y"].low, seen["y"].high) == (-2, 4, 0, 4)
    assert seen["x"].counts is not None
    assert seen["x"].counts.sum() == 5
    assert seen["x"].counts[:BINS].sum() == 2


@given(st.integers(0, 2**32 - 1), st.floats(0.5, 30))
def test_mse_finds_what_trying_out_finds(seed: int, tail: float) -> None:
    rng = np.random.default_rng(seed)
    values = np.concatenate([rng.standard_normal(500), [tail]])
    seen = look(values)
    found = calibrate.ranges(seen, "mse", DIALECTS["tensorrt"])["x"]
    largest = seen["x"].largest
    tried = [squared_error(values, -largest * s / 40, largest * s / 40) for s in range(8, 41)]
    assert squared_error(values, *found) <= 1.1 * min(tried) + 1e-6
    assert squared_error(values, *found) <= squared_error(values, -largest, largest) * 1.05 + 1e-6


@given(st.integers(0, 2**32 - 1), st.floats(80, 99.9))
def test_percentile_cuts_that_share(seed: int, share: float) -> None:
    values = np.random.default_rng(seed).standard_normal(2000)
    found = calibrate.ranges(look(values), "percentile", DIALECTS["tensorrt"], share)["x"]
    limit = max(-found[0], found[1])
    inside = 100 * np.mean(np.abs(values.astype(np.float32)) <= limit * (1 + 1e-6))
    assert share - 0.1 <= inside <= share + 0.3


def test_entropy_cuts_a_lonely_outlier_and_keeps_what_is_even() -> None:
    rng = np.random.default_rng(0)
    outlier = np.concatenate([np.abs(rng.standard_normal(20000)), [60.0]])
    assert calibrate.ranges(look(outlier), "entropy", DIALECTS["tensorrt"])["x"][1] < 20
    even = rng.uniform(0, 1, 50000)
    assert calibrate.ranges(look(even), "entropy", DIALECTS["tensorrt"])["x"][1] > 0.9


@pytest.mark.parametrize("method", ["max", *METHODS])
@pytest.mark.parametrize("values", [np.zeros(4), np.array([1e-30, 0.0]), np.array([5.0]), np.full(9, -3.0)])
def test_degenerate_tensors_have_a_range(method: str, values: Array) -> None:
    seen = look(values)
    for low, high in calibrate.ranges(seen, method, DIALECTS["onnxruntime"]).values():
        assert low <= 0 <= high
        assert DIALECTS["onnxruntime"].parameters(low, high)[0] > 0
