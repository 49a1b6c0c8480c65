"""Input channels reordered before masking, so that N:M keeps more magnitude; the function stays.

Which channels share a group of four is arbitrary: they may be reordered together with whatever makes and
reads them (Pool & Yu, "Channel Permutations for N:M Sparsity", NeurIPS 2021). The groups of coupled channels
come from :mod:`pipeline.channels`; a reordering is kept only if the network computes the same after it.

The search is our own. Take one channel out of every group of M: what each group would keep with each of them
put back is one table, and the best way to put all of them back at once is an assignment problem, solved
exactly. It is repeated with other channels, at first with some noise on the table, which dies away. Pool & Yu
try the 35 ways to part two groups of four, pair by pair; here all groups trade in one step, for any N:M.
"""

from __future__ import annotations

import operator
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment  # type: ignore[import-untyped]
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from deploy.console import progress
from pipeline.channels import ChannelGraph, Group
from pipeline.channels import oracle as oracle
from pipeline.channels.graph import Survivors, Trace
from pipeline.channels.labels import Indices
from pipeline.sparse import masks
from pipeline.sparse.products import Product

NOISE = 0.2
"""Of the first step, in standard deviations of the table (after its row and column means); searches abreast have from
half to twice as much."""
WORK = 4e9
"""Comparisons that one search may cost: some seconds on one core."""
STEPS = (32, 400)
"""At least and at most this many, whatever the work."""
ALONE = 40
"""From so many groups on one search is enough. Fewer get stuck more easily and cost little: of these (ALONE / groups)
squared searches go abreast, at most 16, and the best is taken."""
TOLERANCE = 1e-6
"""Largest difference of the outputs in double precision, relative to their largest value."""

Table = NDArray[np.float64]


# The search


def search(matrix: Tensor, kept: int = masks.KEPT, group: int = masks.GROUP, seed: int = 0) -> Tensor:
    """An order of the columns in which N:M keeps more.

    Args:
        matrix: what each weight matters, ``[rows, in]``, not negative.
        kept: N.
        group: M; ``in`` is a multiple of it.
        seed: of the channels taken out and of the noise.

    Returns:
        permutation ``[in]``: position -> column. Never keeps less than the order given.
    """
    groups, total = matrix.shape[1] // group, matrix.shape[1]
    if groups < 2 or kept >= group:
        return torch.arange(total)
    columns, random = matrix.float().t().contiguous(), np.random.default_rng(seed)
    steps = int(np.clip(WORK / (groups * columns.numel() / group), *STEPS))
    chains = int(np.clip((ALONE / groups) ** 2, 1, 16))
    order = best = torch.arange(total).repeat(chains, 1)
    gained, most, scale = np.zeros(chains), np.zeros(chains), np.zeros((chains, 1, 1))
    spread = 2.0 ** np.linspace(-1, 1, chains)[:, None, None] if chains > 1 else np.ones((1, 1, 1))
    for step in range(steps):
        shuffled = torch.from_numpy(random.random((chains, groups, group)).argsort(-1))
        members = order.view(chains, groups, group).gather(2, shuffled)
        table = _worth(columns, members, kept)
        scale = scale if step else NOISE * float(_centred(table).std()) * spread
        noise = scale * (1 - step / steps) * random.gumbel(size=table.shape)
        chosen = np.stack([linear_sum_assignment(one, maximize=True)[1] for one in table + noise])
        gained = gained + _gain(table, chosen)
        members[..., -1] = members[..., -1].gather(1, torch.from_numpy(chosen))
        order = members.flatten(1)
        better = gained > most
        most = np.where(better, gained, most)
        best = torch.where(torch.from_numpy(better)[:, None], order, best)
    found = best[int(most.argmax())]
    better_than_given = masks.magnitude(matrix[:, found], kept, group) > masks.magnitude(matrix, kept, group)
    return found if better_than_given else torch.arange(total)


def _worth(columns: Tensor, members: Tensor, kept: int) -> Table:
    """What group i keeps with the last member of group j in place of its own, but for a constant of row i.

    In each row the group's other members keep their N - 1 largest, and the Nth or the newcomer is kept,
    whichever is larger: summed over rows that is half of both sums and their distance in the 1-norm.

    Args:
        columns: ``[in, rows]``.
        members: ``[chains, groups, M]``.
        kept: N.

    Returns:
        ``[chains, groups, groups]``
    """
    rest = [columns[members[..., k]] for k in range(members.shape[-1] - 1)]
    if kept == 2 and len(rest) == 3:  # 2:4: the second of three without sorting, a fifth of the search's time
        a, b, c = rest
        threshold = torch.maximum(torch.minimum(a, b), torch.minimum(torch.maximum(a, b), c))
    else:
        threshold = torch.stack(rest).sort(dim=0, descending=True).values[kept - 1]
    newcomers = columns[members[..., -1]]
    distance: Tensor = torch.cdist(threshold, newcomers, p=1)
    worth: Table = (distance + newcomers.sum(-1).unsqueeze(1)).double().numpy() / 2
    return worth


def _gain(table: Table, chosen: Indices) -> Table:
    """What each chain wins when its groups take the newcomers ``chosen`` ``[chains, groups]``."""
    new, old = np.take_along_axis(table, chosen[..., None], 2), np.diagonal(table, axis1=1, axis2=2)
    won: Table = new.sum((1, 2)) - old.sum(1)
    return won


def _centred(table: Table) -> Table:
    """Without what every choice for a group, or of a newcomer, has in common."""
    rows, columns = table.mean(2, keepdims=True), table.mean(1, keepdims=True)
    centred: Table = table - rows - columns + rows.mean(1, keepdims=True)
    return centred


# The network


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


def _difference(found: Any, expected: Any) -> float:
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
