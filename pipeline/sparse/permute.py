"""Input channels reordered before masking, so that N:M keeps more magnitude; the function stays.

Which channels share a group of four is arbitrary: they may be reordered together with whatever makes and
reads them (Pool & Yu, "Channel Permutations for N:M Sparsity", NeurIPS 2021). The groups of coupled channels
come from :mod:`jetpress.pipeline.network.channels`; a reordering is kept only if the network computes the same after
it.
"""

from __future__ import annotations

import operator
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from jetpress.deploy.console import progress
from jetpress.pipeline.network.channels import ChannelGraph, Group
from jetpress.pipeline.network.channels import oracle as oracle
from jetpress.pipeline.network.channels.graph import Survivors, Trace
from jetpress.pipeline.network.channels.labels import Indices
from jetpress.pipeline.sparse import masks
from jetpress.pipeline.sparse.products import Product
from jetpress.pipeline.sparse.search import search as search

TOLERANCE = 1e-6
"""Largest difference of the outputs in double precision, relative to their largest value."""


@dataclass(frozen=True)
class Permuted:
    """What became of a network's input channels."""

    reasons: Mapping[str, str] = field(default_factory=dict)
    """Weight -> why its input channels stayed as they were."""
    error: float = 0.0
    """Largest difference of the outputs, in double precision, relative to their largest value."""


@dataclass(frozen=True)
class Move:
    """A reordering of one group of coupled channels: unit ``new[i]`` comes to where ``old[i]`` was."""

    group: Group
    readers: tuple[str, ...]
    """Weights whose input channels these are."""
    old: Indices
    new: Indices


def permute(
    module: nn.Module,
    inputs: tuple[Tensor, ...],
    graph: ChannelGraph,
    layers: Sequence[Product],
    kept: int = masks.KEPT,
    group: int = masks.GROUP,
    others: Mapping[str, Tensor] | None = None,
) -> Permuted:
    """Reorder the channels of ``module`` in place, for the ``layers`` that will be masked.

    Args:
        module: the network that ``graph`` was made of.
        inputs: what it is checked on.
        graph: its groups of coupled channels.
        layers: weights whose input channels count.
        kept: N.
        group: M.
        others: tensors beside the module's that follow its parameters, by name (masks); changed in place.
    """
    saved = module.state_dict(keep_vars=True)
    reasons = {layer.name: "its input channels are coupled to what cannot be reordered" for layer in layers}
    moves = []
    with progress("channels reordered for 2:4", len(graph.groups)) as line:
        for one in graph.groups:
            readers = [layer for layer in layers if (layer.name, layer.axis) in one.slices]
            if lost := [name for name, _ in one.slices if name not in saved]:
                reasons |= {layer.name: f"{lost[0]} is not among the saved weights" for layer in readers}
            elif (move := _move(saved, one, readers, kept, group)) is not None:
                moves.append(move)
            else:
                reasons |= {layer.name: "no order of its input channels keeps more" for layer in readers}
            line.step()
    accepted, error = _legal(graph.trace, inputs, moves)
    for move in moves:
        reasons |= dict.fromkeys(
            move.readers, "" if move in accepted else "reordered, the network computes something else"
        )
    for tensors in (saved, others or {}):
        for name, tensor in _reordered(tensors, accepted).items():
            tensors[name].data.copy_(tensor)
    return Permuted({name: reason for name, reason in reasons.items() if reason}, error)


def _move(
    tensors: Mapping[str, Tensor], one: Group, readers: Sequence[Product], kept: int, group: int
) -> Move | None:
    """The best order found for all readers together; None where there is nothing to gain."""
    if (gathered := gather(tensors, one, readers, group)) is None:
        return None
    matrix, old, names = gathered
    found = search(matrix, kept, group)
    if torch.equal(found, torch.arange(len(found))):
        return None
    return Move(one, names, old, old[found.numpy()])


def gather(
    tensors: Mapping[str, Tensor], one: Group, readers: Sequence[Product], group: int = masks.GROUP
) -> tuple[Tensor, Indices, tuple[str, ...]] | None:
    """What a group's channels matter to those that read them, ``[rows, units]``; the units' order; the readers.

    Readers that would mask other units together are left out; None where nobody is left.
    """
    orders = {
        layer: order
        for layer in readers
        if (order := _order(one.slices[layer.name, layer.axis], group)) is not None
    }
    if not orders:
        return None
    units = orders[max(orders, key=lambda layer: tensors[layer.name].numel())]
    alike = [layer for layer, order in orders.items() if _blocks(order, group) == _blocks(units, group)]
    parts = []
    for layer in alike:
        places = torch.from_numpy(one.slices[layer.name, layer.axis][units])  # [units, occurrences]
        parts.append(masks.rows(tensors[layer.name], layer.axis)[:, places].movedim(-1, 1).flatten(0, 1))
    return torch.cat(parts), units, tuple(layer.name for layer in alike)


def _order(places: Indices, group: int) -> Indices | None:
    """Units in the order of a layer's input channels; None unless they fill its groups one after the other.

    Args:
        places: ``[units, occurrences]``, input channels.
        group: M.
    """
    order = places[:, 0].argsort()
    if len(order) % group or len(order) < 2 * group:
        return None
    blocks = places[order].reshape(-1, group, places.shape[1]) // group
    return order if bool((blocks == blocks[:, :1]).all()) else None


def _blocks(order: Indices, group: int) -> set[frozenset[int]]:
    """Which units are masked together."""
    return {frozenset(block) for block in order.reshape(-1, group).tolist()}


def _reordered(tensors: Mapping[str, Tensor], moves: Iterable[Move]) -> dict[str, Tensor]:
    """Changed copies of the tensors that the moves change."""
    result: dict[str, Tensor] = {}
    for move in moves:
        for (name, axis), places in move.group.slices.items():
            if name in tensors:
                before = result.get(name, tensors[name].detach())
                target, source = (torch.from_numpy(places[units].ravel()) for units in (move.old, move.new))
                result[name] = before.index_copy(axis, target, before.index_select(axis, source))
    return result


def _legal(source: Trace, inputs: tuple[Tensor, ...], moves: Sequence[Move]) -> tuple[list[Move], float]:
    """The moves under which the network computes the same, on its own weights and on random ones.

    Random ones, because trained or fresh ones can hide an error: a branch scaled by 1e-6, zero biases.
    """
    held = {
        str(node.meta["name"]): operator.attrgetter(str(node.target))(source.module)
        for node in source.module.graph.nodes
        if node.op == "get_attr" and "name" in node.meta
    }
    own = {name: t.detach().double() if t.is_floating_point() else t for name, t in held.items()}
    draws = [own, oracle.random_weights(source, held)]
    everything = Survivors(source.labels, np.zeros(source.labels.size, dtype=np.bool_))
    expected = [oracle.masked(source, everything, draw, inputs) for draw in draws] if moves else []
    accepted: list[Move] = []
    worst, pending = 0.0, [list(moves)] if moves else []
    while pending:
        some = pending.pop()
        moved = [{**draw, **_reordered(draw, accepted + some)} for draw in draws]
        found = [oracle.masked(source, everything, draw, inputs) for draw in moved]
        error = max(map(_difference, found, expected))
        if error <= TOLERANCE:
            accepted, worst = accepted + some, error
        elif len(some) > 1:
            pending += [some[len(some) // 2 :], some[: len(some) // 2]]
    return accepted, worst


def _difference(found: object, expected: object) -> float:
    """Largest difference over all outputs, relative to the largest value of each."""
    pairs = [
        (a, b)
        for a, b in zip(tree_leaves(found), tree_leaves(expected), strict=True)
        if isinstance(b, Tensor)
    ]
    scales = [float(b.abs().max()) or 1.0 for _, b in pairs]
    return max(
        (float((a - b).abs().max()) / scale for (a, b), scale in zip(pairs, scales, strict=True)), default=0.0
    )
