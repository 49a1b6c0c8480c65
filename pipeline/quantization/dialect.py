"""How a runtime wants INT8 to be said. The same network needs another graph for each.

TensorRT: signed, symmetric, zero point 0 everywhere, Q/DQ before the layers that compute in INT8 and nowhere else;
whatever stands between is fused. TensorRT 8 takes no INT8 initializers, so there the file holds FP32 weights and a
QuantizeLinear behind them (onnx-tensorrt's importers; see :mod:`deploy.preflight.quantization`).

ONNX Runtime on an x86 CPU: its kernels multiply uint8 by int8 (VNNI), and run in INT8 only where every input and
output of a node is quantized. A graph in TensorRT's dialect runs there slower than FP32, so it never stands for the
speed of INT8 on the host.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

Array = NDArray[Any]

SMALLEST = 2.0**-24
"""Scale. FP16 has no smaller positive number: where the file's scales are FP16 it would be 0, and TensorRT-RTX refuses
that. Trained networks have channels whose weights have decayed that far."""


@dataclass(frozen=True)
class Dialect:
    """Types, zero points and places of Q/DQ."""

    unsigned: bool
    """Activations are uint8 with a zero point of their own; otherwise int8 with zero point 0."""
    stored: bool
    """The file holds INT8 weights; otherwise FP32 weights and QuantizeLinear behind them."""
    everywhere: bool
    """Also outputs, and the operators between layers with weights."""

    @property
    def activation(self) -> ir.DataType:
        """Element type of quantized activations."""
        return ir.DataType.UINT8 if self.unsigned else ir.DataType.INT8

    def parameters(self, low: float, high: float) -> tuple[float, int]:
        """Scale and zero point of a tensor between ``low`` and ``high``; both as they will be used.

        Zero is always exact: padding and ReLU depend on it.
        """
        low, high = min(low, 0.0), max(high, 0.0)
        if not self.unsigned:
            return positive(max(-low, high) / 127), 0
        scale = positive((high - low) / 255)
        return scale, int(np.clip(round(-low / scale), 0, 255))


DIALECTS = {
    "tensorrt8": Dialect(unsigned=False, stored=False, everywhere=False),
    "tensorrt": Dialect(unsigned=False, stored=True, everywhere=False),
    "onnxruntime": Dialect(unsigned=True, stored=True, everywhere=True),
}


def positive(scale: float) -> float:
    """A scale that can be divided by: a tensor of zeros needs one, too."""
    return float(np.float32(max(scale, SMALLEST))) if scale > 0 else 1.0


def weight_scales(weight: Array, axis: int | None) -> Array:
    """Scales of the output channels ``[channels]``, or one ``[]`` where ``axis`` is None: the largest weight is 127."""
    axes = tuple(i for i in range(weight.ndim) if i != axis)
    largest = np.abs(weight.astype(np.float64)).max(axis=axes) / 127
    return np.where(largest > 0, np.maximum(largest, SMALLEST), 1.0).astype(np.float32)


def quantized(weight: Array, scales: Array, axis: int | None) -> NDArray[np.int8]:
    """``weight`` as INT8, rounded half to even as ONNX does; zeros stay zeros."""
    shape = [1] * weight.ndim
    if axis is not None:
        shape[axis] = -1
    rounded = np.rint(weight.astype(np.float32) / scales.reshape(shape))
    return np.clip(rounded, -127, 127).astype(np.int8)


def dequantized(whole: Array, scales: Array, axis: int | None) -> Array:
    """What INT8 means; quantized again it gives the same INT8."""
    shape = [1] * whole.ndim
    if axis is not None:
        shape[axis] = -1
    return whole.astype(np.float32) * scales.reshape(shape)
