"""How a runtime wants INT8 and FP8 to be said. The same network needs another graph for each.

TensorRT: signed, symmetric, zero point 0 everywhere, Q/DQ before the layers that compute in INT8 and nowhere else;
whatever stands between is fused. TensorRT 8 takes no INT8 initializers, so there the file holds FP32 weights and a
QuantizeLinear behind them (onnx-tensorrt's importers; see :mod:`jetpress.deploy.preflight.quantization`).

ONNX Runtime on an x86 CPU: its kernels multiply uint8 by int8 (VNNI), and run in INT8 only where every input and
output of a node is quantized. A graph in TensorRT's dialect runs there slower than FP32, so it never stands for the
speed of INT8 on the host.

FP8 is float8_e4m3fn (Micikevicius et al., FP8 Formats for Deep Learning, 2022): four bits of exponent, three of
mantissa, largest number 448, no infinity. It stands where TensorRT's INT8 stands, with scales as symmetric: ONNX has
it in Q/DQ since opset 19, TensorRT since 9.0.
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
class Numbers:
    """What eight bits mean: symmetric, zero is exact."""

    title: str
    kind: ir.DataType
    largest: float

    def scales(self, weight: Array, axis: int | None) -> Array:
        """Of the output channels ``[channels]``, or one ``[]`` where ``axis`` is None: of each the largest weight is
        the largest number."""
        axes = tuple(i for i in range(weight.ndim) if i != axis)
        most = np.abs(weight.astype(np.float64)).max(axis=axes) / self.largest
        return np.where(most > 0, np.maximum(most, SMALLEST), 1.0).astype(np.float32)

    def quantized(self, weight: Array, scales: Array, axis: int | None) -> Array:
        """``weight`` in eight bits, rounded half to even as ONNX does; zeros stay zeros."""
        return self.rounded(weight.astype(np.float32) / _along(scales, weight.ndim, axis))

    def rounded(self, scaled: Array) -> Array:
        """The nearest of these numbers; what is larger than the largest becomes that."""
        if self.kind == ir.DataType.INT8:
            scaled = np.rint(scaled)
        return np.clip(scaled, -self.largest, self.largest).astype(self.kind.numpy())


INT8 = Numbers("INT8", ir.DataType.INT8, 127)
FP8 = Numbers("FP8", ir.DataType.FLOAT8E4M3FN, 448)


@dataclass(frozen=True)
class Dialect:
    """Types, zero points and places of Q/DQ."""

    unsigned: bool
    """Activations are uint8 with a zero point of their own; otherwise int8 with zero point 0."""
    stored: bool
    """The file holds INT8 weights; otherwise FP32 weights and QuantizeLinear behind them."""
    everywhere: bool
    """Also outputs, and the operators between layers with weights."""
    numbers: Numbers = INT8
    """Of weights, and of activations that are not unsigned."""

    @property
    def activation(self) -> ir.DataType:
        """Element type of quantized activations."""
        return ir.DataType.UINT8 if self.unsigned else self.numbers.kind

    def parameters(self, low: float, high: float) -> tuple[float, int]:
        """Scale and zero point of a tensor between ``low`` and ``high``; both as they will be used.

        Zero is always exact: padding and ReLU depend on it.
        """
        low, high = min(low, 0.0), max(high, 0.0)
        if not self.unsigned:
            return positive(max(-low, high) / self.numbers.largest), 0
        scale = positive((high - low) / 255)
        return scale, int(np.clip(round(-low / scale), 0, 255))

    def rounded(self, values: Array, low: float, high: float) -> Array:
        """What a tensor with the range ``low`` to ``high`` becomes of ``values``."""
        scale, zero = self.parameters(low, high)
        if self.unsigned:
            return np.asarray((np.clip(np.rint(values / scale) + zero, 0, 255) - zero) * scale)
        return np.asarray(self.numbers.rounded(values / scale).astype(np.float64) * scale)


DIALECTS = {
    "tensorrt8": Dialect(unsigned=False, stored=False, everywhere=False),
    "tensorrt": Dialect(unsigned=False, stored=True, everywhere=False),
    "tensorrt_fp8": Dialect(unsigned=False, stored=True, everywhere=False, numbers=FP8),
    "onnxruntime": Dialect(unsigned=True, stored=True, everywhere=True),
}


def positive(scale: float) -> float:
    """A scale that can be divided by: a tensor of zeros needs one, too."""
    return float(np.float32(max(scale, SMALLEST))) if scale > 0 else 1.0


def dequantized(whole: Array, scales: Array, axis: int | None) -> Array:
    """What eight bits mean; quantized again they are the same."""
    return whole.astype(np.float32) * _along(scales, whole.ndim, axis)


def _along(scales: Array, dimensions: int, axis: int | None) -> Array:
    shape = [1] * dimensions
    if axis is not None:
        shape[axis] = -1
    return scales.reshape(shape)
