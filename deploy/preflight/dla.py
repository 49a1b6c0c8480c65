"""How much of a network a deep learning accelerator (DLA) could take; the GPU runs the rest.

An estimate from NVIDIA's list "DLA supported layers and restrictions" (TensorRT developer guide): FP16 or
INT8, fixed shapes, four dimensions. TensorRT decides when it builds, and every change between the two costs
a copy.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from jetpress.deploy.preflight.graph import Graph
from jetpress.deploy.preflight.node import Node

# fmt: off
ANY = frozenset({
    "Conv", "ConvTranspose", "Relu", "Sigmoid", "Tanh", "Clip", "LeakyRelu", "PRelu", "Add", "Sum", "Sub",
    "Mul", "Max", "Min", "Concat", "BatchNormalization", "LRN", "MaxPool", "AveragePool", "Resize",
})
ORIN = ANY | {
    "Div", "Pow", "Equal", "Greater", "Less", "Softmax", "Abs", "Sin", "Cos", "Atan", "Slice", "Transpose",
    "Reshape", "ReduceMax",
}
# Not work: constants are folded, these pass their input on.
FREE = frozenset({"Constant", "Identity", "Dropout", "QuantizeLinear", "DequantizeLinear"})
# fmt: on


@dataclass(frozen=True)
class Share:
    """How much of a graph the DLA could take."""

    nodes: int
    """Those that are work."""
    on_dla: int
    pieces: int
    """Stretches of nodes that follow one another there."""
    fallback: Mapping[str, int]
    """What the GPU would take, by operator, the most frequent first."""


def estimate(graph: Graph, compute_capability: tuple[int, int] | None) -> Share:
    """What could run there by NVIDIA's list."""
    taken = ORIN if (compute_capability or (0, 0)) >= (8, 0) else ANY
    work = [node for node in graph.nodes if node.op not in FREE]
    places = [_fits(graph, node, taken) for node in work]
    pieces = sum(here and not before for here, before in zip(places, [False, *places], strict=False))
    fallback = Counter(node.op for node, here in zip(work, places, strict=True) if not here)
    return Share(len(work), sum(places), pieces, dict(fallback.most_common()))


def _fits(graph: Graph, node: Node, taken: frozenset[str]) -> bool:
    value = graph.value(node.outputs[0] if node.outputs else "")
    if node.op not in taken or value.open or len(value.shape or ()) != 4:
        return False
    sizes = {
        "Conv": (32, 8),
        "ConvTranspose": (32, 8),
        "MaxPool": (8, 16),
        "AveragePool": (8, 16),
    }
    if node.op in sizes:
        kernel, stride = sizes[node.op]
        if max([1, *node.integers("kernel_shape")]) > kernel or max([1, *node.integers("strides")]) > stride:
            return False
    if node.op == "ConvTranspose":
        plain = node.integer("group", 1) == 1 and not any(node.integers("pads"))
        return plain and max([1, *node.integers("dilations")]) == 1
    if node.op == "Concat":
        return node.attributes.get("axis") in (1, -3)
    return not (node.op == "Resize" and node.attributes.get("mode") == "cubic")
