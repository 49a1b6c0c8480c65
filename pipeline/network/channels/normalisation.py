"""What normalises channels does to them."""

from __future__ import annotations

from jetpress.pipeline.network.channels import widths
from jetpress.pipeline.network.channels.labels import (
    Call,
    Count,
    Value,
)


def channel_norm(call: Call) -> Value:
    """BatchNorm and InstanceNorm: one statistic per channel."""
    x = call.axes("input")
    for name in ("weight", "bias", "running_mean", "running_var"):
        if (axes := call.optional(name)) is not None:
            call.unite(axes[0], x[1])
    return x


def prelu(call: Call) -> Value:
    """One slope per channel, or one for all."""
    x = call.axes("self")
    slope = call.axes("weight")[-1]
    if len(slope) > 1:
        call.unite(slope, x[min(1, len(x) - 1)])
    return x


def layer_norm(call: Call) -> Value:
    """Normalised axes keep their labels; scale and shift go along."""
    x = call.axes("input")
    for name in ("weight", "bias"):
        if (axes := call.optional(name)) is not None:
            for a, b in zip(axes, x[-len(axes) :], strict=True):
                call.unite(a, b)
    return x


def group_norm(call: Call) -> Value:
    """Either whole groups go, or the same channels of every group: whichever is the finer."""
    x, groups = call.axes("input"), call.arguments["num_groups"]
    for name in ("weight", "bias"):
        if (axes := call.optional(name)) is not None:
            call.unite(axes[0], x[1])
    matrix = x[1].reshape(groups, -1)
    call.whole = groups > matrix.shape[1]
    call.unite(matrix, matrix[:, :1] if call.whole else matrix[:1])
    return x


def softmax(call: Call) -> Value:
    """Over channels it is the softmax over those that are left."""
    return call.axes("self")


def resize_groups(call: Call, count: Count) -> widths.Changes:
    """Groups that go, go whole; else their number stays."""
    name = "num_groups" if call.name == "group_norm" else "groups"
    groups, channels = int(call.arguments[name]), call.axes("input")[1]
    return {name: count(channels) * groups // len(channels) if call.whole else groups}


def resize_layer_norm(call: Call, count: Count) -> widths.Changes:
    """The sizes that are normalised over."""
    rank = len(call.arguments["normalized_shape"])
    return {"normalized_shape": [count(axis) for axis in call.axes("input")[-rank:]]}
