"""Groups of channels, read off the labels of a traced network; and what is fixed, with the reason."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np

from jetpress.pipeline.network.channels.graph import Place, Trace
from jetpress.pipeline.network.channels.labels import Indices


@dataclass(frozen=True)
class Group:
    """Channels that go together, one entry per prunable unit."""

    name: str
    """The first parameter that produces them; ``name#2`` for the second group of the same parameter."""
    units: int
    """How many units can go one by one."""
    width: int
    """Channels on the axis that produces them: ``units`` times how often a unit occurs there."""
    slices: Mapping[Place, Indices]
    """(parameter, axis) -> indices ``[units, occurrences]`` along that axis. The first is what produces them."""
    producers: tuple[str, ...]
    """All parameters that produce these channels: more than one where layers are added up."""


@dataclass(frozen=True)
class ChannelGraph:
    """What can be removed from a network, and what cannot for which reason."""

    groups: tuple[Group, ...]
    fixed: Mapping[str, str]
    """Parameter -> the operator that fixed its output channels."""
    trace: Trace = field(repr=False, compare=False)


@dataclass(frozen=True)
class _Alike:
    """Units that occur at the same places, equally often."""

    where: Indices
    """Number of the place, per occurrence of a unit."""
    roots: Indices
    positions: Indices
    """``[units, occurrences]``, along the axis of the place."""


def channel_graph(source: Trace) -> ChannelGraph:
    """The free classes of labels, those alike as one group, in the order of the network."""
    places = [(name, k) for name, axes in source.tensors.items() for k in range(len(axes))]
    owner = _owners(source)
    alike = _alike(source)
    groups = []
    for one, made in zip(alike, _producers(source, owner, alike), strict=True):
        numbers = dict.fromkeys([*made[:1], *one.where.tolist()])
        if len(one.roots) < 2 or len(numbers) < 2:
            continue
        slices = {places[number]: one.positions[:, one.where == number] for number in numbers}
        first = next(iter(slices))
        producers = tuple(places[number][0] for number in made)
        groups.append(Group(first[0], len(one.roots), slices[first].size, slices, producers))
    return ChannelGraph(tuple(_named_apart(groups)), _fixed(source, owner, places), source)


def _alike(source: Trace) -> list[_Alike]:
    """Every free class with all its occurrences, classes of the same signature together."""
    axes = [axis for tensor in source.tensors.values() for axis in tensor]
    if not axes:
        return []
    labels = np.concatenate(axes)
    lengths = [len(axis) for axis in axes]
    place = np.repeat(np.arange(len(axes)), lengths)
    position = np.concatenate([np.arange(length) for length in lengths])
    free = source.labels.reason(labels) == 0
    roots, first, member = np.unique(source.labels.find(labels[free]), return_index=True, return_inverse=True)
    order = np.argsort(first[member], kind="stable")  # class by class, as they first occur
    place, position = place[free][order], position[free][order]
    ends = np.cumsum(np.bincount(member)[np.argsort(first)])
    found: dict[bytes, list[int]] = {}
    for k, (start, end) in enumerate(zip([0, *ends[:-1].tolist()], ends.tolist(), strict=False)):
        found.setdefault(place[start:end].tobytes(), []).append(k)
    roots = roots[np.argsort(first)]
    starts = ends - np.bincount(member)[np.argsort(first)]
    return [
        _Alike(where := np.frombuffer(key, dtype=place.dtype), roots[units],
               position[starts[units][:, None] + np.arange(len(where))])
        for key, units in found.items()
    ]  # fmt: skip


def _owners(source: Trace) -> Indices:
    """Label -> number of the place that it was made for, -1 for none."""
    owner = np.full(source.labels.size, -1, dtype=np.int64)
    axes = (axis for tensor in source.tensors.values() for axis in tensor)
    for number, axis in enumerate(axes):
        owner[axis] = number
    owner[0] = -1
    return owner


def _producers(source: Trace, owner: Indices, alike: list[_Alike]) -> list[list[int]]:
    """Per group the places where its channels come into being, in the order of the graph."""
    group = np.full(source.labels.size, -1, dtype=np.int64)
    for number, one in enumerate(alike):
        group[one.roots] = number
    made: list[dict[int, None]] = [{} for _ in alike]
    for axis in source.produced:
        pairs = np.stack([group[source.labels.find(axis)], owner[axis]], axis=1)
        for number, place in np.unique(pairs[(pairs >= 0).all(axis=1)], axis=0).tolist():
            made[number][place] = None
    return [list(one) for one in made]


def _named_apart(groups: Iterable[Group]) -> Iterable[Group]:
    seen: dict[str, int] = {}
    for group in groups:
        seen[group.name] = count = seen.get(group.name, 0) + 1
        yield group if count == 1 else Group(**{**vars(group), "name": f"{group.name}#{count}"})


def _fixed(source: Trace, owner: Indices, places: list[Place]) -> dict[str, str]:
    """Per parameter with channels that cannot go: the first reason, and how many where not all."""
    fixed = {}
    for axis in source.produced:
        reasons = source.labels.reason(axis)
        held = np.flatnonzero(reasons)
        if len(held) and len(axis) > 1 and (number := int(owner[axis[held[0]]])) >= 0:
            text = source.labels.reasons[reasons[held[0]]]
            share = "" if len(held) == len(axis) else f"{len(held)} of {len(axis)} channels: "
            fixed[places[number][0]] = share + text
    return fixed
