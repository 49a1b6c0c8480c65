"""Every rule alone, on random shapes, against brute force: take channels away from the operands, see what is left.

A class of channels that a rule leaves free may go: computed on operands without it, the operator gives the old
result without it. Where the result depends on how many channels there are (a mean, a norm), the new result is what
the rule means, and its shape is what is checked.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torchvision.ops import deform_conv2d

from jetpress.pipeline.network import channels
from jetpress.pipeline.network.channels import rules
from jetpress.pipeline.network.channels.graph import Trace, trace

OUTPUT = "output of the network"
Operator = Callable[..., Tensor]


class Operands(nn.Module):
    """Parameters with channels on every axis, and one operator on them."""

    def __init__(self, tensors: list[Tensor], operator: Operator) -> None:
        super().__init__()
        self.held = nn.ParameterList(tensors)
        self.operator = operator

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.operator(*self.held), x


def traced(shapes: list[tuple[int, ...]], operator: Operator) -> tuple[Trace, list[Tensor]]:
    generator = torch.Generator().manual_seed(0)
    tensors = [torch.rand(shape, generator=generator) + 0.5 for shape in shapes]
    return trace(Operands(tensors, operator), (torch.zeros(3, 1),)), tensors


def check(shapes: list[tuple[int, ...]], operator: Operator) -> tuple[int, set[str]]:
    """Take every free class away, one by one. Returns how many there were, and the operators that had a rule."""
    found, tensors = traced(shapes, operator)
    labels = found.labels
    output = list(found.module.graph.nodes)[-1].args[0][0]  # type: ignore[index, union-attr]
    after = found.values[output]
    base = operator(*tensors)
    names = [f"held.{k}" for k in range(len(shapes))]
    statistic = any(call.name in rules.STATISTICS for call in found.calls.values())
    roots = {int(r) for n in names for axis in found.tensors.get(n, []) for r in labels.find(axis)}
    free = 0
    for root in sorted(roots - {0}):
        if labels.reasons[int(labels.reason(np.array([root]))[0])] not in ("", OUTPUT):
            continue
        without, zeroed = list(tensors), [t.clone() for t in tensors]
        for k, name in enumerate(names):
            for axis, indices in enumerate(found.tensors.get(name, [])):
                gone = torch.from_numpy(labels.find(indices) == root)
                without[k] = without[k].index_select(axis, (~gone).nonzero().flatten())
                zeroed[k].index_fill_(axis, gone.nonzero().flatten(), 0)
        if any(t.numel() == 0 for t in without):
            continue  # a last channel is never taken
        expected = base if statistic else operator(*zeroed)
        for axis, indices in enumerate(after):  # type: ignore[arg-type]
            stays = torch.from_numpy(labels.find(indices) != root)  # type: ignore[arg-type]
            expected = expected.index_select(axis, stays.nonzero().flatten())
        result = operator(*without)
        assert result.shape == expected.shape
        if not statistic:
            torch.testing.assert_close(result, expected)
        free += 1
    return free, {call.name for call in found.calls.values()}


def _unsafe_split(x: Tensor, *sizes: int) -> Tensor:
    return torch.unsafe_split_with_sizes(x, sizes, 1)[1]


def _grid(spatial: int) -> Tensor:
    """Places in ``[2, 4, ...]`` pixels, some of them outside."""
    generator = torch.Generator().manual_seed(1)
    return torch.rand(2, *[4] * spatial, spatial, generator=generator) * 2.2 - 1.1


def _offset(groups: int) -> Tensor:
    """Of a 3 x 3 kernel on 5 x 5 pixels."""
    return torch.rand(2, groups * 18, 5, 5, generator=torch.Generator().manual_seed(1)) - 0.5


Case = tuple[list[str], Operator]
"""Letters are axes of random size, digits axes of that size; then the operator."""

CASES: dict[str, Case] = {
    "linear": (["2a", "ba", "b"], F.linear),
    "linear_bare": (["2ca", "ba"], F.linear),
    "matmul": (["2ab", "2bc"], torch.matmul),
    "matmul_broadcast": (["2dab", "bc"], torch.matmul),
    "mm": (["ab", "bc"], torch.mm),
    "bmm": (["dab", "dbc"], torch.bmm),
    "addmm": (["ac", "ab", "bc"], torch.addmm),
    "addmm_bias": (["c", "ab", "bc"], torch.addmm),
    "baddbmm": (["dac", "dab", "dbc"], torch.baddbmm),
    "einsum": (["2ab", "2bc"], lambda x, y: torch.einsum("nij,njk->nik", x, y)),
    "einsum_outer": (["2a", "2b"], lambda x, y: torch.einsum("ni, nj -> nij", x, y)),
    "attention": (["2dab", "2dcb", "2dce"], F.scaled_dot_product_attention),
    "attention_scaled": (["2dab", "2dcb", "2dce"], lambda q, k, v: F.scaled_dot_product_attention(q, k, v, scale=0.5)),
    "attention_masked": (["2dab", "2dcb", "2dce", "dac"], F.scaled_dot_product_attention),
    "conv1d": (["2a7", "ba3", "b"], F.conv1d),
    "conv2d": (["2a55", "ba33", "b"], lambda x, w, b: F.conv2d(x, w, b, stride=2, padding=1)),
    "conv2d_same": (["2a55", "ba33"], lambda x, w: F.conv2d(x, w, padding="same")),
    "conv2d_unbatched": (["a55", "ba33"], F.conv2d),
    "conv3d": (["2a444", "ba333"], F.conv3d),
    "conv_transpose1d": (["2a5", "ab3", "b"], F.conv_transpose1d),
    "conv_transpose2d": (["2a33", "ab22", "b"], lambda x, w, b: F.conv_transpose2d(x, w, b, stride=2)),
    "conv_transpose3d": (["2a333", "ab222"], F.conv_transpose3d),
    "depthwise": (["2a55", "a133", "a"], lambda x, w, b: F.conv2d(x, w, b, groups=x.shape[1])),
    "batch_norm": (["2a33", "a", "a", "a", "a"], lambda x, m, v, w, b: F.batch_norm(x, m.detach(), v.detach(), w, b)),
    "instance_norm": (["2a33", "a", "a"], lambda x, w, b: F.instance_norm(x, weight=w, bias=b)),
    "prelu": (["2a33", "a"], lambda x, w: F.prelu(x - 1, w)),
    "prelu_one": (["2a33", "1"], lambda x, w: F.prelu(x - 1, w)),
    "layer_norm": (["2ab", "b", "b"], lambda x, w, b: F.layer_norm(x, w.shape, w, b)),
    "layer_norm_two": (["2ab", "ab"], lambda x, w: F.layer_norm(x, w.shape, w)),
    "rms_norm": (["2ab", "b"], lambda x, w: F.rms_norm(x, w.shape, w)),
    "softmax": (["2ab"], lambda x: x.softmax(1)),
    "log_softmax": (["2ab"], lambda x: x.log_softmax(-1)),
    "embedding": (["9a"], lambda w: F.embedding(torch.tensor([3, 1, 1]), w)),
    # Elementwise
    "add": (["2ab", "ab"], torch.add),
    "broadcast": (["2ab", "2a1", "b"], lambda x, y, z: x * y + z),
    "one_axis_more": (["2ab", "c2ab"], torch.mul),
    "where": (["2a", "2a"], lambda x, y: torch.where(x > 1, x, y)),
    "rsub": (["2a"], lambda x: torch.rsub(x, 1.0)),
    "masked_fill": (["2a", "2a"], lambda x, y: x.masked_fill(y > 1, 0.0)),
    "maximum": (["2a", "2a"], lambda x, y: torch.maximum(x, torch.minimum(x, y))),
    "activations": (["2a"], lambda x: F.softplus(F.hardsigmoid(F.relu6(F.hardtanh(F.hardswish(x)))))),
    "in_place": (["2a"], lambda x: F.relu6(x.clone(), inplace=True).mul_(2)),
    "casts": (["2a"], lambda x: x.double().half().bfloat16().float().to(torch.float64).type_as(x)),
    "copies": (["2ab", "2ab"], lambda x, y: x.mT.contiguous().mT.detach().clone().copy_(y)),
    "dropout": (["2a33"], lambda x: F.dropout2d(F.dropout(x, training=False), training=False)),
    "alpha_dropout": (["2a33"], lambda x: F.alpha_dropout(x, training=False)),
    "feature_alpha_dropout": (["2a33"], lambda x: F.feature_alpha_dropout(x, training=False)),
    "alias": (["2a"], lambda x: torch.ops.aten.alias(torch.ops.aten.lift_fresh_copy(x))),
    "_to_copy": (["2a"], lambda x: torch.ops.aten._to_copy(x, dtype=torch.float64)),
    "fill": (["2a"], lambda x: x + x.clone().fill_(2.0) + torch.zeros_like(x).zero_()),
    # Reductions
    "sum": (["2ab"], lambda x: x.sum(1)),
    "sum_keepdim": (["2ab"], lambda x: x.sum((1, 2), keepdim=True) * x),
    "mean": (["2ab"], lambda x: x.mean(2)),
    "var": (["2a9"], lambda x: x.var(2) + x.std(2)),
    "var_mean": (["2a9"], lambda x: torch.var_mean(x, 2)[0] + torch.std_mean(x, 2)[1]),
    "amax": (["2a9"], lambda x: x.amax(2) - x.amin(2)),
    "max": (["2a9"], lambda x: x.max(2)[0] - x.min(2).values),
    "argmax": (["2a9"], lambda x: x.argmax(2) + x.argmin(2)),
    "norm": (["2a9"], lambda x: torch.linalg.vector_norm(x, dim=2)),
    "norm_old": (["2a9"], lambda x: torch.ops.aten.norm.ScalarOpt_dim(x, 2, [2])),
    "logsumexp": (["2a9"], lambda x: x.logsumexp(2)),
    "any": (["2a9"], lambda x: (x > 1).any(2) & (x > 1).all(2)),
    "glu": (["2ab", "2ab"], lambda x, y: F.glu(torch.cat([x, y - 2], 1), 1)),
    "cosine_similarity": (["2ab", "2ab"], lambda x, y: F.cosine_similarity(x, y, 2)),
    "cosine_similarity_broadcast": (["2ab", "1ab"], F.cosine_similarity),
    # Lookups
    "gather": (["2ab"], lambda x: x.gather(1, torch.tensor([[1, 0], [0, 0]])[:, :, None].expand(-1, -1, x.shape[2]))),
    "gather_along": (["2a9"], lambda x: x.gather(2, torch.tensor([[[3, 8]]]).expand(-1, x.shape[1], -1))),
    "topk": (["2a9"], lambda x: x.topk(3, 2)[0] * x.topk(3, 2).indices),
    "sort": (["2a9"], lambda x: x.sort(2)[0] * x.argsort(2)),
    "grid_sampler": (["2a55"], lambda x: F.grid_sample(x, _grid(2), align_corners=False)),
    "grid_sampler_2d": (["2a55"], lambda x: torch.ops.aten.grid_sampler_2d(x, _grid(2), 0, 0, False)),
    "grid_sampler_3d": (["2a555"], lambda x: torch.ops.aten.grid_sampler_3d(x, _grid(3), 0, 0, False)),
    "max_unpool2d": (["2a44"], lambda x: F.max_unpool2d(*F.max_pool2d(x, 2, return_indices=True), 2)),
    "max_unpool3d": (["2a444"], lambda x: F.max_unpool3d(*F.max_pool3d(x, 2, return_indices=True), 2)),
    "deform_conv2d": (["2a55", "ba33", "b"], lambda x, w, b: deform_conv2d(x, _offset(1), w, b, padding=1)),
    "deform_conv2d_masked": (
        ["2a55", "2a55", "ba33", "ba33"],
        lambda x, y, v, w: deform_conv2d(
            torch.cat([x, y], 1), _offset(2), torch.cat([v, w], 1), mask=_offset(1), padding=1
        ),
    ),
    # Pooling and resampling
    "max_pool1d": (["2a8"], lambda x: F.avg_pool1d(F.max_pool1d(x, 2), 2)),
    "max_pool2d": (["2a88"], lambda x: F.avg_pool2d(F.max_pool2d(x, 2), 2)),
    "max_pool3d": (["2a888"], lambda x: F.avg_pool3d(F.max_pool3d(x, 2), 2)),
    "max_pool2d_with_indices": (["2a88"], lambda x: F.max_pool2d(x, 2, return_indices=True)[0]),
    "adaptive_avg_pool1d": (["2a8"], lambda x: F.adaptive_max_pool1d(F.adaptive_avg_pool1d(x, 4), 1)),
    "adaptive_avg_pool2d": (["2a88"], lambda x: F.adaptive_max_pool2d(F.adaptive_avg_pool2d(x, 4), 1)),
    "adaptive_avg_pool3d": (["2a888"], lambda x: F.adaptive_max_pool3d(F.adaptive_avg_pool3d(x, 4), 1)),
    "nearest": (["2a333"], lambda x: F.interpolate(x, scale_factor=2) ),
    "nearest2d": (["2a33"], lambda x: F.interpolate(x, scale_factor=2)),
    "nearest1d": (["2a3"], lambda x: F.interpolate(F.interpolate(x, scale_factor=2), scale_factor=2, mode="linear")),
    "bilinear": (["2a33"], lambda x: F.interpolate(F.interpolate(x, size=5, mode="bilinear"), size=6, mode="bicubic")),
    "antialias": (["2a66"], lambda x: F.interpolate(x, size=4, mode="bilinear", antialias=True)),
    "antialias_cubic": (["2a66"], lambda x: F.interpolate(x, size=4, mode="bicubic", antialias=True)),
    "trilinear": (["2a333"], lambda x: F.interpolate(x, size=4, mode="trilinear")),
    # Creation
    "zeros_like": (["2a"], lambda x: x + torch.zeros_like(x) + torch.ones_like(x) + torch.full_like(x, 3.0)),
    "rand_like": (["2a"], lambda x: x + 0 * (torch.rand_like(x) + torch.randn_like(x))),
    "empty_like": (["2a"], lambda x: x + torch.empty_like(x).zero_()),
    "zeros": (["2a"], lambda x: x + torch.zeros(x.shape) + torch.ones(x.shape) * torch.full(x.shape, 2.0)),
    "new_zeros": (["2a"], lambda x: x + x.new_zeros(x.shape) + x.new_ones(x.shape) * x.new_full(x.shape, 2.0)),
    "empty": (["2a"], lambda x: x + torch.empty(x.shape).zero_() + x.new_empty(x.shape).zero_()),
    "rand": (["2a"], lambda x: x + 0 * torch.rand(x.shape)),
    "bernoulli": (["2a"], lambda x: x + 0 * torch.full_like(x, 0.5).bernoulli_()),
    # Movement whose sizes follow from the operands; :mod:`tests.pipeline.network.channels.test_labels` has the others
    "permute": (["2ab"], lambda x: x.permute(2, 0, 1)),
    "transpose": (["2ab"], lambda x: x.transpose(1, 2).swapaxes(0, 1).swapdims(0, 2)),
    "t": (["ab"], lambda x: x.t() ),
    "mT": (["2ab"], lambda x: x.mT * x.adjoint()),
    "numpy_T": (["ab"], lambda x: x.T),
    "movedim": (["2ab"], lambda x: x.movedim(1, -1).moveaxis(0, 1)),
    "flip": (["2ab"], lambda x: x.flip(1, 2)),
    "cat": (["2ab", "2cb"], lambda x, y: torch.cat([x, y, x], 1)),
    "concatenate": (["2ab", "2cb"], lambda x, y: torch.concat([torch.concatenate([x, y], 1), x], 1)),
    "stack": (["2ab", "2ab"], lambda x, y: torch.stack([x, y], 1)),
    "chunk": (["2ab"], lambda x: torch.cat([x, 2 * x], 1).chunk(2, 1)[1]),
    "split_in_two": (["2ab"], lambda x: sum(torch.cat([x, 2 * x], 1).split(x.shape[1], 1))),
    "unbind": (["2ab"], lambda x: x.unbind(0)[1] + x.unbind(0)[0]),
    "select": (["2ab"], lambda x: x[-1]),
    "expand": (["2a1", "2ab"], lambda x, y: x.expand(-1, -1, y.shape[2]) * y),
    "expand_as": (["2a1", "2ab"], lambda x, y: x.expand_as(y) * torch.broadcast_to(x, y.shape) * y),
    "repeat": (["2ab"], lambda x: x.repeat(1, 2, 1).tile(1, 1, 3)),
    "repeat_interleave": (["2ab"], lambda x: x.repeat_interleave(3, 1)),
    "pixel_shuffle": (["2a33"], lambda x: F.pixel_shuffle(x.repeat_interleave(4, 1), 2)),
    "pixel_unshuffle": (["2a44"], lambda x: F.pixel_unshuffle(x, 2)),
    "channel_shuffle": (["2a33"], lambda x: F.channel_shuffle(torch.cat([x, 2 * x], 1), 2)),
    "native_channel_shuffle": (["2a33"], lambda x: torch.ops.aten.native_channel_shuffle(torch.cat([x, 2 * x], 1), 2)),
    "im2col": (["2a44"], lambda x: F.fold(F.unfold(x, 2), (4, 4), 2)),
    "squeeze": (["2a1b"], lambda x: x.squeeze(2).unsqueeze(1)),
    "views": (["2ab"], lambda x: x.flatten(1).view_as(x.reshape(len(x), -1)).reshape_as(x.flatten(1))),
    "slice": (["2ab"], lambda x: torch.cat([x, 2 * x], 1)[:, x.shape[1] :]),
    "narrow": (["2ab"], lambda x: torch.cat([x, 2 * x], 1).narrow(1, x.shape[1], x.shape[1])),
    "roll": (["2ab"], lambda x: x.roll(1, 2)),
    "index": (["2ab"], lambda x: x[torch.tensor([0, 0])]),
    "index_put_mask": (["23a", "a"], lambda x, y: x.clone().index_put((torch.tensor([[True, False, True]] * 2),), y)),
    "index_put_numbers": (["4ab", "ab"], lambda x, y: x.clone().index_put_((torch.tensor([0, 2]),), y)),
    "index_put_one": (["4ab"], lambda x: x.clone().index_put((torch.tensor([0, 2]),), torch.tensor(0.0))),
    "index_select": (["2ab"], lambda x: x.index_select(0, torch.tensor([0, 0]))),
    "unflatten": (["2ab"], lambda x: x.flatten(1).unflatten(1, x.shape[1:])),
    "view": (["2ab"], lambda x: x.view(x.shape[0], -1)),
    "_unsafe_view": (["2ab"], lambda x: torch.ops.aten._unsafe_view(x, [x.shape[0], -1])),
    "split_sizes": (["2ab", "2cb"], lambda x, y: torch.cat([x, y], 1).split([x.shape[1], y.shape[1]], 1)[1]),
    "unsafe_split_sizes": (["2ab", "2cb"], lambda x, y: _unsafe_split(torch.cat([x, y], 1), x.shape[1], y.shape[1])),
    "unsafe_chunk": (["2ab"], lambda x: torch.cat([x, x], 1).unsafe_chunk(2, 1)[0]),
    "unsafe_split": (["2ab"], lambda x: torch.cat([x, x], 1).unsafe_split(x.shape[1], 1)[0]),
    "pad_space": (["2a33"], lambda x: F.pad(x, (1, 2, 0, 1)) + torch.constant_pad_nd(x, (1, 2, 0, 1))),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
@settings(max_examples=2, deadline=None)
@given(st.data())
def test_what_is_taken_away_is_gone_and_nothing_else_changes(name: str, data: st.DataObject) -> None:
    drawn: dict[str, int] = {}
    shapes = [tuple(_size(letter, drawn, data) for letter in operand) for operand in CASES[name][0]]
    check(shapes, CASES[name][1])


def _size(letter: str, drawn: dict[str, int], data: st.DataObject) -> int:
    if letter.isdigit():
        return int(letter)
    return drawn.setdefault(letter, data.draw(st.integers(2, 5), label=letter))


POSITIONS: dict[str, Operator] = {
    "arange": lambda x: x + torch.arange(x.shape[-1]),
    "linspace": lambda x: x * torch.linspace(0, 1, x.shape[-1]),
    "eye": lambda x: x * torch.eye(*x.shape[1:]),
    "meshgrid": lambda x: x * torch.meshgrid(torch.arange(5), torch.arange(5), indexing="ij")[1],
    "tril_indices": lambda x: x * torch.tril_indices(5, 5)[0, :5],
    "triu_indices": lambda x: x * torch.triu_indices(5, 5)[0, :5],
    "randint": lambda x: x * torch.randint(0, 5, (5,)),
    "randperm": lambda x: x * torch.randperm(5),
}


@pytest.mark.parametrize("name", POSITIONS)
def test_what_meets_values_that_depend_on_the_position_stays(name: str) -> None:
    found, _ = traced([(2, 5, 5)], POSITIONS[name])
    assert name in {call.name for call in found.calls.values()}
    assert set(found.labels.reason(found.tensors["held.0"][2])) == {found.labels.reasons.index(_met(found))}


def _met(found: Trace) -> str:
    return next(reason for reason in found.labels.reasons if reason.startswith(("add", "mul")))


@pytest.mark.parametrize(
    ("name", "run"),
    [
        ("topk", lambda x: x.topk(4, 1)[0]),
        ("gather", lambda x: x.gather(1, torch.zeros(2, 4, 5, 5, dtype=torch.long))),
        ("grid_sampler", lambda x: F.grid_sample(x, x[:, :2].permute(0, 2, 3, 1))),
        ("torchvision::deform_conv2d", lambda x: deform_conv2d(x[:, :3], x[:, :2], torch.ones(4, 3, 1, 1))),
    ],
)
def test_the_operator_that_fixes_channels_is_named(name: str, run: Callable[[Tensor], Tensor]) -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.last = nn.Conv2d(3, 8, 1), nn.Conv2d(4 if name != "grid_sampler" else 8, 2, 1)

        def forward(self, x: Tensor) -> Tensor:
            return self.last(run(self.first(x)))  # type: ignore[no-any-return]

    graph = channels.analyse(Net().eval(), (torch.randn(2, 3, 5, 5),))
    assert name in graph.fixed["first.weight"]


@pytest.mark.parametrize(("groups", "width"), [(8, 16), (2, 16)])
def test_group_norm_over_the_channels_that_are_left(groups: int, width: int) -> None:
    """Whole groups go where there are many; else the same channels of every group, and the groups stay."""
    torch.manual_seed(0)
    first, norm, last = nn.Conv2d(3, width, 1), nn.GroupNorm(groups, width), nn.Conv2d(width, 2, 1)
    nn.init.uniform_(norm.weight)
    net = nn.Sequential(first, norm, last).eval()
    x = torch.randn(2, 3, 5, 5)
    graph = channels.analyse(net, (x,))
    (group,) = graph.groups
    smaller, step = channels.cut(net, (x,), graph, {group.name: [1, 3]})
    assert not step["graph"]
    gone = group.slices["0.weight", 0][[1, 3]].ravel()
    stays = torch.from_numpy(np.delete(np.arange(width), gone))
    left = groups - 2 if groups > width // groups else groups
    y = F.group_norm(first(x)[:, stays], left, norm.weight[stays], norm.bias[stays])
    torch.testing.assert_close(smaller(x), F.conv2d(y, last.weight[:, stays], last.bias))


# Operators that give no tensor, and those with a test of their own
WITHOUT_TENSORS = frozenset(rules.UNTENSORED.split())
RECURRENT = f"{rules.RECURRENT} {rules.CELLS}".split()  # test_recurrent.py
ELSEWHERE = frozenset({"group_norm", *RECURRENT, "scalar_tensor", *POSITIONS})


def test_every_rule_has_a_case() -> None:
    seen = set(WITHOUT_TENSORS | ELSEWHERE)
    for operands, operator in CASES.values():
        sizes: dict[str, int] = {}
        shapes = [
            tuple(int(c) if c.isdigit() else sizes.setdefault(c, 3 + len(sizes)) for c in operand)
            for operand in operands
        ]
        names = {call.name for call in traced(shapes, operator)[0].calls.values()}
        seen |= {name if name in rules.RULES else name.removesuffix("_") for name in names}
    assert set(rules.RULES) <= seen, sorted(set(rules.RULES) - seen)
