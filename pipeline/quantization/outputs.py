"""What counts of the outputs of a file that was given, where nobody says what they mean.

Every number counts as far as it varies: a detector's boxes are hundreds of pixels and its scores below one, and a
plain cosine of both together would not see the scores at all. So each channel (the shortest axis that is longer than
one) has its mean taken off and is divided by its standard deviation, both as FP32 gives them on the same inputs.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

import numpy as np
import onnx

from jetpress.pipeline.graph import session
from jetpress.pipeline.graph.session import Array, Feed

SMALLEST = 1e-6
"""Of the largest value: a channel that varies less is constant."""


@dataclass(frozen=True)
class Channels:
    """One output: its axis of channels, and what they have in common."""

    axis: int
    mean: Array
    """``[channels, 1]``."""
    deviation: Array

    def of(self, output: Array) -> Array:
        """``[numbers]`` that weigh alike."""
        if output.dtype.kind not in "f":
            return np.zeros(0)
        return np.asarray(((_rows(output, self.axis) - self.mean) / self.deviation).ravel())


def balanced(
    proto: onnx.ModelProto, feeds: Sequence[Feed], names: Sequence[str] = ()
) -> Callable[[onnx.ModelProto, Sequence[Feed]], Array]:
    """A function that gives the outputs of graphs like ``proto`` as ``[samples, numbers]``, by what ``proto`` gives.

    ``names`` are the tensors that count; empty: the outputs.
    """
    names = names or [one.name for one in proto.graph.output]
    run = session.load(proto, shown=names)
    seen: dict[str, list[Array]] = {}
    for feed in feeds:
        found = run(feed)
        for name in names:
            seen.setdefault(name, []).append(found[name])
    channels = {name: _channels(arrays) for name, arrays in seen.items()}

    def scores(graph: onnx.ModelProto, some: Sequence[Feed]) -> Array:
        every = map(session.load(graph, shown=names), some)
        return np.stack([np.concatenate([channels[name].of(one[name]) for name in names]) for one in every])

    return scores


def _channels(arrays: Sequence[Array]) -> Channels:
    shape = arrays[0].shape
    longer = [axis for axis, size in enumerate(shape) if size > 1]
    axis = min(longer, key=lambda one: (shape[one], -one), default=len(shape) - 1)
    together = np.concatenate([_rows(one, axis) for one in arrays], axis=1)
    deviation = together.std(axis=1, keepdims=True)
    least = SMALLEST * float(np.abs(together).max(initial=0))
    flat = deviation <= least
    return Channels(
        axis, together.mean(axis=1, keepdims=True), np.where(flat, max(least, SMALLEST) * 1e3, deviation)
    )


def _rows(output: Array, axis: int) -> Array:
    """``[channels, numbers]``; one row where there are no axes."""
    if not output.ndim:
        return output.reshape(1, 1).astype(np.float64)
    return np.moveaxis(output.astype(np.float64), axis, 0).reshape(output.shape[axis], -1)


def last(proto: onnx.ModelProto, names: Collection[str]) -> list[str]:
    """Layers that no other of ``names`` comes after: what they compute is the file's own answer.

    A detector's boxes need more than eight bits leave (their error is a share of the whole range of offsets), and
    these layers are a small part of the work.
    """
    producers = {name: node for node in proto.graph.node for name in node.output}
    todo, seen, found = [one.name for one in proto.graph.output], set[str](), list[str]()
    while todo:
        node = producers.get(todo.pop())
        if node is None or node.output[0] in seen:
            continue
        seen.add(node.output[0])
        if node.name in names:
            found.append(node.name)
        else:
            todo += node.input
    return found
