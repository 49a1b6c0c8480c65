"""What is computed index by index: channels that meet go together."""

from __future__ import annotations

from typing import cast

from torch import fx

from jetpress.pipeline.network.channels.labels import (
    Axes,
    Call,
    Indices,
    Value,
    outside,
)


def broadcast(call: Call, tensors: list[Axes], shape: tuple[int, ...]) -> Axes:
    """Aligned at the last axis, equal axes unite; an axis of size 1 takes part in all."""
    result: list[Indices | None] = [None] * len(shape)
    for axes in tensors:
        for k, axis in zip(range(len(shape) - len(axes), len(shape)), axes, strict=True):
            if len(axis) == 1 and shape[k] != 1:
                continue
            if (seen := result[k]) is None:
                result[k] = axis
            else:
                call.unite(seen, axis)
    return [outside(size) if axis is None else axis for axis, size in zip(result, shape, strict=True)]


def pointwise(call: Call) -> Value:
    """Index by index: what meets at an index goes together."""
    nodes = [a for a in call.arguments.values() if isinstance(a, fx.Node)]
    tensors = [cast("Axes", call.values[node]) for node in nodes if call.values.get(node) is not None]
    return broadcast(call, tensors, call.shapes[0])


def glu(call: Call) -> Value:
    """The first half times the sigmoid of the second: channel i of both goes together."""
    axes = list(call.axes("self"))
    dim = call.dimension("dim", len(axes))
    first, second = axes[dim].reshape(2, -1)
    call.unite(first, second)
    axes[dim] = first
    return axes


def cosine_similarity(call: Call) -> Value:
    """What two tensors have in common along an axis: channels that are zero in both take no part."""
    first, second = call.axes("x1"), call.axes("x2")
    rank = max(len(first), len(second))
    dim = call.dimension("dim", rank)
    shape = [1] * rank
    for axes in (first, second):
        for k, axis in enumerate(axes, rank - len(axes)):
            shape[k] = max(shape[k], len(axis))
    result = broadcast(call, [first, second], tuple(shape))
    return result[:dim] + result[dim + 1 :]
