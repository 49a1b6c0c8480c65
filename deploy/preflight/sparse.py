"""Which layers of a graph TensorRT could run with 2:4 sparse kernels, and where these can be faster.

Its rule: in a convolution's kernel [K, C, R, S] at least 2 of every 4 consecutive *input channels* are
zero, for each k, r and s, and C is a multiple of 4; in a matrix product the 4 run along the reduction axis
(TensorRT developer guide, "Structured Sparsity"; polygraphy's ``sparse.py``). NVIDIA's engineers see a gain
from about 256 products an output on (TensorRT #4065, #3849) and none in grouped convolutions (#4054); TensorRT
times both kernels and takes the faster.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from deploy.preflight.graph import Array, Graph
from deploy.targets import Target

GROUP, KEPT = 4, 2
PAYS_FROM = 256
AT_ONCE = 2**22
"""Elements looked at in one step: weights lie in files and may be larger than memory."""


def count(graph: Graph, target: Target, precision: str) -> dict[str, int]:
    """Layers with constant weights; those whose shape fits; those that are 2:4; those that can be faster."""
    found = {"layers": 0, "could_be": 0, "are": 0, "can_pay": 0}
    pays = target.sparse_tensor_cores and precision != "fp32"
    for weight, axis, groups in _weights(graph):
        channels = weight.shape[axis]
        found["layers"] += 1
        if channels % GROUP:
            continue
        found["could_be"] += 1
        if not is_2_4(weight, axis):
            continue
        found["are"] += 1
        products = weight.size // weight.shape[0] if weight.ndim > 2 else channels
        found["can_pay"] += pays and not why_no_gain(products, groups)
    return found


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
    return crowded(weight, axis) == 0 and bool(np.any(weight))


def crowded(weight: Array, axis: int, kept: int = KEPT, group: int = GROUP) -> int:
    """How many groups of 4 consecutive entries along ``axis`` hold more than 2 that are not zero (or M and N)."""
    rows, found = np.moveaxis(weight, axis, -1), 0
    step = max(1, AT_ONCE // max(1, rows[0].size)) if len(rows) else 1
    for start in range(0, len(rows), step):
        lanes = rows[start : start + step] != 0
        found += int((lanes.reshape(*lanes.shape[:-1], -1, group).sum(-1) > kept).sum())
    return found


def _weights(graph: Graph) -> Iterator[tuple[Array, int, int]]:
    """Every weight as it is stored, its reduction axis, and the groups of its convolution."""
    for node in graph.nodes:
        for index, axis in operands(node.op, node.attributes):
            weight = graph.array(node.input(index))
            if weight is None or weight.ndim < 2:
                continue
            for passed in reversed(graph.through(node.input(index))):
                if passed.op == "Transpose":
                    order = passed.attributes.get("perm") or range(weight.ndim)[::-1]
                    weight = np.transpose(weight, order)
            yield weight, axis, int(node.attributes.get("group") or 1) if node.op == "Conv" else 1
            break


def operands(op: str, attributes: Mapping[str, Any]) -> list[tuple[int, int]]:
    """``(input, reduction axis)`` of every input that may be the weight."""
    if op == "Conv":
        return [(1, 1)]
    if op == "MatMul":
        return [(1, -2), (0, -1)]
    if op == "Gemm":
        return [(1, 1 if attributes.get("transB") else 0), (0, 0 if attributes.get("transA") else 1)]
    return []
