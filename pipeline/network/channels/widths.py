"""The arguments that hold a width, and what they are once channels are gone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, cast

from torch import fx

from jetpress.pipeline.network.channels.labels import Axes, Call, Count, outsides
from jetpress.pipeline.network.channels.moves import bounds

Changes = dict[str, Any]
"""Argument name -> its new value."""


Resize = Callable[[Call, Count], Changes]


def _axes(call: Call) -> Axes:
    return cast("Axes", call.result)


def _counted(sizes: Sequence[Any], axes: Axes, count: Count) -> list[Any]:
    """Sizes that are numbers, counted anew; -1 and sizes computed from the batch stay."""
    return [
        s if isinstance(s, fx.Node) or s == -1 else count(axis) for s, axis in zip(sizes, axes, strict=True)
    ]


def resize_view(call: Call, count: Count) -> Changes:
    """A size computed from the batch becomes -1 where that is possible: a width may be part of it."""
    name = "size" if "size" in call.arguments else "shape"
    sizes = _counted(call.arguments[name], _axes(call), count)
    symbols = [k for k, size in enumerate(sizes) if isinstance(size, fx.Node)]
    if symbols and -1 not in sizes:
        sizes[symbols[0]] = -1
    return {name: sizes}


def resize_unflatten(call: Call, count: Count) -> Changes:
    """Sizes of the new axes."""
    dim = call.dimension("dim", len(call.axes("self")))
    sizes = call.arguments["sizes"]
    axes = _axes(call)[dim : dim + len(sizes)]
    return {"sizes": _counted(sizes, axes, count)}


def resize_created(call: Call, count: Count) -> Changes:
    """Sizes of what is created or expanded."""
    return {"size": _counted(call.arguments["size"], _axes(call), count)}


def resize_repeat(call: Call, count: Count) -> Changes:
    """An axis of size 1 is repeated as often as channels are left."""
    name = "repeats" if "repeats" in call.arguments else "dims"
    times, axes = call.arguments[name], call.axes("self")
    old = [*outsides([1] * (len(times) - len(axes))), *axes]
    return {
        name: [
            count(new) if len(axis) == 1 and not isinstance(n, fx.Node) else n
            for n, axis, new in zip(times, old, _axes(call), strict=True)
        ]
    }


def resize_split(call: Call, count: Count) -> Changes:
    """Sizes of the pieces."""
    pieces = cast("list[Axes]", call.result)
    dim = call.dimension("dim", len(pieces[0]))
    sizes = [count(piece[dim]) for piece in pieces]
    name = "split_sizes" if "split_sizes" in call.arguments else "split_size"
    return {name: sizes[0] if isinstance(call.arguments[name], int) else sizes}


def resize_select(call: Call, count: Count) -> Changes:
    """How many before the index are left."""
    axes = call.axes("self")
    axis, position = axes[call.dimension("dim", len(axes))], call.arguments["index"]
    return {"index": count(axis[: position % len(axis)]) if isinstance(position, int) else position}


def resize_slice(call: Call, count: Count) -> Changes:
    """An end at or beyond the last index may stay: it means "to the end"."""
    axes, ends = call.axes("self"), bounds(call)
    axis = axes[call.dimension("dim", len(axes))]
    if ends is None or count(axis) == len(axis):
        return {}
    start, end, step = ends
    changes = {"start": count(axis[:start])} if start and step == 1 else {}
    return changes | ({"end": count(axis[:end])} if end < len(axis) else {})


def resize_narrow(call: Call, count: Count) -> Changes:
    """Start and length."""
    axes, ends = call.axes("self"), bounds(call)
    axis = axes[call.dimension("dim", len(axes))]
    if ends is None or count(axis) == len(axis):
        return {}
    return {"start": count(axis[: ends[0]]), "length": count(axis[ends[0] : ends[1]])}


def resize_pad(call: Call, count: Count) -> Changes:
    """Padded channels that are left, before and after."""
    amounts, axes = list(call.arguments["pad"]), _axes(call)
    for k in range(len(amounts) // 2):
        before, after = amounts[2 * k : 2 * k + 2]
        axis = axes[-1 - k]
        if before > 0:
            amounts[2 * k] = count(axis[:before])
        if after > 0:
            amounts[2 * k + 1] = count(axis[-after:])
    return {"pad": amounts}
