"""A quantized graph as the DLA of TensorRT up to 10.7 takes it: the float graph, and a range for each tensor.

Implicit quantization has no Q/DQ: TensorRT rounds a tensor where it knows its range, and weights by their largest value
in each output channel, which is what our scales of weights are. So the ranges are 127 times the scales of activations
(github.com/NVIDIA/TensorRT #2222: converted so, a quantized network works on a DLA). Tensors between, which an explicit
graph leaves to fusion, need one as well: it is taken over from the neighbour where an operator does not change it.
"""

from __future__ import annotations

import onnx
import onnx_ir as ir

from jetpress.pipeline.quantization.dialect import dequantized

LARGEST = 127
KEEPS = frozenset(
    {"Relu", "Clip", "MaxPool", "AveragePool", "GlobalAveragePool", "Identity", "Reshape", "Flatten", "Squeeze",
     "Unsqueeze", "Transpose", "Slice", "Resize", "Concat", "Split", "Pad", "Dropout"}
)  # fmt: skip
"""What comes out is within the range of what goes in."""


def implicit(model: onnx.ModelProto) -> tuple[ir.Model, dict[str, float]]:
    """The graph without Q/DQ, which computes in float what ``model`` rounds, and the largest absolute value of tensors.

    Args:
        model: with symmetric INT8 Q/DQ, as :mod:`jetpress.pipeline.quantization.qdq` writes it for TensorRT.
    """
    made = ir.from_proto(model)
    graph, ranges = made.graph, dict[str, float]()
    for node in list(graph):
        if node.op_type == "DequantizeLinear":
            _without(graph, node, ranges)
    for node in list(graph):
        if node.op_type == "QuantizeLinear" and not any(one.uses() for one in node.outputs):
            graph.remove(node, safe=True)
    for name in [name for name, value in graph.initializers.items() if not value.uses()]:
        del graph.initializers[name]
    _spread(graph, ranges)
    return made, ranges


def _without(graph: ir.Graph, node: ir.Node, ranges: dict[str, float]) -> None:
    """One pair goes: a weight in float takes the place of its eight bits, a tensor that of its rounded self."""
    source, scale = node.inputs[0], node.inputs[1]
    assert source is not None
    assert scale is not None
    assert scale.const_value is not None
    scales, quantizer = scale.const_value.numpy(), source.producer()
    if quantizer is None:  # stored in eight bits
        assert source.const_value is not None
        axis = node.attributes.get_int("axis", 1) if scales.ndim else None
        array = dequantized(source.const_value.numpy(), scales, axis)
        name = f"{source.name}_float"
        plain = ir.val(name, const_value=ir.tensor(array, name=name))
        graph.register_initializer(plain)
    else:
        given = quantizer.inputs[0]
        assert given is not None
        plain = given
        if plain.const_value is None and scales.size == 1:
            ranges[plain.name or ""] = LARGEST * float(scales.reshape(()))
    node.outputs[0].replace_all_uses_with(plain, replace_graph_outputs=True)
    graph.remove(node, safe=True)


def _spread(graph: ir.Graph, ranges: dict[str, float]) -> None:
    """Along operators that keep a range, as far as it goes in either direction."""
    nodes = [node for node in graph if node.op_type in KEEPS]
    for node in nodes:
        known = [ranges[one.name] for one in node.inputs if one is not None and one.name in ranges]
        if known:
            for one in node.outputs:
                ranges.setdefault(one.name or "", max(known))
    for node in reversed(nodes):
        after = [ranges[one.name] for one in node.outputs if one.name in ranges]
        before = [one for one in node.inputs if one is not None and one.const_value is None]
        for one in before if after else ():
            ranges.setdefault(one.name or "", max(after))
