"""How much each group of channels gives up, and which of its units go.

Widths are rounded to multiples that fill the hardware: an odd width runs slower than the network it came
from. A group that cannot be reduced to such a width stays as it is.

``uniform``, ``global`` and ``isomorphic`` turn a ratio into a removal, and :func:`smallest` finds the ratio
that brings the network down to its limits. ``measured`` knows no ratio: it solves the knapsack of what each width
loses in accuracy against what it saves (:mod:`jetpress.pipeline.pruning.knapsack`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

import numpy as np

from jetpress.pipeline.network.channels import ChannelGraph, Group
from jetpress.pipeline.pruning.criteria import Scores
from jetpress.pipeline.pruning.knapsack import Choice

LEAST = 0.1
"""Share of its channels that a group keeps in a ranking: a layer cut to nothing cannot recover."""
MOST = 0.95
"""Largest ratio that is tried for a cost."""

Removal = dict[str, list[int]]
"""Group name -> units to remove, ascending."""


@dataclass(frozen=True)
class Room:
    """What may go."""

    multiple: int = 1
    """Surviving channel counts are multiples of this; see :func:`step`."""
    ignore: Sequence[str] = ()
    """Shell patterns of parameters whose layers keep all their channels."""
    limits: Mapping[str, float] = field(default_factory=dict)
    """Shell pattern of parameters -> largest share of the channels that may go there."""
    original: Mapping[str, int] = field(default_factory=dict)
    """Units per group before the first round, where they were others."""

    def candidates(self, graph: ChannelGraph) -> list[Group]:
        """Groups none of whose producers is ignored."""
        return [g for g in graph.groups if not any(_matches(g, pattern) for pattern in self.ignore)]

    def narrowable(self, graph: ChannelGraph) -> list[Group]:
        """Candidates that there is a narrower width for."""
        found = self.candidates(graph)
        return [g for g in found if rounded(g, self.least(g, 1.0), self.multiple) < g.units]

    def before(self, group: Group) -> int:
        """Units before the first round."""
        return self.original.get(group.name, group.units)

    def least(self, group: Group, share: float) -> float:
        """Units that stay when ``share`` of the original ones may go, and no more than the limits say."""
        allowed = [limit for pattern, limit in self.limits.items() if _matches(group, pattern)]
        return self.before(group) * (1 - min([share, *allowed]))

    def whole(self, graph: ChannelGraph, removal: Removal) -> dict[str, str]:
        """Groups that have lost no channel, in this round or before, and why."""
        allowed = {group.name for group in self.candidates(graph)}
        untouched = [g for g in graph.groups if g.name not in removal and self.before(g) <= g.units]
        return {g.name: self._why_whole(g) if g.name in allowed else "prune.ignore" for g in untouched}

    def _why_whole(self, group: Group) -> str:
        smallest = step(group, self.multiple)
        if group.units <= smallest:
            return f"{group.width} channels: no smaller multiple of {self.multiple}"
        if self.least(group, 1.0) > group.units - smallest:
            return f"prune.limits leaves less than a multiple of {self.multiple}"
        return f"its share of what goes is less than a multiple of {self.multiple}"


def _matches(group: Group, pattern: str) -> bool:
    return any(fnmatchcase(name, pattern) for name in (group.name, *group.producers))


def uniform(graph: ChannelGraph, scores: Mapping[str, Scores], ratio: float, room: Room) -> Removal:
    """Every group gives up the same share of its channels.

    Args:
        graph: what can go.
        scores: per group one number per unit; the lowest go.
        ratio: share of the ORIGINAL channels that is gone afterwards, in [0, 1).
        room: widths that fill the hardware, what is ignored or limited.
    """
    removal: Removal = {}
    for group in room.candidates(graph):
        removal |= lowest(group, scores[group.name], rounded(group, room.least(group, ratio), room.multiple))
    return removal


def global_(graph: ChannelGraph, scores: Mapping[str, Scores], ratio: float, room: Room) -> Removal:
    """One ranking over the network: each score relative to its group's mean, as groups differ in size.

    ``ratio`` counts channels over all groups together; the other arguments are those of :func:`uniform`.
    """
    return _ranked(room.candidates(graph), scores, ratio, room)


def isomorphic(graph: ChannelGraph, scores: Mapping[str, Scores], ratio: float, room: Room) -> Removal:
    """One ranking for each kind of group (Isomorphic Pruning; Fang et al., 2024).

    Scores of attention heads, of the channels inside a block and of a residual stream are not of one scale.
    Groups are of one kind when they run through tensors of the same ranks and kernels, along the same axes.
    """
    kinds: dict[frozenset[tuple[int, ...]], list[Group]] = {}
    for group in room.candidates(graph):
        tensors = graph.trace.tensors
        kind = frozenset(
            (len(tensors[name]), axis, *(len(a) for a in tensors[name][2:])) for name, axis in group.slices
        )
        kinds.setdefault(kind, []).append(group)
    removal: Removal = {}
    for groups in kinds.values():
        removal |= _ranked(groups, scores, ratio, room)
    return removal


ALLOCATIONS = {"uniform": uniform, "global": global_, "isomorphic": isomorphic}


def _ranked(groups: list[Group], scores: Mapping[str, Scores], ratio: float, room: Room) -> Removal:
    if not groups:
        return {}
    relative = {g.name: scores[g.name] / max(float(scores[g.name].mean()), 1e-30) for g in groups}
    ranked = np.concatenate([relative[g.name] for g in groups])
    channels = np.concatenate([np.full(g.units, g.width / g.units) for g in groups])
    order = np.argsort(ranked, kind="stable")
    total = sum(room.before(g) * g.width / g.units for g in groups)
    to_remove = ratio * total - (total - channels.sum())
    removed = np.cumsum(channels[order]) <= to_remove * (1 + 1e-9)
    survivors = np.ones(len(ranked), dtype=np.bool_)
    survivors[order[removed]] = False
    removal: Removal = {}
    parts = np.split(survivors, np.cumsum([g.units for g in groups])[:-1])
    for group, kept in zip(groups, parts, strict=True):
        wanted = max(int(kept.sum()), room.least(group, 1 - LEAST))
        removal |= lowest(group, scores[group.name], rounded(group, wanted, room.multiple))
    return removal


def smallest(allocate: Callable[[float], Removal], fits: Callable[[Removal], bool]) -> Removal:
    """The removal of the smallest ratio that fits; of the largest one, if none does.

    ``allocate`` takes the ratio; costs may fall in steps, as widths do.
    """
    low, high = 0.0, MOST
    if fits(allocate(low)):
        return allocate(low)
    for _ in range(24):
        middle = (low + high) / 2
        low, high = (low, middle) if fits(allocate(middle)) else (middle, high)
    return allocate(high)


def choices(group: Group, losses: Scores, room: Room) -> list[Choice]:
    """The widths that a group may have, and what each loses: from all units down to the least.

    Args:
        losses: ``[units]``: of keeping one unit, two, ... all of them; the last one is 0.
    """
    size = step(group, room.multiple)
    least = max(room.least(group, 1 - LEAST), size)
    widths = [w for w in range(group.units // size * size, 0, -size) if least <= w < group.units]
    return [Choice(group.units, 0.0), *(Choice(w, float(losses[w - 1])) for w in widths)]


def step(group: Group, multiple: int) -> int:
    """Units between two widths that fill the hardware.

    Units that interleave on the producing axis (a channel of every attention head, or of every group of a
    convolution) form an inner axis of that many units, which itself has to be filled; where they are blocks
    (whole groups) or single channels, it is the total that counts.
    """
    positions = next(iter(group.slices.values()))
    occurrences = positions.shape[1]
    is_inner = occurrences > 1 and bool((np.diff(positions, axis=1) > 1).all())
    if is_inner and group.units >= 2 * multiple:
        return multiple
    return multiple // math.gcd(multiple, occurrences)


def rounded(group: Group, wanted: float, multiple: int) -> int:
    """The number of units nearest to ``wanted`` whose width fills the hardware; all, where none does."""
    size = step(group, multiple)
    kept = max(1, math.floor(wanted / size + 0.5)) * size
    return kept if kept < group.units else group.units


def lowest(group: Group, scores: Scores, keep: int) -> Removal:
    """The units with the lowest scores, so that ``keep`` stay."""
    if keep >= group.units:
        return {}
    order = np.argsort(scores, kind="stable")
    return {group.name: sorted(order[: group.units - keep].tolist())}
