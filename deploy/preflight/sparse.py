"""Which layers of a graph TensorRT could run with 2:4 sparse kernels, and where these can be faster.

Its rule: in a convolution's kernel [K, C, R, S] at least 2 of every 4 consecutive *input channels* are
zero, for each k, r and s, and C is a multiple of 4; in a matrix product the 4 run along the reduction axis
(TensorRT developer guide, "Structured Sparsity"; polygraphy's ``sparse.py``). In a grouped convolution the channels are
those of one group. Weights are followed through Q/DQ, Cast, Identity and Transpose, as TensorRT does: a float
constant behind Q and DQ and an integer one behind DQ are both found.

NVIDIA's engineers see a gain from about 256 products an output on (TensorRT #4065, #3849) and none in grouped
convolutions (#4054); TensorRT times both kernels and takes the faster.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from jetpress.deploy.preflight.graph import Array, Graph
from jetpress.deploy.preflight.node import Node
from jetpress.deploy.targets import Target

GROUP, KEPT = 4, 2
PAYS_FROM = 256
AT_ONCE = 2**22
"""Elements looked at in one step: weights lie in files and may be larger than memory."""


@dataclass(frozen=True)
class Layers:
    """How many layers with constant weights a graph has, and what 2:4 could do for them."""

    layers: int
    """All of them."""
    could_be: int
    """Their shape fits."""
    are: int
    """Follow the pattern."""
    can_pay: int
    """Are, and can be faster for it."""
    why_not: str
    """Why the target has no sparse kernels; empty where it has."""


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


@dataclass(frozen=True)
class Weight:
    """A constant that a convolution or a matrix product multiplies by."""

    name: str
    node: Node
    array: Array
    """Turned as it is used, and zero where it multiplies as zero."""
    axis: int
    """That of the reduction."""

    @property
    def channels(self) -> int:
        """Length of the reduction axis."""
        return int(self.array.shape[self.axis])

    @property
    def groups(self) -> int:
        """Of the convolution; 1 for products."""
        return (self.node.integer("group", 1) or 1) if self.node.op == "Conv" else 1


def count(graph: Graph, target: Target, precision: str) -> Layers:
    """The layers of a graph, for a target that computes in ``precision``."""
    total = could_be = are = can_pay = 0
    pays = target.sparse_tensor_cores and precision != "fp32"
    for weight in weights(graph):
        total += 1
        if weight.channels % GROUP:
            continue
        could_be += 1
        if not is_2_4(weight.array, weight.axis):
            continue
        are += 1
        shape = weight.array.shape
        products = weight.array.size // shape[0] if len(shape) > 2 else weight.channels
        can_pay += pays and not why_no_gain(products, weight.groups)
    return Layers(total, could_be, are, can_pay, target.why_not_sparse)


def layers(graph: Graph, kept: int = KEPT, group: int = GROUP) -> list[SparseLayer]:
    """Every Conv, Gemm and MatMul with constant weights, in the order of the graph; for studies also other N:M."""
    return [_layer(weight, kept, group) for weight in weights(graph)]


def _layer(weight: Weight, kept: int, group: int) -> SparseLayer:
    why, eligible = "", False
    if weight.groups > 1 and weight.channels == 1:
        why = "depthwise: one input channel for each output"
    elif weight.channels % group:
        why = f"{weight.channels} input channels are not a multiple of {group}"
    else:
        eligible = True
        dense = crowded(weight.array, weight.axis, kept, group)
        of = weight.array.size // group
        why = f"{dense} of {of} groups of {group} hold more than {kept} weights" if dense else ""
    return SparseLayer(weight.name, weight.node.name, eligible, not why, why)


def why_no_gain(products: int, groups: int = 1) -> str:
    """Why a 2:4 layer will hardly be faster on any GPU; empty where it may be.

    Args:
        products: that each output sums: input channels (of its group) times kernel positions.
        groups: of the convolution.
    """
    if groups > 1:
        return "a grouped convolution: TensorRT has no sparse kernels for it"
    if products < PAYS_FROM:
        return f"each output sums {products} products, fewer than {PAYS_FROM}: sparse kernels do not pay"
    return ""


def is_2_4(weight: Array, axis: int) -> bool:
    """Whether of every 4 consecutive entries along ``axis`` 2 are zero, and not all entries are."""
    return not any(over.any() for over in _over(weight, axis, KEPT, GROUP)) and bool(np.any(weight))


def crowded(weight: Array, axis: int, kept: int = KEPT, group: int = GROUP) -> int:
    """How many groups of 4 consecutive entries along ``axis`` hold more than 2 that are not zero (or M and N)."""
    return sum(int(over.sum()) for over in _over(weight, axis, kept, group))


def _over(weight: Array, axis: int, kept: int, group: int) -> Iterator[Array]:
    """Which groups hold too many: of one row first, where dense weights are known by, then of some rows at a time."""
    rows = np.moveaxis(weight, axis, -1)
    step = max(1, AT_ONCE // max(1, rows[0].size)) if len(rows) else 1
    for start, end in pairwise([0, *range(1, len(rows), step), len(rows)] if len(rows) else []):
        lanes = rows[start:end] != 0
        yield lanes.reshape(*lanes.shape[:-1], -1, group).sum(-1) > kept


def weights(graph: Graph) -> Iterator[Weight]:
    """Of every convolution and matrix product that has a constant one."""
    for node in graph.nodes:
        for index, axis in operands(node):
            array = graph.array(node.input(index))
            if array is None or array.ndim < 2:
                continue
            name, passed = node.input(index), graph.through(node.input(index))
            for between in reversed(passed):
                array = _passed(graph, between, array)
            yield Weight(passed[-1].inputs[0] if passed else name, node, array, axis)
            break


def _passed(graph: Graph, node: Node, array: Array) -> Array:
    """What a node between a constant and its use makes of its zeros."""
    if node.op == "Transpose":
        return np.transpose(array, node.integers("perm") or None)
    point = graph.array(node.input(2)) if node.op == "DequantizeLinear" and node.input(2) else None
    if point is None or array.dtype.kind not in "iu" or not np.any(point):
        return array
    shape = [1] * array.ndim
    if point.size > 1:  # one for each channel
        shape[node.integer("axis", 1)] = point.size
    return array.astype(np.int32) - point.astype(np.int32).reshape(shape)


def operands(node: Node) -> list[tuple[int, int]]:
    """``(input, reduction axis)`` of every input that may be the weight."""
    if node.op == "Conv":
        return [(1, 1)]
    if node.op == "MatMul":
        return [(1, -2), (0, -1)]
    if node.op == "Gemm":
        turned = node.attributes.get
        return [(1, 1 if turned("transB") else 0), (0, 0 if turned("transA") else 1)]
    return []
