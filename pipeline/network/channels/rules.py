"""What each operator does to channels: one rule per operator, in the table ``RULES`` at the end.

A rule gets a :class:`Call` and returns the labels of its result. It may move labels, unite them, bring in
those of a weight, or fix them. An operator without a rule fixes all its channels: less is pruned, nothing
breaks.
"""

from __future__ import annotations

from collections.abc import Callable

from jetpress.pipeline.network.channels import lookups, moves, widths
from jetpress.pipeline.network.channels.elementwise import cosine_similarity, glu, pointwise
from jetpress.pipeline.network.channels.labels import (
    Call,
    Value,
    outside,
    outsides,
)
from jetpress.pipeline.network.channels.normalisation import (
    channel_norm,
    group_norm,
    layer_norm,
    prelu,
    resize_groups,
    resize_layer_norm,
    softmax,
)
from jetpress.pipeline.network.channels.products import (
    addmm,
    attention,
    convolution,
    deformable,
    einsum,
    linear,
    matmul,
)
from jetpress.pipeline.network.channels.recurrent import cell, recurrent

Rule = Callable[[Call], Value]


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
RECURRENT = "lstm gru rnn_tanh rnn_relu"
CELLS = "lstm_cell gru_cell rnn_tanh_cell rnn_relu_cell"
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
    moves.index_put: "index_put",
    moves.index_select: "index_select",
    moves.embedding: "embedding",
    moves.pixel_shuffle: "pixel_shuffle",
    moves.pixel_unshuffle: "pixel_unshuffle",
    moves.channel_shuffle: "channel_shuffle native_channel_shuffle",
    moves.im2col: "im2col",
    moves.col2im: "col2im",
    lookups.gather: "gather",
    lookups.ranked: "topk sort argsort",
    lookups.grid_sampler: "grid_sampler grid_sampler_2d grid_sampler_3d",
    lookups.unpool: "max_unpool2d max_unpool3d",
    glu: "glu",
    cosine_similarity: "cosine_similarity",
    convolution: CONVOLUTIONS,
    deformable: "torchvision::deform_conv2d",
    linear: "linear",
    matmul: "matmul bmm mm",
    addmm: "addmm baddbmm",
    einsum: "einsum",
    attention: "scaled_dot_product_attention",
    recurrent: RECURRENT,
    cell: CELLS,
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

_RESIZED: dict[widths.Resize, str] = {
    widths.resize_view: "view reshape _unsafe_view",
    widths.resize_unflatten: "unflatten",
    widths.resize_repeat: "repeat tile",
    widths.resize_split: "split split_with_sizes unsafe_split unsafe_split_with_sizes",
    widths.resize_select: "select",
    widths.resize_slice: "slice",
    widths.resize_narrow: "narrow",
    widths.resize_pad: "pad constant_pad_nd",
    widths.resize_created: CREATION + " expand broadcast_to",
    resize_groups: CONVOLUTIONS + " group_norm",
    resize_layer_norm: "layer_norm rms_norm",
}
RESIZED: dict[str, widths.Resize] = {name: new for new, names in _RESIZED.items() for name in names.split()}
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
