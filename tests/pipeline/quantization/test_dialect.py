"""Numbers into eight bits and back."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from jetpress.pipeline.quantization.dialect import DIALECTS, INT8, Array

FINITE = st.floats(-1e6, 1e6, width=32)
WEIGHTS = hnp.arrays(np.float32, hnp.array_shapes(min_dims=2, max_dims=4, max_side=5), elements=FINITE)


@given(WEIGHTS, st.sampled_from([0, 1, None]))
def test_weights_are_rounded_to_the_nearest_and_zeros_stay(weight: Array, axis: int | None) -> None:
    scales = INT8.scales(weight, axis)
    whole = INT8.quantized(weight, scales, axis)
    shape = [1] * weight.ndim
    if axis is not None:
        shape[axis] = -1
    step = scales.reshape(shape)
    assert whole.dtype == np.int8
    assert whole.min() >= -127
    assert not whole[weight == 0].any()
    back = whole.astype(np.float64) * step
    assert (np.abs(back - weight) <= step * (0.5 + 1e-4)).all()
    # What TensorRT 8 reads of FP32 weights is the same INT8.
    again = INT8.quantized((whole.astype(np.float32) * step).astype(np.float32), scales, axis)
    assert (again == whole).all()


@given(st.floats(-1e6, 1e6), st.floats(0, 1e6), st.sampled_from(sorted(DIALECTS)))
def test_zero_is_exact_and_the_range_is_covered(low: float, width: float, name: str) -> None:
    dialect, high = DIALECTS[name], low + width
    scale, zero = dialect.parameters(low, high)
    least, most = (0, 255) if dialect.unsigned else (-dialect.numbers.largest, dialect.numbers.largest)
    assert scale > 0
    assert least <= zero <= most
    assert dialect.unsigned or zero == 0
    for end in (min(low, 0.0), max(high, 0.0)):
        rounded = float(dialect.rounded(np.array(end), low, high))
        # FP8 has three bits behind the point; its smallest number is 2^-9.
        step = scale if dialect.numbers is INT8 else max(abs(end) / 16, scale * 2**-9)
        assert abs(rounded - end) <= step * (1 + 1e-4)


def test_channels_of_zeros_have_a_scale() -> None:
    weight = np.zeros((2, 3), np.float32)
    weight[1] = 1
    assert INT8.scales(weight, 0)[0] > 0
    assert not INT8.quantized(weight, INT8.scales(weight, 0), 0)[0].any()


def test_scales_of_decayed_channels_are_positive_in_fp16() -> None:
    weight = np.array([[1e-9, -2e-7], [3.0, 1.0]], np.float32)
    scales = INT8.scales(weight, 0)
    assert (scales.astype(np.float16) > 0).all()
    back = INT8.quantized(weight, scales, 0)[0] * scales[0]
    assert np.abs(back - weight[0]).max() <= scales[0] / 2
    for dialect in DIALECTS.values():
        assert np.float16(dialect.parameters(0.0, 1e-9)[0]) > 0


@pytest.mark.parametrize("name", ["tensorrt8", "tensorrt"])
def test_tensorrt_is_symmetric(name: str) -> None:
    assert DIALECTS[name].parameters(-3.0, 1.0) == (pytest.approx(3 / 127), 0)


def test_the_host_uses_all_of_uint8_behind_relu() -> None:
    assert DIALECTS["onnxruntime"].parameters(0.0, 2.55) == (pytest.approx(0.01), 0)
