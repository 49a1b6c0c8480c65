"""Channels whose number means something: a softmax over them weighs values that nobody learns.

Distribution focal loss (Li et al., 2020; YOLOv8's and NanoDet's boxes) predicts a distance as the mean of 0, 1, ..., 15
by a softmax over 16 channels: a convolution or product with numbers that are written down. With half of the channels no
distance above 7 can be said, whatever is trained.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from torch import Tensor, fx

from jetpress.pipeline.network.channels.labels import Axes, Call, Indices, Labels

SOFTMAX = "softmax"
WEIGHING = frozenset(
    {
        "convolution",
        "conv1d",
        "conv2d",
        "conv3d",
        "linear",
        "matmul",
        "mm",
        "bmm",
        "mv",
        "mul",
        "addmm",
        "einsum",
    }
)


def fix(labels: Labels, calls: dict[fx.Node, Call], tensors: dict[str, Axes], graph: fx.GraphModule) -> None:
    """Fix the channels of every softmax that weighs constants; all operators are walked."""
    weighed = list(_constants(calls, tensors, graph))
    for call in calls.values():
        axis = _softened(call) if call.name.split(".")[0].strip("_") == SOFTMAX else None
        if axis is None or not labels.is_free(axis):
            continue
        for name, axes in weighed:
            if any(np.isin(labels.find(axis), labels.find(one[one != 0])).any() for one in axes):
                labels.fix(axis, f"a softmax over them weighs {name}, which is not learnt")


def _softened(call: Call) -> Indices:
    axes = call.axes("self")
    return axes[call.dimension("dim", len(axes))]


def _constants(
    calls: dict[fx.Node, Call], tensors: dict[str, Axes], graph: fx.GraphModule
) -> Iterator[tuple[str, Axes]]:
    """Frozen parameters, buffers and numbers that something is multiplied by."""
    for node, call in calls.items():
        if call.name.split(".")[0] in WEIGHING:
            for given in map(_source, node.all_input_nodes):
                name = given.meta.get("name")
                if given.op == "get_attr" and name in tensors and not _tensor(graph, given).requires_grad:
                    yield name, tensors[name]


def _source(node: fx.Node) -> fx.Node:
    """What a value is a view of."""
    while node.op == "call_function" and len(node.all_input_nodes) == 1:
        node = node.all_input_nodes[0]
    return node


def _tensor(graph: fx.GraphModule, node: fx.Node) -> Tensor:
    found: Any = graph
    for part in str(node.target).split("."):
        found = getattr(found, part)
    assert isinstance(found, Tensor)
    return found
