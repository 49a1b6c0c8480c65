"""The channels that stay take over for those that went: every layer behind a cut is fitted to what it gave before.

He et al. (2017, "Channel pruning for accelerating very deep neural networks") reconstruct the output of a layer that
lost inputs by least squares. Here the dense network and the pruned one run side by side, operator by operator, and each
layer is fitted on the inputs that the layers before it, cut and fitted already, give it: so it makes up for what those
could not. Where its output is added to another (a residual connection), what that one lacks is its to give, too. No
labels, no gradients, a few hundred images.
"""

from __future__ import annotations

import operator
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn

from jetpress.deploy.console import progress
from jetpress.pipeline.network.channels.graph import Trace, bound, operator_name
from jetpress.pipeline.pruning.least_squares import LeastSquares, validated
from jetpress.pipeline.sparse.matrices import columns, enough, operand, put, samples, taken
from jetpress.pipeline.sparse.products import Product, products
from jetpress.pipeline.sparse.walking import walk

LARGEST = 8192
"""Columns of the systems that are solved (0.5 GB); a layer that has more stays as it is."""
HELD = 4
"""Every so manieth batch says how far the weights may go, before it is learnt from, too."""
FAINT = 1e-3
"""A BatchNorm that scales a channel by less gives nothing to the sum that it is added to."""

Known = dict[fx.Node, Any]
"""Values of the graph's nodes, of one batch."""
Stop = tuple[Product, list[Known]]
"""A layer that is about to run, and all that was computed before it."""


@dataclass(frozen=True)
class Error:
    """Squared error of a layer's output, relative to the square of what it gave in the dense network."""

    cut: float
    """With the weights that were left."""
    fitted: float


def reconstruct(
    dense: Trace,
    pruned: Trace,
    kept: Mapping[str, Mapping[int, Tensor]],
    batches: Sequence[tuple[Tensor, ...]],
) -> dict[str, Error]:
    """Fit the weights of ``pruned``, in place.

    Args:
        dense: the network before, in eval mode, :func:`traced <jetpress.pipeline.sparse.walking.traced>`.
        pruned: the same without some of its channels or blocks.
        kept: name of a parameter -> axis -> the positions that are left of it.
        batches: inputs ``[n, ...]`` without labels; where feature maps are large the first of them are looked at, and
            all where they are small.

    Returns:
        the error of every layer that was fitted, by its weight's name
    """
    sides = _Side.of(dense), _Side.of(pruned)
    generator, found = torch.Generator().manual_seed(0), dict[str, Error]()
    done = set[tuple[str, tuple[int, int]]]()
    with progress("weights that stay take over", len(sides[1].wanted)) as line, torch.no_grad():
        for old, new in _together(sides[0].run(batches), sides[1].run(batches)):
            line.step(new[0].name)
            layer = _Layer.of(old[0], new[0], sides, kept.get(new[0].name, {}))
            place = new[0].name, new[0].rows
            if place in done or layer.weight.shape[-1] > LARGEST:
                continue  # a shared weight keeps what its first use made of it
            done.add(place)
            if new[0].name in kept or not _same(old, new):
                found[new[0].name] = layer.fit(old[1], new[1], generator)
    return found


@dataclass(frozen=True)
class _Side:
    """One of the two networks."""

    source: Trace
    parameters: Mapping[str, Tensor]
    wanted: Mapping[fx.Node, Product]

    @classmethod
    def of(cls, source: Trace) -> _Side:
        attributes = source.module.graph.find_nodes(op="get_attr")
        held = {node: operator.attrgetter(str(node.target))(source.module) for node in attributes}
        parameters = {node.meta["name"]: one for node, one in held.items() if isinstance(one, nn.Parameter)}
        fitted = [one for one in products(source) if one.name in parameters and not one.reason]
        return cls(source, parameters, {one.node: one for one in fitted})

    def run(self, batches: Sequence[tuple[Tensor, ...]]) -> Iterator[Stop]:
        """Stop before each layer."""
        for node, known in walk(self.source, batches, self.wanted):
            yield self.wanted[node], known

    def shift(self, product: Product) -> tuple[Tensor, float] | None:
        """What a constant can be added to, for each output: the layer's bias, or the mean that BatchNorm takes off."""
        bias = product.call.arguments.get("bias")
        if isinstance(bias, fx.Node):
            first, last = product.rows
            if bias.op != "get_attr":
                return None
            return operator.attrgetter(str(bias.target))(self.source.module).data[first:last], 1.0
        users = list(product.node.users)
        if len(users) != 1 or operator_name(users[0]) != "batch_norm" or users[0].args[0] is not product.node:
            return None
        mean = bound(users[0])["running_mean"]
        return (
            (operator.attrgetter(str(mean.target))(self.source.module).data, -1.0)
            if mean is not None
            else None
        )

    def scale(self, norm: fx.Node) -> Tensor:
        """What a BatchNorm multiplies each channel by."""
        arguments = bound(norm)
        weight, variance = (
            operator.attrgetter(str(arguments[name].target))(self.source.module).float()
            for name in ("weight", "running_var")
        )
        return torch.as_tensor(weight / (variance + arguments["eps"]).sqrt())


def _together(dense: Iterator[Stop], pruned: Iterator[Stop]) -> Iterator[tuple[Stop, Stop]]:
    """The same use of the same weight in both; blocks that were removed are in the first only."""
    for new in pruned:
        old = next((one for one in dense if one[0].name == new[0].name), None)
        if old is None:
            return
        yield old, new


def _same(old: Stop, new: Stop) -> bool:
    """Whether a layer sees what it saw before: nothing was cut before it."""
    pairs = zip(_inputs(*old), _inputs(*new), strict=False)
    return all(x.shape == z.shape and torch.equal(x, z) for x, z in pairs)


def _inputs(product: Product, known: Sequence[Known]) -> list[Tensor]:
    return [values[operand(product)] for values in known]


@dataclass(frozen=True)
class _Layer:
    """One layer in both networks. Weights are ``[groups, rows, columns]``, ``old`` without the rows that went."""

    product: tuple[Product, Product]
    sides: tuple[_Side, _Side]
    rows: Tensor
    """Of the dense layer's outputs, those that are left."""
    groups: Tensor
    """Of the dense layer's groups, those that are left."""
    old: Tensor
    weight: Tensor

    @classmethod
    def of(cls, old: Product, new: Product, sides: tuple[_Side, _Side], kept: Mapping[int, Tensor]) -> _Layer:
        dense = taken(sides[0].parameters[old.name].detach().double(), old)
        first, last = old.rows
        rows = kept.get(1 - old.axis, torch.arange(last))
        rows = rows[(rows >= first) & (rows < last)] - first
        groups = torch.unique(rows // dense.shape[1])
        left = dense.flatten(0, 1)[rows].reshape(len(groups), -1, dense.shape[-1])
        weight = taken(sides[1].parameters[new.name].detach().double(), new)
        return cls((old, new), sides, rows, groups, left, weight)

    def fit(self, dense: Sequence[Known], pruned: Sequence[Known], generator: torch.Generator) -> Error:
        """The parameter becomes what gives the least error."""
        old, new = self.product
        shift = self.sides[1].shift(new)
        learnt, held = (LeastSquares(self.weight, constant=shift is not None) for _ in range(2))
        for number, (before, now) in enumerate(zip(dense, pruned, strict=False)):
            x, z = before[operand(old)], now[operand(new)]
            some = enough(samples(z, new), self.weight.shape[-1], len(pruned), generator)
            wanted = columns(x, old, some)[self.groups] @ self.old.mT.float()
            part = held if number % HELD == HELD - 1 else learnt
            part.add(columns(z, new, some), wanted + self._lacking(before, now, some))
        fitted = validated(learnt, held)
        if shift is not None:
            shift[0].add_(fitted.constant.flatten().to(z.dtype), alpha=shift[1])
        put(self.sides[1].parameters[new.name].data, fitted.weight.to(z.dtype), new)
        return Error(fitted.before, fitted.after)

    def _lacking(self, before: Known, now: Known, some: Tensor) -> Tensor | float:
        """What the other term of the sum that the output goes to is short of, ``[groups, samples, rows]``."""
        old, new = (_joined(product.node) for product in self.product)
        if old is None or new is None:
            return 0.0
        (theirs, norm), (ours, _) = old, new
        axis = 1 if self.product[0].call.name.startswith("conv") else -1
        if theirs not in before or ours not in now or before[theirs].shape[axis] <= int(self.rows.max()):
            return 0.0
        wanted, there = before[theirs].index_select(axis, self.rows), now[ours]
        if wanted.shape != there.shape:
            return 0.0
        gap = (wanted - there).movedim(axis, -1).flatten(0, -2)[some].float()
        if norm is not None:
            scale = self.sides[0].scale(norm)[self.rows]
            gap = torch.where(scale.abs() > FAINT, gap / scale, 0.0)
        return torch.as_tensor(gap.reshape(len(gap), len(self.groups), -1).movedim(1, 0))


def _joined(node: fx.Node) -> tuple[fx.Node, fx.Node | None] | None:
    """What a layer's output is added to, and the BatchNorm between; None where it is not added to anything."""
    norm = None
    while len(node.users) == 1:
        (user,) = node.users
        name = operator_name(user).rstrip("_")
        others = [one for one in user.all_input_nodes if one is not node]
        if name == "add" and len(others) == 1 and not user.kwargs:
            same = user.meta["shapes"] == others[0].meta["shapes"]
            return (others[0], norm) if same else None  # a constant lacks nothing
        if name == "batch_norm" and norm is None and user.args[0] is node:
            norm = user
        elif name != "dropout":
            return None
        node = user
    return None
