"""Bias correction: rounding weights shifts the mean of what a layer gives, and its bias takes the shift back.

The shift of output channel o is the sum over its inputs of (rounded weight - weight) times the mean of that input,
which calibration has seen (M. Nagel et al., Data-Free Quantization Through Weight Equalization and Bias Correction,
ICCV 2019, section 4.2). Padding is not accounted for, nor what a transposed convolution cuts off. A network that was
trained with rounded weights needs none.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
import onnx_ir as ir

from jetpress.pipeline.graph.names import Names
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
        if given is None or layer.weight.const_value is None or _place(layer) is None:
            continue
        weight = layer.weight.const_value.numpy().astype(np.float64)
        scales = numbers.scales(weight, layer.axis)
        whole = numbers.quantized(weight, scales, layer.axis)
        error = weight - dequantized(whole, scales, layer.axis)
        if (shift := _shift(layer, error, given)) is not None:
            found[layer.name] = shift.astype(np.float32)
    return found


def _shift(layer: Layer, error: Array, given: Seen) -> Array | None:
    """``[output channels]``; None where the weight is in no layout that is known."""
    kind, attributes = layer.node.op_type, layer.node.attributes
    if kind in ("Gemm", "MatMul"):
        rows = error if kind == "Gemm" and layer.axis == 0 else error.T
        mean = given.last_mean  # [n, inputs], or [n, tokens, inputs]
        return rows @ mean if error.ndim == 2 and rows.shape[1] == len(mean) else None
    mean, groups = given.mean, attributes.get_int("group", 1)
    each = error.sum(axis=tuple(range(2, error.ndim)))
    if kind == "Conv":  # [out, in of a group]
        whole = each.reshape(groups, -1, each.shape[1])
    else:  # [in, out of a group]; each input is spread over so many outputs
        whole = each.reshape(groups, -1, each.shape[1]).swapaxes(1, 2)
        whole = whole / np.prod(attributes.get_ints("strides", [1]))
    if len(mean) != groups * whole.shape[2]:
        return None
    return np.asarray(np.einsum("goi,gi->go", whole, mean.reshape(groups, -1)).ravel())


def _place(layer: Layer) -> tuple[ir.Node, int] | None:
    """The input that a layer's bias is, given or not; None where it has none that could take a shift.

    A product over tokens has its bias in the Add behind it.
    """
    node = layer.node
    if node.op_type == "MatMul":
        uses = list(node.outputs[0].uses())
        if len(uses) != 1 or uses[0].node.op_type != "Add" or node.outputs[0].is_graph_output():
            return None
        node, at = uses[0].node, 1 - uses[0].idx
        old = node.inputs[at]
        constant = old.const_value if old is not None else None
        return (node, at) if constant is not None and constant.shape.rank() == 1 else None
    plain = all(node.attributes.get_float(name, 1.0) == 1.0 for name in ("alpha", "beta"))
    if node.op_type == "Gemm" and (not plain or node.attributes.get_int("transA", False)):
        return None
    old = node.inputs[2] if len(node.inputs) > 2 else None
    return (node, 2) if old is None or old.const_value is not None else None


def add(graph: ir.Graph, names: Names, layer: Layer, shift: Array) -> None:
    """Into the bias of a layer, which stays a constant of its own."""
    place = _place(layer)
    if place is None:
        return
    node, at = place
    old = node.inputs[at] if at < len(node.inputs) else None
    before = 0.0 if old is None or old.const_value is None else old.const_value.numpy()
    name = names.new(f"{layer.weight.name}_bias")
    value = ir.val(name, const_value=ir.tensor((before + shift).astype(np.float32), name=name))
    graph.register_initializer(value)
    if len(node.inputs) <= at:
        node.resize_inputs(at + 1)
    node.replace_input_with(at, value)
    if old is not None and not old.uses():
        del graph.initializers[old.name or ""]
