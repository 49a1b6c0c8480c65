"""Q/DQ written into a graph: explicit, so that every TensorRT from 8.0 on reads it the same way."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from types import MappingProxyType

import numpy as np
import onnx
import onnx_ir as ir

from jetpress.pipeline.graph.names import Names
from jetpress.pipeline.quantization import bias
from jetpress.pipeline.quantization.dialect import Array, Dialect, dequantized
from jetpress.pipeline.quantization.placement import Layer, Placement, place

Ranges = Mapping[str, tuple[float, float]]
"""Tensor -> lowest and highest number that it is quantized for."""


def insert(
    model: onnx.ModelProto,
    dialect: Dialect,
    ranges: Ranges,
    without: Collection[str] = (),
    sparse: Collection[str] = (),
    shifts: Mapping[str, Array] = MappingProxyType({}),
) -> ir.Model:
    """``model`` with Q/DQ; what it was given stays as it is.

    Args:
        model: FP32, types and shapes inferred.
        ranges: of every tensor that :func:`jetpress.pipeline.quantization.placement.place` names.
        without: layers that stay in higher precision.
        sparse: layers whose output stays INT8.
        shifts: what is added to the biases of layers that become INT8: see :mod:`jetpress.pipeline.quantization.bias`.
    """
    made = ir.from_proto(model)
    found, names = place(made.graph, dialect, without, sparse), Names(made.graph)
    for layer in found.layers:
        if layer.name in shifts:
            bias.add(made.graph, names, layer, shifts[layer.name])
    _Writer(made.graph, names, dialect).write(found, ranges)
    return made


class _Writer:
    """Adds nodes and constants to one graph."""

    def __init__(self, graph: ir.Graph, names: Names, dialect: Dialect) -> None:
        self.graph, self.names, self.dialect = graph, names, dialect
        self.scales = dict[ir.Value | None, Array]()
        """Of what was dequantized."""

    def write(self, found: Placement, ranges: Ranges) -> None:
        for value, edges in found.activations.items():
            low, high = ranges[found.ranges.get(value, value).name or ""]
            scale, zero = self.dialect.parameters(low, high)
            self._activation(value, edges, scale, zero)
        for weight in dict.fromkeys(one.weight for one in found.layers):
            self._weight([one for one in found.layers if one.weight is weight])
        if self.dialect.everywhere:
            for layer in found.layers:
                self._bias(layer)

    def _activation(self, value: ir.Value, edges: list[tuple[ir.Node, int]], scale: float, zero: int) -> None:
        name, producer = value.name or "", value.producer()
        kind = self.dialect.activation
        constants = [
            self._constant(f"{name}_scale", np.array(scale, np.float32)),
            self._constant(f"{name}_zero_point", np.array(zero, kind.numpy())),
        ]
        scope = _scope(producer if producer is not None else edges[0][0])
        q = self._node("QuantizeLinear", [value, *constants], scope, f"{name}_quantized", kind, value.shape)
        dq = self._node(
            "DequantizeLinear",
            [q.outputs[0], *constants],
            scope,
            f"{name}_dequantized",
            ir.DataType.FLOAT,
            value.shape,
        )
        self.scales[dq.outputs[0]] = np.array(scale, np.float32)
        for node, index in edges:
            node.replace_input_with(index, dq.outputs[0])
        if producer is None:
            self.graph.insert_before(self.graph[0], [q, dq])
        else:
            self.graph.insert_after(producer, [q, dq])

    def _weight(self, readers: list[Layer]) -> None:
        """One pair for a weight, whichever of its layers reads it."""
        first = readers[0]
        weight, axis = first.weight, first.axis
        assert weight.const_value is not None
        name, array = weight.name or "", weight.const_value.numpy()
        numbers = self.dialect.numbers
        scales = numbers.scales(array, axis)
        whole = numbers.quantized(array, scales, axis)
        constants = [
            self._constant(f"{name}_scale", scales),
            self._constant(f"{name}_zero_point", np.zeros(scales.shape, numbers.kind.numpy())),
        ]
        scope, shape = _scope(first.node), ir.Shape(array.shape)
        along = {} if axis is None else {"axis": axis}
        nodes = []
        if self.dialect.stored:
            source = self._constant(f"{name}_quantized", whole)
        else:
            source = self._constant(f"{name}_rounded", dequantized(whole, scales, axis))
            nodes.append(
                self._node(
                    "QuantizeLinear",
                    [source, *constants],
                    scope,
                    f"{name}_quantized",
                    numbers.kind,
                    shape,
                    along,
                )
            )
            source = nodes[0].outputs[0]
        nodes.append(
            self._node(
                "DequantizeLinear",
                [source, *constants],
                scope,
                f"{name}_dequantized",
                ir.DataType.FLOAT,
                shape,
                along,
            )
        )
        self.scales[nodes[-1].outputs[0]] = scales
        for layer in readers:
            layer.node.replace_input_with(list(layer.node.inputs).index(weight), nodes[-1].outputs[0])
        self.graph.insert_before(first.node, nodes)
        if not weight.uses():
            del self.graph.initializers[name]

    def _bias(self, layer: Layer) -> None:
        """INT32 for the Gemm that gives the network's output.

        Where a result is quantized, ONNX Runtime makes the bias INT32 itself. Where it is not, it would unpack
        the weights of the layer to FP32 in every run.
        """
        node, inputs = layer.node, layer.node.inputs
        if node.op_type != "Gemm" or not node.outputs[0].is_graph_output() or len(inputs) < 3:
            return
        x, weight, old = inputs
        if x not in self.scales or weight not in self.scales or old is None or old.const_value is None:
            return
        scale = self.scales[x] * self.scales[weight]
        whole = np.rint(old.const_value.numpy() / scale)
        plain = all(node.attributes.get_float(factor, 1.0) == 1.0 for factor in ("alpha", "beta"))
        if not plain or whole.shape != scale.shape or np.abs(whole).max() >= 2**31:
            return
        name = old.name or ""
        constants = [
            self._constant(f"{name}_quantized", whole.astype(np.int32)),
            self._constant(f"{name}_scale", scale),
            self._constant(f"{name}_zero_point", np.zeros(scale.shape, np.int32)),
        ]
        shape, along = ir.Shape(scale.shape), {"axis": 0}
        dq = self._node(
            "DequantizeLinear",
            constants,
            _scope(node),
            f"{name}_dequantized",
            ir.DataType.FLOAT,
            shape,
            along,
        )
        node.replace_input_with(2, dq.outputs[0])
        self.graph.insert_before(node, dq)
        if not old.uses():
            del self.graph.initializers[name]

    def _constant(self, name: str, array: Array) -> ir.Value:
        name = self.names.new(name)
        value = ir.val(name, const_value=ir.tensor(array, name=name))
        self.graph.register_initializer(value)
        return value

    def _node(
        self,
        op: str,
        inputs: list[ir.Value],
        scope: str,
        output: str,
        kind: ir.DataType,
        shape: ir.Shape | None,
        attributes: Mapping[str, int] | None = None,
    ) -> ir.Node:
        node = ir.node(op, inputs, dict(attributes or {}), name=f"{scope}/{op}".lstrip("/"))
        made = node.outputs[0]
        made.name, made.shape, made.type = self.names.new(output), shape, ir.TensorType(kind)
        return node


def _scope(node: ir.Node) -> str:
    return (node.name or "").rpartition("/")[0]
