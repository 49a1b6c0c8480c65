"""Operators that move channels without computing: a rule gives the labels of the result."""

from __future__ import annotations

import math

import numpy as np
from torch import fx

from jetpress.pipeline.network.channels.labels import Call, NoRuleError, Value, outside, outsides


def reshape(call: Call) -> Value:
    """Row-major: axes are merged and split; see :meth:`Labels.reshape`."""
    return call.labels.reshape(call.axes("self"), call.shapes[0], call.reason)


def permute(call: Call) -> Value:
    """Axes in another order."""
    axes = call.axes("self")
    return [axes[k] for k in call.arguments["dims"]]


def transpose(call: Call) -> Value:
    """Two axes change places."""
    axes = list(call.axes("self"))
    names = ("dim0", "dim1") if "dim0" in call.arguments else ("axis0", "axis1")
    a, b = (call.dimension(name, len(axes)) for name in names)
    axes[a], axes[b] = axes[b], axes[a]
    return axes


def transpose_last(call: Call) -> Value:
    """The last two axes change places."""
    *rest, a, b = call.axes("self")
    return [*rest, b, a]


def movedim(call: Call) -> Value:
    """Axes move to new positions."""
    axes = call.axes("self")
    source, target = (
        [x] if isinstance(x := call.arguments[n], int) else x for n in ("source", "destination")
    )
    order = np.moveaxis(np.empty(range(2, 2 + len(axes))), source, target).shape
    return [axes[size - 2] for size in order]


def flip(call: Call) -> Value:
    """The labels turn around with the channels."""
    axes = list(call.axes("self"))
    for k in call.arguments["dims"]:
        axes[k] = axes[k][::-1]
    return axes


def roll(call: Call) -> Value:
    """Rolled axes stay: what wraps around would move."""
    axes = call.axes("self")
    call.fix(*([axes[k] for k in call.arguments["dims"]] or axes))
    return axes


def cat(call: Call) -> Value:
    """Labels in a row; the other axes meet."""
    tensors = [axes for axes in call.tensors("tensors") if [len(a) for a in axes] != [0]]
    dim = call.dimension("dim", len(tensors[0]))
    for axes in tensors[1:]:
        for k, axis in enumerate(axes):
            if k != dim:
                call.unite(tensors[0][k], axis)
    result = list(tensors[0])
    result[dim] = np.concatenate([axes[dim] for axes in tensors])
    return result


def stack(call: Call) -> Value:
    """A new axis without channels; the others meet."""
    tensors = call.tensors("tensors")
    for axes in tensors[1:]:
        for a, b in zip(tensors[0], axes, strict=True):
            call.unite(a, b)
    dim = call.dimension("dim", len(tensors[0]) + 1)
    return [*tensors[0][:dim], outside(len(tensors)), *tensors[0][dim:]]


def split(call: Call) -> Value:
    """Pieces of equal size keep equal sizes: channel i of each goes with channel i of the others."""
    axes = call.axes("self")
    dim = call.dimension("dim", len(axes))
    sizes = [shape[dim] for shape in call.shapes]
    ends = np.cumsum(sizes)
    pieces = [axes[dim][end - size : end] for end, size in zip(ends, sizes, strict=True)]
    if "split_sizes" not in call.arguments and len(set(sizes)) > 1:
        call.fix(axes[dim])  # chunk(3) of 64: 22, 22, 20
    for i, piece in enumerate(pieces):
        twin = next(other for other in pieces if len(other) == len(piece))
        if twin is not pieces[i]:
            call.unite(twin, piece)
    return [[*axes[:dim], piece, *axes[dim + 1 :]] for piece in pieces]


def unbind(call: Call) -> Value:
    """The axis that is taken apart stays."""
    axes = call.axes("self")
    dim = call.dimension("dim", len(axes))
    call.fix(axes[dim])
    return [axes[:dim] + axes[dim + 1 :] for _ in call.shapes]


def select(call: Call) -> Value:
    """The index that is read stays; the others of its axis may go."""
    axes = call.axes("self")
    dim = call.dimension("dim", len(axes))
    index = call.arguments["index"]
    call.fix(axes[dim][[index]] if isinstance(index, int) else axes[dim])
    return axes[:dim] + axes[dim + 1 :]


def slice_(call: Call) -> Value:
    """A contiguous piece stays contiguous. Of every n-th channel, whole blocks of n go."""
    axes = list(call.axes("self"))
    dim = call.dimension("dim", len(axes))
    axis, ends = axes[dim], bounds(call)
    if ends is None:
        call.fix(axis)
        axes[dim] = outside(call.shapes[0][dim])
        return axes
    start, end, step = ends
    if step > 1 and (start >= step or end < len(axis) or len(axis) % step):
        call.fix(axis)
    elif step > 1:
        blocks = axis.reshape(-1, step)
        call.unite(blocks, blocks[:, :1])
    axes[dim] = axis[start:end:step]
    return axes


def bounds(call: Call) -> tuple[int, int, int] | None:
    """Start, end and step of a slice, counted from 0; None where they depend on the batch."""
    axes = call.axes("self")
    size = len(axes[call.dimension("dim", len(axes))])
    start, end = call.arguments["start"], call.arguments.get("end")
    if isinstance(start, fx.Node) or isinstance(end, fx.Node):
        return None
    if (length := call.arguments.get("length")) is not None:
        return (start % size, start % size + length, 1) if isinstance(length, int) else None
    return slice(start, end, call.arguments["step"]).indices(size)


def expand(call: Call) -> Value:
    """What is repeated from one index takes the labels of whatever it will meet."""
    axes, shape = call.axes("self"), call.shapes[0]
    old = [*outsides([1] * (len(shape) - len(axes))), *axes]
    return [a if len(a) == size else call.labels.fresh(size) for a, size in zip(old, shape, strict=True)]


def repeat(call: Call) -> Value:
    """Whole copies in a row: each index goes in all copies."""
    axes, shape = call.axes("self"), call.shapes[0]
    old = [*outsides([1] * (len(shape) - len(axes))), *axes]
    return [
        a if len(a) == size else call.labels.fresh(size) if len(a) == 1 else np.tile(a, size // len(a))
        for a, size in zip(old, shape, strict=True)
    ]


def repeat_interleave(call: Call) -> Value:
    """Copies of each index side by side."""
    axes, times, dim = list(call.axes("self")), call.arguments.get("repeats"), call.arguments.get("dim")
    if not isinstance(times, int) or dim is None:
        raise NoRuleError
    axes[dim] = np.repeat(axes[dim], times)
    return axes


def pad(call: Call) -> Value:
    """Padded channels are new ones without a parameter; other modes than a constant copy neighbours."""
    axes, amounts = list(call.axes("self")), call.arguments["pad"]
    constant = call.arguments.get("mode", "constant") == "constant"
    for k in range(len(amounts) // 2):
        before, after = amounts[2 * k : 2 * k + 2]
        axis = axes[-1 - k]
        if before == after == 0:
            continue
        if not call.labels.is_free(axis):
            axes[-1 - k] = outside(call.shapes[0][-1 - k])
        elif constant and before >= 0 and after >= 0:
            new = call.labels.fresh(before + after + 1)
            axes[-1 - k] = np.concatenate([new[:before], axis, new[before : before + after]])
        else:
            call.fix(axis)
            axes[-1 - k] = outside(call.shapes[0][-1 - k])
    return axes


def index(call: Call) -> Value:
    """``x[:, i, j]``: indexed axes stay; the others pass."""
    axes = call.axes("self")
    used = [k for k, i in enumerate(call.arguments["indices"]) if i is not None]
    call.fix(*(axes[k] for k in used))
    rest = [axis for k, axis in enumerate(axes) if k not in used]
    first = used[0] if used == list(range(used[0], used[-1] + 1)) else 0
    new = len(call.shapes[0]) - len(rest)
    return [*rest[:first], *outsides(call.shapes[0][first : first + new]), *rest[first:]]


def index_put(call: Call) -> Value:
    """``x[mask] = y``, ``x[i, j] = y``: the axes that are indexed stay; along the others what is written meets x."""
    axes, values, indices = call.axes("self"), call.axes("values"), call.tensors("indices")
    covered = sum(
        len(one) for one in indices
    )  # of numbers, several axes may index one: then more stays than must
    call.fix(*axes[:covered], *values[: max(0, len(values) - len(axes[covered:]))])
    for one, other in zip(reversed(axes[covered:]), reversed(values), strict=False):
        if len(other) > 1:
            call.unite(one, other)
    return axes


def index_select(call: Call) -> Value:
    """The axis that is indexed stays."""
    axes = list(call.axes("self"))
    dim = call.dimension("dim", len(axes))
    call.fix(axes[dim])
    axes[dim] = outside(call.shapes[0][dim])
    return axes


def embedding(call: Call) -> Value:
    """Rows stay, their channels are new."""
    rows, channels = call.axes("weight")
    call.fix(rows)
    call.produced.append(channels)
    return [*outsides(call.shapes[0][:-1]), channels]


def pixel_shuffle(call: Call) -> Value:
    """Channels become space: blocks of ``factor ** 2`` go together."""
    *batch, channels, _, _ = call.planes(2)
    blocks = channels.reshape(-1, call.arguments["upscale_factor"] ** 2)
    call.unite(blocks, blocks[:, :1])
    return [*batch, blocks[:, 0].copy(), *outsides(call.shapes[0][-2:])]


def pixel_unshuffle(call: Call) -> Value:
    """Space becomes channels: each channel appears ``factor ** 2`` times."""
    *batch, channels, _, _ = call.planes(2)
    return [
        *batch,
        np.repeat(channels, call.arguments["downscale_factor"] ** 2),
        *outsides(call.shapes[0][-2:]),
    ]


def channel_shuffle(call: Call) -> Value:
    """As a reshape to groups, a transposition and back: the same channels of every group go."""
    *batch, channels, _, _ = call.planes(2)
    groups = call.arguments["groups"]
    matrix = channels.reshape(groups, -1)
    call.unite(matrix, matrix[:1])
    return [*batch, matrix.T.ravel(), *outsides(call.shapes[0][-2:])]


def im2col(call: Call) -> Value:
    """Each channel appears once per position of the kernel."""
    batch, channels, *_ = call.planes(2)
    return [batch, np.repeat(channels, math.prod(call.arguments["kernel_size"])), outside(call.shapes[0][-1])]


def col2im(call: Call) -> Value:
    """The inverse of ``im2col``."""
    batch, channels, positions = call.axes("self")
    call.fix(positions)
    blocks = channels.reshape(-1, math.prod(call.arguments["kernel_size"]))
    call.unite(blocks, blocks[:, :1])
    return [batch, blocks[:, 0].copy(), *outsides(call.shapes[0][-2:])]
