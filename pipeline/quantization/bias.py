"""Bias correction: rounding weights shifts the mean of what a layer gives, and its bias takes the shift back.

The shift of output channel o is the sum over its inputs of (rounded weight - weight) times the mean of that input,
which calibration has seen (M. Nagel et al., Data-Free Quantization Through Weight Equalization and Bias Correction,
ICCV 2019, section 4.2). Padding is not accounted for. A network that was trained with rounded weights needs none.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
import onnx_ir as ir

from jetpress.pipeline.quantization.calibrate import Seen
from jetpress.pipeline.quantization.dialect import Array, Numbers, dequantized
from jetpress.pipeline.quantization.placement import Layer


def shifts(layers: Iterable[Layer], seen: Mapping[str, Seen], numbers: Numbers) -> dict[str, Array]:
    """Layer -> what is to be added to its bias, ``[output channels]``.

    Args:
        layers: of the FP32 graph.
        seen: what calibration saw of every activation.
        numbers: that weights are rounded to.
    """
    found = {}
    for layer in layers:
        given = seen.get(layer.input.name or "")
        if layer.node.op_type not in ("Conv", "Gemm") or given is None or layer.weight.const_value is None:
            continue
        weight = layer.weight.const_value.numpy().astype(np.float64)
        scales = numbers.scales(weight, layer.axis)
        whole = numbers.quantized(weight, scales, layer.axis)
        error = weight - dequantized(whole, scales, layer.axis)
        if (shift := _shift(layer, error, given.mean)) is not None:
            found[layer.name] = shift.astype(np.float32)
    return found


def _shift(layer: Layer, error: Array, mean: Array) -> Array | None:
    if layer.node.op_type == "Gemm":
        rows = error if layer.axis == 0 else error.T
        return rows @ mean if rows.shape[1] == len(mean) else None
    each = error.sum(axis=tuple(range(2, error.ndim)))  # [out, in of a group]
    outward, inward = each.shape
    if len(mean) % inward:
        return None
    groups = len(mean) // inward
    whole = each.reshape(groups, outward // groups, inward)
    return np.asarray(np.einsum("goi,gi->go", whole, mean.reshape(groups, inward)).ravel())


def add(graph: ir.Graph, layer: Layer, shift: Array) -> None:
    """Into the bias of a layer, which stays a constant of its own."""
    node = layer.node
    old = node.inputs[2] if len(node.inputs) > 2 else None
    if old is not None and old.const_value is None:
        return
    before = 0.0 if old is None or old.const_value is None else old.const_value.numpy()
    name = f"{layer.weight.name}_bias"
    value = ir.val(name, const_value=ir.tensor((before + shift).astype(np.float32), name=name))
    graph.register_initializer(value)
    if len(node.inputs) < 3:
        node.resize_inputs(3)
    node.replace_input_with(2, value)
    if old is not None and not old.uses():
        del graph.initializers[old.name or ""]
