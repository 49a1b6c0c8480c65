"""Which layers of an ONNX file are 2:4 sparse, by the rule that TensorRT applies (:mod:`deploy.preflight.sparse`).

Weights are followed through Q/DQ, Cast, Identity and Transpose, as TensorRT does: a float initialiser behind Q and DQ
and an integer one behind DQ are both found. In a grouped convolution the input channels are those of one group.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from deploy.preflight.sparse import GROUP, KEPT, crowded, operands

Array = NDArray[Any]
PASSED_THROUGH = ("DequantizeLinear", "QuantizeLinear", "Cast", "Identity")


@dataclass(frozen=True)
class SparseLayer:
    """What one convolution or matrix product with constant weights looks like to TensorRT."""

    name: str
    """Of the weight's initializer: the PyTorch parameter, unless it was transformed on the way."""
    node: str
    """Of the ONNX node; it starts with the PyTorch module."""
    eligible: bool
    is_2_4: bool
    """Or N:M, where another pattern was asked for."""
    reason: str
    """Why it is not eligible, or not 2:4; empty where it is."""

    @property
    def module(self) -> str:
        """The PyTorch module."""
        return self.node.rpartition("/")[0]


def sparse_layers(model: onnx.ModelProto, kept: int = KEPT, group: int = GROUP) -> list[SparseLayer]:
    """Every Conv, Gemm and MatMul with constant weights, in the order of the graph; for studies also other N:M."""
    weights = _Weights(model.graph)
    found = (_layer(node, weights, kept, group) for node in model.graph.node)
    return [layer for layer in found if layer is not None]


def _layer(node: onnx.NodeProto, weights: _Weights, kept: int, group: int) -> SparseLayer | None:
    attributes = {one.name: helper.get_attribute_value(one) for one in node.attribute}
    for index, axis in operands(node.op_type, attributes):
        name, weight = weights.find(node.input[index])
        if weight is None or weight.ndim < 2:
            continue
        channels = weight.shape[axis]
        depthwise = node.op_type == "Conv" and attributes.get("group", 1) > 1 and channels == 1
        if depthwise:
            return SparseLayer(name, node.name, False, False, "depthwise: one input channel for each output")
        if channels % group:
            why = f"{channels} input channels are not a multiple of {group}"
            return SparseLayer(name, node.name, False, False, why)
        dense = crowded(weight, axis, kept, group)
        why = (
            f"{dense} of {weight.size // group} groups of {group} hold more than {kept} weights"
            if dense
            else ""
        )
        return SparseLayer(name, node.name, True, not dense, why)
    return None


class _Weights:
    """Constants of a graph by name, found through the nodes that TensorRT looks through."""

    def __init__(self, graph: onnx.GraphProto) -> None:
        self.initializers = {one.name: one for one in graph.initializer}
        self.producers = {name: node for node in graph.node for name in node.output}

    def find(self, name: str) -> tuple[str, Array | None]:
        """The constant that ``name`` comes from and its name; None where it depends on the input."""
        if name in self.initializers:
            return name, numpy_helper.to_array(self.initializers[name])
        node = self.producers.get(name)
        if node is None:
            return name, None
        attributes = {one.name: helper.get_attribute_value(one) for one in node.attribute}
        if node.op_type == "Constant" and "value" in attributes:
            return name, numpy_helper.to_array(attributes["value"])
        if node.op_type not in (*PASSED_THROUGH, "Transpose"):
            return name, None
        source, array = self.find(node.input[0])
        if array is not None and node.op_type == "Transpose":
            array = np.transpose(array, attributes.get("perm"))
        if array is not None and node.op_type == "DequantizeLinear" and array.dtype.kind in "iu":
            array = self._centred(array, node, attributes.get("axis", 1))
        return source, array

    def _centred(self, array: Array, node: onnx.NodeProto, axis: int) -> Array:
        """Integers as they are multiplied: zero is where the zero point is."""
        point = self.find(node.input[2])[1] if len(node.input) > 2 and node.input[2] else None
        if point is None or not np.any(point):
            return array
        shape = [1] * array.ndim
        if point.size > 1:  # one for each channel
            shape[axis] = point.size
        return array.astype(np.int32) - point.astype(np.int32).reshape(shape)
