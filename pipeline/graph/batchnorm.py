"""BatchNorm into the convolution or linear layer before it, in float64.

``gamma * (conv(x) - mean) / sqrt(variance + epsilon) + beta`` is again a convolution: its weight is scaled
per output channel, its bias moves. A zero weight stays zero, so 2:4 patterns survive. It is done on the
exported graph and not on the checkpoint, which stays what its builder and history say.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from jetpress.pipeline.graph.rewrites.site import array_of

Doubles = NDArray[np.float64]


def fuse(model: ir.Model) -> None:
    """Fuse every BatchNormalization that alone reads a Conv, ConvTranspose or Gemm with constant weights.

    onnxscript's own rules pass over weights that several layers share, as the heads of detectors do.
    """
    for node in [n for n in model.graph if n.op_type == "BatchNormalization"]:
        x = node.inputs[0]
        before = x.producer() if x is not None else None
        if x is None or before is None or len(before.inputs) < 2:
            continue
        if len(x.uses()) > 1 or x.is_graph_output() or node.attributes.get_int("training_mode", False):
            continue
        arrays = [array_of(value) for value in [before.inputs[1], *node.inputs[1:5]]]
        known = [array.astype(np.float64) for array in arrays if array is not None]
        bias = (
            np.zeros(1) if len(before.inputs) < 3 or before.inputs[2] is None else array_of(before.inputs[2])
        )
        if len(known) < 5 or bias is None:
            continue
        weight, gamma, beta, mean, variance = known
        scale = gamma / np.sqrt(variance + node.attributes.get_float("epsilon", 1e-5))
        per_output = _per_output(before, scale, weight)
        if per_output is not None:
            moved = beta + (bias.astype(np.float64) - mean) * scale
            _set(model.graph, before, 1, weight * per_output)
            _set(model.graph, before, 2, moved)
            _remove(model.graph, node, x)


def _per_output(before: ir.Node, scale: Doubles, weight: Doubles) -> Doubles | None:
    """``scale`` (one per output channel) in the weight's layout; None where BatchNorm cannot be fused."""
    if before.op_type == "Conv":  # [out, in / groups, ...]
        return scale.reshape(-1, *[1] * (weight.ndim - 1))
    if before.op_type == "ConvTranspose":  # [in, out / groups, ...]: input rows of group g make its outputs
        groups = before.attributes.get_int("group", 1)
        rows = np.repeat(scale.reshape(groups, -1), weight.shape[0] // groups, axis=0)
        return rows.reshape(*rows.shape, *[1] * (weight.ndim - 2))
    plain = all(before.attributes.get_float(name, 1.0) == 1.0 for name in ("alpha", "beta"))
    if before.op_type == "Gemm" and plain:
        return scale[:, None] if before.attributes.get_int("transB", 0) else scale[None, :]
    return None


def _set(graph: ir.Graph, node: ir.Node, index: int, array: Doubles) -> None:
    """Make ``array`` (as float32) the constant input, under its old name where no other node reads that."""
    values = array.astype(np.float32)
    old = node.inputs[index] if index < len(node.inputs) else None
    if old is not None and old.is_initializer() and len(old.uses()) == 1:
        old.const_value, old.shape = ir.tensor(values, name=old.name), ir.Shape(values.shape)
        return
    name = f"{node.outputs[0].name}/{'weight' if index == 1 else 'bias'}"
    value = ir.val(name, const_value=ir.tensor(values, name=name))
    graph.register_initializer(value)
    node.resize_inputs(max(3, len(node.inputs)))
    node.replace_input_with(index, value)


def _remove(graph: ir.Graph, node: ir.Node, x: ir.Value) -> None:
    """``x`` takes the place of the BatchNorm's output."""
    output = node.outputs[0]
    x.name, x.shape, x.type = output.name, output.shape, output.type
    ir.convenience.replace_all_uses_with(output, x, replace_graph_outputs=True)
    graph.remove(node, safe=True)
