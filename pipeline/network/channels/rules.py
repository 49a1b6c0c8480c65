"""What each operator does to channels: one rule per operator, in the table ``RULES`` at the end.

A rule gets a :class:`Call` and returns the labels of its result. It may move labels, unite them, bring in
those of a weight, or fix them. An operator without a rule fixes all its channels: less is pruned, nothing
breaks.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import numpy as np
from torch import fx

from jetpress.pipeline.network.channels import moves
from jetpress.pipeline.network.channels.labels import (
    Axes,
    Call,
    Count,
    Indices,
    NoRuleError,
    Value,
    outside,
    outsides,
)

Rule = Callable[[Call], Value]


# Elementwise


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


# Products


def convolution(call: Call) -> Value:
    """The weight's input axis meets the channels, its output axis brings new ones."""
    x, weight, groups = call.axes("input"), call.axes("weight"), call.arguments["groups"]
    transposed = "transpose" in call.name
    if len(x) != len(weight):
        raise NoRuleError
    inward, outward = (weight[0], weight[1]) if transposed else (weight[1], weight[0])
    call.fix(*x[2:], *weight[2:])
    call.produced.append(outward)
    if groups == 1:
        call.unite(x[1], inward)
    elif transposed:
        outward = _grouped_transposed(call, x[1].reshape(groups, -1), inward, outward)
    else:
        _grouped(call, x[1].reshape(groups, -1), inward, outward.reshape(groups, -1))
    if (bias := call.optional("bias")) is not None:
        call.unite(bias[0], outward)
    return [x[0], outward, *outsides(call.shapes[0][2:])]


def _grouped(call: Call, x: Indices, inward: Indices, outward: Indices) -> None:
    """Either whole groups go, or the same channels of every group: whichever is the finer."""
    groups, width = x.shape
    call.whole = width == outward.shape[1] == 1 or (groups >= width and not call.labels.reason(x).any())
    if call.whole:
        call.unite(x, x[:, :1])
        call.unite(outward, x[:, :1])
        call.fix(inward)
    else:
        call.unite(x, inward)
        call.unite(outward, outward[:1])


def _grouped_transposed(call: Call, x: Indices, inward: Indices, outward: Indices) -> Indices:
    """All groups share the weight's output axis. Gives the labels of the channels that come out."""
    groups, width = x.shape
    call.unite(x.ravel(), inward)
    call.whole = groups >= width
    if call.whole:
        call.unite(x, x[:, :1])
        call.fix(outward)
        return np.repeat(x[:, 0], len(outward))
    call.unite(x, x[:1])
    return np.tile(outward, groups)


def linear(call: Call) -> Value:
    """A product with a matrix ``[outward, inward]`` along the last axis."""
    x, (outward, inward) = call.axes("input"), call.axes("weight")
    call.unite(x[-1], inward)
    if (bias := call.optional("bias")) is not None:
        call.unite(bias[0], outward)
    call.produced.append(outward)
    return [*x[:-1], outward]


def matmul(call: Call) -> Value:
    """The contracted axes meet; the others pass."""
    a, b = call.axes("self"), call.axes("other" if "other" in call.arguments else "mat2")
    if len(a) < 2 or len(b) < 2:
        raise NoRuleError
    call.unite(a[-1], b[-2])
    shape = call.shapes[0]
    return [*broadcast(call, [a[:-2], b[:-2]], shape[:-2]), a[-2], b[-1]]


def addmm(call: Call) -> Value:
    """A product plus a tensor."""
    a, b = (call.axes(n) for n in (("mat1", "mat2") if "mat1" in call.arguments else ("batch1", "batch2")))
    call.unite(a[-1], b[-2])
    batch = broadcast(call, [a[:-2], b[:-2]], call.shapes[0][:-2])
    return broadcast(call, [[*batch, a[-2], b[-1]], call.axes("self")], call.shapes[0])


def einsum(call: Call) -> Value:
    """Equal letters meet."""
    terms, _, result = call.arguments["equation"].replace(" ", "").partition("->")
    if not result or "." in terms:
        raise NoRuleError
    axes: dict[str, Indices] = {}
    for term, tensor in zip(terms.split(","), call.tensors("tensors"), strict=True):
        if len(set(term)) < len(term):
            raise NoRuleError
        for letter, axis in zip(term, tensor, strict=True):
            call.unite(axes.setdefault(letter, axis), axis)
    return [axes[letter] for letter in result]


def attention(call: Call) -> Value:
    """Softmax(q k') v. Without an explicit scale, torch divides by the root of the width that is left."""
    query, key, value = (call.axes(name) for name in ("query", "key", "value"))
    if call.arguments.get("enable_gqa") or len({len(query), len(key), len(value)}) > 1:
        raise NoRuleError
    call.unite(query[-1], key[-1])
    call.unite(key[-2], value[-2])
    shape = call.shapes[0]
    batch = broadcast(call, [query[:-2], key[:-2], value[:-2]], shape[:-2])
    if (mask := call.optional("attn_mask")) is not None:
        broadcast(call, [[*batch, query[-2], key[-2]], mask], (*shape[:-1], len(key[-2])))
    return [*batch, query[-2], value[-1]]


def recurrent(call: Call) -> Value:
    """The hidden state stays, the input is free."""
    x, state = call.axes("input"), call.arguments["hx"]
    hidden = [call.axes("hx")] if isinstance(state, fx.Node) else call.tensors("hx")
    first = {True: 2, False: 1}[call.arguments["bidirectional"]]
    weights = call.tensors("params")
    step = len(weights) // (call.arguments["num_layers"] * first)
    for axes in (*weights, *hidden):
        call.fix(axes[0])
    for i, axes in enumerate(weights):
        if i % step == 0 and i < first * step:
            call.unite(x[-1], axes[1])
        elif len(axes) == 2:
            call.fix(axes[1])
    return [[*x[:-1], outside(call.shapes[0][-1])], *(outsides(shape) for shape in call.shapes[1:])]


# Normalisation


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


def resize_groups(call: Call, count: Count) -> moves.Changes:
    """Groups that go, go whole; else their number stays."""
    name = "num_groups" if call.name == "group_norm" else "groups"
    groups, channels = int(call.arguments[name]), call.axes("input")[1]
    return {name: count(channels) * groups // len(channels) if call.whole else groups}


def resize_layer_norm(call: Call, count: Count) -> moves.Changes:
    """The sizes that are normalised over."""
    rank = len(call.arguments["normalized_shape"])
    return {"normalized_shape": [count(axis) for axis in call.axes("input")[-rank:]]}


# Reductions, pooling, creation


def reduce(call: Call) -> Value:
    """Reduced axes go; where the result holds positions along them, they stay."""
    axes, dims = call.axes("self"), call.arguments.get("dim")
    dims = [dims] if isinstance(dims, int) else dims or range(len(axes))
    reduced = {k % len(axes) for k in dims}
    if call.name in ("max", "min", "argmax", "argmin") and len(reduced) < len(axes):
        call.fix(*(axes[k] for k in reduced))
    keep = len(call.shapes[0]) == len(axes)
    result = [outside(1) if k in reduced else axis for k, axis in enumerate(axes) if keep or k not in reduced]
    return result if len(call.shapes) == 1 else [list(result) for _ in call.shapes]


def pool(call: Call) -> Value:
    """Pooling and resampling: the last axes are space, the others pass."""
    rank = len(call.shapes[0])
    spatial = next((n for n in (1, 2, 3) if f"{n}d" in call.name), rank - 2)
    axes = call.planes(spatial)
    results = [[*axes[:-spatial], *outsides(shape[-spatial:])] for shape in call.shapes]
    return results if len(results) > 1 else results[0]


def like(call: Call) -> Value:
    """A tensor of the same shape, without its values."""
    return call.axes("self")


def create(call: Call) -> Value:
    """A tensor of one value takes the labels of whatever it will meet."""
    return [call.labels.fresh(size) for size in call.shapes[0]]


def positions(call: Call) -> Value:
    """Values that depend on the position: nothing here can go."""
    results = [outsides(shape) for shape in call.shapes]
    return results if len(results) > 1 else results[0]


def nothing(_: Call) -> Value:
    """No tensor comes out, or none that could lose channels."""
    return None


ELEMENTWISE = (
    "alias clone contiguous copy detach lift_fresh_copy to _to_copy type_as fill "
    "zero dropout feature_dropout alpha_dropout feature_alpha_dropout hardswish hardsigmoid hardtanh relu6 "
    "softplus maximum minimum masked_fill where rsub bernoulli"
)
"""Beside those that torch itself tags as pointwise."""
REDUCTIONS = (
    "sum mean var std amax amin var_mean std_mean max min argmax argmin "
    "linalg_vector_norm norm logsumexp any all"
)
POOLING = (
    "max_pool1d max_pool2d max_pool3d max_pool2d_with_indices avg_pool1d avg_pool2d avg_pool3d "
    "adaptive_avg_pool1d adaptive_avg_pool2d adaptive_avg_pool3d "
    "adaptive_max_pool1d adaptive_max_pool2d adaptive_max_pool3d "
    "upsample_nearest1d upsample_nearest2d upsample_nearest3d upsample_linear1d upsample_bilinear2d "
    "upsample_bicubic2d upsample_trilinear3d _upsample_bilinear2d_aa _upsample_bicubic2d_aa"
)
CONVOLUTIONS = "conv1d conv2d conv3d conv_transpose1d conv_transpose2d conv_transpose3d"
CREATION = "zeros ones full empty new_zeros new_ones new_full new_empty rand"
UNTENSORED = (
    "_assert_tensor_metadata _assert_async _assert_scalar sym_size sym_numel sym_stride sym_constrain_range "
    "sym_constrain_range_for_size"
)

_RULES: dict[Rule, str] = {
    pointwise: ELEMENTWISE,
    moves.reshape: "view reshape _unsafe_view flatten unflatten squeeze unsqueeze view_as reshape_as",
    moves.permute: "permute",
    moves.transpose: "transpose swapaxes swapdims",
    moves.transpose_last: "t mT adjoint numpy_T",
    moves.movedim: "movedim moveaxis",
    moves.flip: "flip",
    moves.roll: "roll",
    moves.cat: "cat concat concatenate",
    moves.stack: "stack",
    moves.split: "split split_with_sizes chunk unsafe_split unsafe_split_with_sizes unsafe_chunk",
    moves.unbind: "unbind",
    moves.select: "select",
    moves.slice_: "slice narrow",
    moves.expand: "expand expand_as broadcast_to",
    moves.repeat: "repeat tile",
    moves.repeat_interleave: "repeat_interleave",
    moves.pad: "pad constant_pad_nd",
    moves.index: "index",
    moves.index_select: "index_select",
    moves.embedding: "embedding",
    moves.pixel_shuffle: "pixel_shuffle",
    moves.pixel_unshuffle: "pixel_unshuffle",
    moves.channel_shuffle: "channel_shuffle native_channel_shuffle",
    moves.im2col: "im2col",
    moves.col2im: "col2im",
    convolution: CONVOLUTIONS,
    linear: "linear",
    matmul: "matmul bmm mm",
    addmm: "addmm baddbmm",
    einsum: "einsum",
    attention: "scaled_dot_product_attention",
    recurrent: "lstm gru rnn_tanh rnn_relu",
    channel_norm: "batch_norm instance_norm",
    prelu: "prelu",
    layer_norm: "layer_norm rms_norm",
    group_norm: "group_norm",
    softmax: "softmax log_softmax",
    reduce: REDUCTIONS,
    pool: POOLING,
    like: "zeros_like ones_like full_like empty_like rand_like randn_like",
    create: CREATION,
    positions: "arange linspace eye meshgrid tril_indices triu_indices randint randperm scalar_tensor",
    nothing: UNTENSORED,
}
RULES: dict[str, Rule] = {name: rule for rule, names in _RULES.items() for name in names.split()}

_RESIZED: dict[moves.Resize, str] = {
    moves.resize_view: "view reshape _unsafe_view",
    moves.resize_unflatten: "unflatten",
    moves.resize_repeat: "repeat tile",
    moves.resize_split: "split split_with_sizes unsafe_split unsafe_split_with_sizes",
    moves.resize_select: "select",
    moves.resize_slice: "slice",
    moves.resize_narrow: "narrow",
    moves.resize_pad: "pad constant_pad_nd",
    moves.resize_created: CREATION + " expand broadcast_to",
    resize_groups: CONVOLUTIONS + " group_norm",
    resize_layer_norm: "layer_norm rms_norm",
}
RESIZED: dict[str, moves.Resize] = {name: new for new, names in _RESIZED.items() for name in names.split()}
"""Operators with arguments that hold a width."""

_STATISTICS = (
    "mean var std amax amin var_mean std_mean max min logsumexp any all softmax log_softmax layer_norm "
    "rms_norm group_norm batch_norm instance_norm scaled_dot_product_attention"
)
STATISTICS = frozenset(_STATISTICS.split())
"""Operators whose result depends on how many channels there are: it is that of the channels left."""


def rule_for(name: str, is_pointwise: bool) -> Rule | None:
    """The rule of an ATen operator, in place or not; None: there is none."""
    name = name if name in RULES else name.removesuffix("_")
    return RULES.get(name, pointwise if is_pointwise else None)
