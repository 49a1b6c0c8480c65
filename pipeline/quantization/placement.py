"""Which tensors get Q/DQ, and for which of their readers.

TensorRT fuses Conv, Add and ReLU into one INT8 kernel when the inputs of the convolution and the shortcut come from
Q/DQ and nothing stands between the fused nodes (developer guide, "Q/DQ placement recommendations"). So: the input and
the weight of every layer, and of an Add the branch that is not the convolution's own. Q/DQ of a Concat's result
move into its inputs by themselves.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

import onnx_ir as ir

from jetpress.pipeline.quantization.dialect import FP8, Dialect

WEIGHTED = ("Conv", "ConvTranspose", "Gemm", "MatMul")
ABSORBED = ("Relu", "Clip")
"""Part of the layer before them."""
COMPUTED = ("Add", "Mul", "Concat", "AveragePool", "GlobalAveragePool", "Sigmoid", "LeakyRelu")
"""What ONNX Runtime also computes in INT8 on a CPU."""
MOVED = ("MaxPool", "Reshape", "Flatten", "Transpose", "Squeeze", "Unsqueeze")
"""What only moves numbers: the result has the range of the input."""

Edge = tuple[ir.Node, int]


@dataclass(frozen=True)
class Layer:
    """A node with constant weights."""

    node: ir.Node
    weight: ir.Value
    axis: int | None
    """Of the output channels in the weight; None where groups share it."""

    @property
    def name(self) -> str:
        """Of the node: the PyTorch module and the operator."""
        return self.node.name or ""

    @property
    def input(self) -> ir.Value:
        """The activation that it reads."""
        return next(one for one in self.node.inputs if one is not None and one is not self.weight)


@dataclass
class Placement:
    """What is to be quantized."""

    layers: list[Layer]
    activations: dict[ir.Value, list[Edge]] = field(default_factory=dict)
    """Value -> who reads it quantized."""
    ranges: dict[ir.Value, ir.Value] = field(default_factory=dict)
    """Value -> the one whose range it has; itself where it is not listed."""


def layers(graph: ir.Graph) -> list[Layer]:
    """Every layer with constant FP32 weights of two or more dimensions, in the order of the graph."""
    return [found for node in graph if (found := _layer(node)) is not None]


def _layer(node: ir.Node) -> Layer | None:
    if node.domain or node.op_type not in WEIGHTED or node.inputs[0] is None:
        return None
    weight = node.inputs[1]
    if weight is None or weight.const_value is None or weight.dtype != ir.DataType.FLOAT:
        return None
    shape = weight.const_value.shape
    if node.inputs[0].const_value is not None or len(shape) < 2:
        return None
    group = node.attributes["group"].as_int() if "group" in node.attributes else 1
    transposed = "transB" in node.attributes and node.attributes["transB"].as_int()
    axis: int | None = 0
    if node.op_type == "ConvTranspose":
        axis = 1 if group == 1 else None
    elif node.op_type == "MatMul":
        axis = len(shape) - 1
    elif node.op_type == "Gemm":
        axis = 0 if transposed else 1
    return Layer(node, weight, axis)


def kept(found: Iterable[Layer], patterns: Collection[str]) -> set[str]:
    """Names of the layers that a pattern means: by weight (``layer4.*``) or by node (``*/Gemm``)."""
    return {
        one.name
        for one in found
        if any(fnmatchcase(name, p) for p in patterns for name in (one.weight.name or "", one.name))
    }


def unfit(found: Iterable[Layer], dialect: Dialect) -> set[str]:
    """Names of the layers that TensorRT has no FP8 kernel for, or one that is slower than in FP16.

    The rules are NVIDIA's own (ModelOpt 0.47, ``modelopt.onnx.quantization.graph_utils``): convolutions with more than
    16 outputs, more than 16 inputs in a group and at most 32 places in the filter; products with 16 and more
    on each side.
    """
    return {one.name for one in found if dialect.numbers is FP8 and not _fits_fp8(one)}


def _fits_fp8(layer: Layer) -> bool:
    assert layer.weight.const_value is not None
    shape = layer.weight.const_value.numpy().shape
    if layer.node.op_type == "Conv":
        return min(shape[:2]) > 16 and math.prod(shape[2:]) <= 32
    return layer.node.op_type in ("Gemm", "MatMul") and min(shape[-2:]) >= 16


def place(
    graph: ir.Graph, dialect: Dialect, without: Collection[str], sparse: Collection[str] = ()
) -> Placement:
    """Where Q/DQ go.

    Args:
        graph: in FP32, shapes inferred.
        without: names of layers that stay as they are.
        sparse: names of layers whose output stays INT8: TensorRT then has sparse INT8 kernels for them.
    """
    found = Placement([one for one in layers(graph) if one.name not in without])
    return _everywhere(graph, found) if dialect.everywhere else _before_layers(graph, found, sparse)


def ranged(
    graph: ir.Graph, dialect: Dialect, without: Collection[str], sparse: Collection[str] = ()
) -> set[ir.Value]:
    """Every activation that :func:`place` may quantize, also when more layers stay as they are than ``without``."""
    found = place(graph, dialect, without, sparse)
    # A moved tensor has a range of its own where nothing before it is quantized.
    values = {one for value in found.activations for one in (value, found.ranges.get(value, value))}
    if not dialect.everywhere:
        inside = {one.node for one in found.layers}
        order = {node: number for number, node in enumerate(graph)}
        for node in graph:
            if _shortcut(node, inside, order) is not None:
                # Which of two convolutions is fused with the Add depends on which of them are INT8.
                values |= {one for one in node.inputs if one is not None}
    return values


def _before_layers(graph: ir.Graph, found: Placement, sparse: Collection[str]) -> Placement:
    """As TensorRT fuses."""
    inside = {one.node for one in found.layers}
    for layer in found.layers:
        _add(found, layer.input, [(layer.node, list(layer.node.inputs).index(layer.input))])
    order = {node: number for number, node in enumerate(graph)}
    for node in graph:
        if (shortcut := _shortcut(node, inside, order)) is not None:
            _add(found, node.inputs[shortcut], [(node, shortcut)])
    for layer in found.layers:
        if layer.name in sparse and not (out := _result(layer.node)).is_graph_output():
            _add(found, out, [(use.node, use.idx) for use in out.uses()])
    return found


def _shortcut(node: ir.Node, inside: Collection[ir.Node], order: dict[ir.Node, int]) -> int | None:
    """Which input of a residual Add is not the convolution that it is fused with."""
    if node.op_type != "Add" or any(one is None or one.const_value is not None for one in node.inputs):
        return None
    producers = [one.producer() if one is not None and len(one.uses()) == 1 else None for one in node.inputs]
    fused = [at for at, one in enumerate(producers) if one in inside]
    if not fused or (node.inputs[0].shape != node.inputs[1].shape):  # type: ignore[union-attr]
        return None
    return 1 - max(fused, key=lambda at: order[producers[at]])  # type: ignore[index]


def _everywhere(graph: ir.Graph, found: Placement) -> Placement:
    """As ONNX Runtime fuses: each node between quantized tensors."""
    inside = {one.node for one in found.layers}
    touched = dict[ir.Value, None]()
    for node in graph:
        if node in inside:
            touched |= dict.fromkeys([node.inputs[0], _result(node)])  # type: ignore[list-item]
    for node in graph:
        if node.op_type in COMPUTED and any(one in touched for one in node.inputs):
            reads = [one for one in node.inputs if one is not None and one.dtype == ir.DataType.FLOAT]
            if all(one.const_value is None for one in reads):
                touched |= dict.fromkeys([*reads, _result(node)])
        elif node.op_type in MOVED and node.inputs[0] in touched and len(node.outputs) == 1:
            touched[node.outputs[0]] = None
            found.ranges[node.outputs[0]] = found.ranges.get(node.inputs[0], node.inputs[0])
    for value in touched:
        if not value.is_graph_output() and value.uses():
            _add(found, value, [(use.node, use.idx) for use in value.uses()])
    return found


def _result(node: ir.Node) -> ir.Value:
    """What a node gives, behind the activation that is fused into it."""
    value = node.outputs[0]
    uses = list(value.uses())
    if (
        len(uses) == 1
        and uses[0].node.op_type in ABSORBED
        and uses[0].idx == 0
        and not value.is_graph_output()
    ):
        return uses[0].node.outputs[0]
    return value


def _add(found: Placement, value: ir.Value | None, edges: list[Edge]) -> None:
    if value is None or value.dtype != ir.DataType.FLOAT or value.const_value is not None:
        return
    known = found.activations.setdefault(value, [])
    known += [edge for edge in edges if edge not in known]


def elements(value: ir.Value) -> int:
    """Elements of a value with every open dimension taken as 1."""
    return math.prod(d if isinstance(d, int) else 1 for d in value.shape or ())
