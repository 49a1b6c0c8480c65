"""How much of a network a deep learning accelerator (DLA) could take; the GPU runs the rest.

An estimate from NVIDIA's list "DLA supported layers and restrictions" (TensorRT developer guide 8.x to 10.7, and the
page of that name of 11.x): FP16 or INT8, fixed shapes, four dimensions. TensorRT decides when it builds, and every
change between the two costs a copy. Which layers came with which 8.x was not found: Orin's are those since 8.4, the
first with an Orin.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import groupby

from jetpress.deploy.preflight.graph import Graph
from jetpress.deploy.preflight.node import Node
from jetpress.deploy.targets import version_of

# fmt: off
ANY = frozenset({
    "Conv", "ConvTranspose", "Relu", "Sigmoid", "Tanh", "Clip", "LeakyRelu", "PRelu", "Add", "Sum", "Sub",
    "Mul", "Max", "Min", "Concat", "BatchNormalization", "LRN", "MaxPool", "AveragePool", "Resize",
})
ORIN = ANY | {
    "Div", "Pow", "Equal", "Greater", "Less", "Softmax", "Abs", "Sin", "Cos", "Atan", "Slice", "Transpose",
    "Reshape", "ReduceMax",
}
# Of the page of 11.x: in INT8 alone, so not in what the graph computes in FP16 or FP32.
COMPARISONS = frozenset({"Equal", "Greater", "Less"})
# Not work: constants are folded, these pass their input on.
FREE = frozenset({"Constant", "Identity", "Dropout", "QuantizeLinear", "DequantizeLinear"})
# fmt: on


LITTLE_KNOWN_SINCE, LITTLE_KNOWN = (
    (11, 0),
    "an estimate; of TensorRT 11's DLA NVIDIA's list of layers alone was read",
)
"""Of 11.4.1, the first with one again: its limits on memory pools and on 2:4 were not."""
MOST_BATCH, MOST_SIZE, MOST_LOADABLES = 4096, 8192, 16
"""Product of all dimensions before the last three; each of those three; loadables of one core."""


def taken_by(tensorrt: str, compute_capability: tuple[int, int] | None) -> frozenset[str]:
    """The operators that the DLA of a board takes through this TensorRT."""
    version = version_of(tensorrt)
    if (compute_capability or (0, 0)) < (8, 0) or version < (8, 4):
        return ANY
    return ORIN - COMPARISONS if version >= (11, 0) else ORIN


@dataclass(frozen=True)
class Share:
    """How much of a graph the DLA could take."""

    nodes: int
    """Those that are work."""
    on_dla: int
    """Nodes that it could take."""
    pieces: int
    """Stretches of nodes that follow one another there; the largest 16 where there are more (`MOST_LOADABLES`)."""
    fallback: Mapping[str, int]
    """What the GPU would take, by operator, the most frequent first."""


def estimate(graph: Graph, compute_capability: tuple[int, int] | None, tensorrt: str) -> Share:
    """What could run there by NVIDIA's list."""
    taken = taken_by(tensorrt, compute_capability)
    work = [node for node in graph.nodes if node.op not in FREE]
    stretches = [list(nodes) for here, nodes in groupby(work, lambda node: _fits(graph, node, taken)) if here]
    loaded = sorted(stretches, key=len, reverse=True)[:MOST_LOADABLES]
    there = {id(node) for nodes in loaded for node in nodes}
    fallback = Counter(node.op for node in work if id(node) not in there)
    return Share(len(work), len(there), len(loaded), dict(fallback.most_common()))


def _fits(graph: Graph, node: Node, taken: frozenset[str]) -> bool:
    value = graph.value(node.outputs[0] if node.outputs else "")
    shape = [size or 0 for size in value.shape or ()]
    if node.op not in taken or value.open or len(shape) != 4:
        return False
    if shape[0] > MOST_BATCH or max(shape[1:]) > MOST_SIZE:
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
