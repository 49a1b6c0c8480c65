"""How much each group of channels gives up, and which of its units go.

Widths are rounded to multiples that fill the hardware: an odd width runs slower than the network it came
from. A group that cannot be reduced to such a width stays as it is.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase

import numpy as np

from pipeline.channels import ChannelGraph, Group
from pipeline.criteria import Scores

LEAST = 0.1
"""Share of its channels that a group keeps in a global ranking: a layer cut to nothing cannot recover."""

Removal = dict[str, list[int]]
"""Group name -> units to remove, ascending."""


def uniform(
    graph: ChannelGraph,
    scores: Mapping[str, Scores],
    ratio: float,
    multiple: int,
    ignore: Sequence[str] = (),
    original: Mapping[str, int] | None = None,
) -> Removal:
    """Every group gives up the same share of its channels.

    Args:
        graph: what can go.
        scores: per group one number per unit; the lowest go.
        ratio: share of the ORIGINAL channels that is gone afterwards, in [0, 1).
        multiple: surviving channel counts are multiples of this; see :func:`step`.
        ignore: shell patterns of parameters whose layers keep all their channels.
        original: units per group before the first round; None: this is the first.
    """
    removal: Removal = {}
    for group in candidates(graph, ignore):
        wanted = (original or {}).get(group.name, group.units) * (1 - ratio)
        removal |= _lowest(group, scores[group.name], rounded(group, wanted, multiple))
    return removal


def global_(
    graph: ChannelGraph,
    scores: Mapping[str, Scores],
    ratio: float,
    multiple: int,
    ignore: Sequence[str] = (),
    original: Mapping[str, int] | None = None,
) -> Removal:
    """One ranking over the network: each score relative to its group's mean, as groups differ in size.

    ``ratio`` counts channels over all groups together; the other arguments are those of :func:`uniform`.
    """
    groups = candidates(graph, ignore)
    if not groups:
        return {}
    before = {group.name: (original or {}).get(group.name, group.units) for group in groups}
    relative = {g.name: scores[g.name] / max(float(scores[g.name].mean()), 1e-30) for g in groups}
    ranked = np.concatenate([relative[g.name] for g in groups])
    channels = np.concatenate([np.full(g.units, g.width / g.units) for g in groups])
    order = np.argsort(ranked, kind="stable")
    total = sum(before[g.name] * g.width / g.units for g in groups)
    to_remove = ratio * total - (total - channels.sum())
    removed = np.cumsum(channels[order]) <= to_remove * (1 + 1e-9)
    survivors = np.ones(len(ranked), dtype=np.bool_)
    survivors[order[removed]] = False
    removal: Removal = {}
    for group, kept in zip(
        groups, np.split(survivors, np.cumsum([g.units for g in groups])[:-1]), strict=True
    ):
        wanted = max(int(kept.sum()), LEAST * before[group.name])
        removal |= _lowest(group, scores[group.name], rounded(group, wanted, multiple))
    return removal


ALLOCATIONS = {"uniform": uniform, "global": global_}


def candidates(graph: ChannelGraph, ignore: Sequence[str]) -> list[Group]:
    """Groups none of whose producers is ignored."""

    def is_ignored(group: Group) -> bool:
        names = {group.name, *group.producers}
        return any(fnmatchcase(name, pattern) for name in names for pattern in ignore)

    return [group for group in graph.groups if not is_ignored(group)]


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


def _lowest(group: Group, scores: Scores, keep: int) -> Removal:
    if keep >= group.units:
        return {}
    order = np.argsort(scores, kind="stable")
    return {group.name: sorted(order[: group.units - keep].tolist())}
