"""Operators that look values up by position: gather, top-k, sampling, unpooling."""

from __future__ import annotations

from jetpress.pipeline.network.channels.labels import Call, Value, outside, outsides


def gather(call: Call) -> Value:
    """The axis that is looked along stays. Along the others index and tensor meet: each index has its channel."""
    axes, index = call.axes("self"), call.axes("index")
    dim = call.dimension("dim", len(axes))
    call.fix(axes[dim], index[dim])
    for k, axis in enumerate(index):
        if k != dim:
            call.unite(axes[k][: len(axis)], axis)
    return [outside(len(axis)) if k == dim else axis for k, axis in enumerate(index)]


def ranked(call: Call) -> Value:
    """Values in order, and their positions: the axis that is ordered stays."""
    axes, name = call.axes("self"), "dim" if "dim" in call.arguments else "axis"
    dim = call.dimension(name, len(axes))
    call.fix(axes[dim])
    results = [
        [outside(shape[dim]) if k == dim else axis for k, axis in enumerate(axes)] for shape in call.shapes
    ]
    return results if len(results) > 1 else results[0]


def grid_sampler(call: Call) -> Value:
    """Positions come from a grid: its axes stay, channels pass."""
    batch, channels, *_ = call.planes(len(call.axes("input")) - 2)
    call.fix(batch, *call.axes("grid"))
    return [batch, channels, *outsides(call.shapes[0][2:])]


def unpool(call: Call) -> Value:
    """Every channel has indices of its own."""
    spatial = 3 if "3d" in call.name else 2
    axes, indices = call.planes(spatial), call.axes("indices")
    for a, b in zip(axes, indices, strict=True):
        call.unite(a, b)
    return [*axes[:-spatial], *outsides(call.shapes[0][-spatial:])]
