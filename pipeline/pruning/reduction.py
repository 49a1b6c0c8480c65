"""What a round of pruning takes away: the removal whose costs are below their limits.

A cost is a sum over layers (multiply-adds, milliseconds), tensors (parameters) or groups (channels), at any
widths and without any blocks. Scopes that know a ratio are searched for the smallest one; ``measured`` weighs
what each width and each block loses against what it saves.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from jetpress.pipeline.graph.layers import REST
from jetpress.pipeline.network import models
from jetpress.pipeline.network.channels import ChannelGraph, Step, analyse
from jetpress.pipeline.network.models import Network
from jetpress.pipeline.pruning.allocate import ALLOCATIONS, Removal, Room, choices, lowest, smallest
from jetpress.pipeline.pruning.costs import Counts, Kept, Sizes
from jetpress.pipeline.pruning.criteria import Scores
from jetpress.pipeline.pruning.curves import Curves, opened
from jetpress.pipeline.pruning.knapsack import Choice, solve
from jetpress.pipeline.pruning.timing import TimeModel
from jetpress.pipeline.recipe.sections.compression import PruneConfig
from jetpress.pipeline.store.artifact import Sensitivity


@dataclass(frozen=True)
class Cost:
    """A sum over named parts."""

    names: tuple[str, ...]
    """Of the parts: a block's parts begin with its name and a dot."""
    parts: Callable[[Kept], Counts]
    """Units kept ``[n, groups]`` -> ``[n, parts]``."""

    def total(self, kept: Kept, blocks: Sequence[str] = ()) -> float:
        """Of one network without these blocks."""
        return float(self.many(kept, np.ones((1, len(blocks))), blocks)[0])

    def many(self, kept: Kept, without: NDArray[np.float64], blocks: Sequence[str]) -> NDArray[np.float64]:
        """Of ``n`` networks; ``without`` ``[n, blocks]`` is 1 where a block is gone."""
        inside = np.array(
            [[_within(name, block) for name in self.names] for block in blocks], dtype=np.float64
        )
        stays = 1 - np.minimum(without @ inside, 1) if len(blocks) else 1.0
        return np.asarray((self.parts(kept) * stays).sum(1))


def _within(name: str, block: str) -> bool:
    return name == block or name.startswith(f"{block}.")


def cost_of(kind: str, sizes: Sizes, times: TimeModel | None = None) -> Cost:
    """``macs``, ``params``, ``ratio`` (channels) or ``latency`` (which needs ``times``)."""
    if kind == "macs":
        return Cost(sizes.layers, sizes.layer_macs)
    if kind == "params":
        return Cost(sizes.tensors, sizes.parameters)
    if kind == "latency":
        assert times is not None
        return Cost((*sizes.layers, REST), lambda kept: times.layers(sizes, kept))
    widths = np.array([group.width / group.units for group in sizes.groups])
    return Cost(tuple(group.name for group in sizes.groups), lambda kept: kept * widths)


@dataclass(frozen=True)
class Limit:
    """What a cost may come to."""

    cost: Cost
    most: float


@dataclass(frozen=True)
class Proposal:
    """What may be taken away."""

    removal: Removal
    blocks: tuple[str, ...] = ()

    def without_blocks(self, before: ChannelGraph, after: ChannelGraph) -> Removal:
        """The removal in the graph that is left when the blocks are gone: groups are found by their tensors."""
        places = {place: group for group in after.groups for place in group.slices}
        found: Removal = {}
        for group in before.groups:
            if units := self.removal.get(group.name):
                twin = next((places[place] for place in group.slices if place in places), None)
                if twin is not None and twin.units == group.units:
                    found[twin.name] = units
        return found


@dataclass(frozen=True)
class Reduction:
    """A network, what may go from it, and what that loses."""

    config: PruneConfig
    graph: ChannelGraph
    scores: Mapping[str, Scores]
    room: Room
    sizes: Sizes
    curves: Curves

    @classmethod
    def of(cls, network: Network, config: PruneConfig, judged: Sensitivity) -> Self:
        """Analyse ``network``, whose channels and widths ``judged`` is about."""
        graph = analyse(network.module, models.example_inputs(network.model.inputs))
        return cls.over(graph, config, *opened(judged), network.history)

    @classmethod
    def over(
        cls,
        graph: ChannelGraph,
        config: PruneConfig,
        scores: Mapping[str, Scores],
        curves: Curves,
        history: Sequence[Step],
    ) -> Self:
        """Of an analysed network; ``history`` says what it has lost before."""
        assert config.channel_multiple is not None
        room = Room(config.channel_multiple, config.ignore, config.limits, _original(history))
        return cls(config, graph, scores, room, Sizes(graph), curves)

    def costs(self) -> dict[str, float]:
        """Of the network as it is, by kind."""
        kinds = ("macs", "params", "ratio")
        return {kind: cost_of(kind, self.sizes).total(self.sizes.dense) for kind in kinds}

    def propose(self, limits: Sequence[Limit]) -> Proposal:
        """What brings every cost down to its limit; the nearest that there is, where nothing does."""
        if self.config.scope == "measured":
            return self._weighed(limits)

        def fits(removal: Removal) -> bool:
            kept = self.sizes.after(removal)
            return all(limit.cost.total(kept) <= limit.most for limit in limits)

        return Proposal(smallest(lambda ratio: self.at(ratio).removal, fits))

    def at(self, ratio: float) -> Proposal:
        """What goes at a share of the channels."""
        return Proposal(
            ALLOCATIONS[self.config.scope or "uniform"](self.graph, self.scores, ratio, self.room)
        )

    def _weighed(self, limits: Sequence[Limit]) -> Proposal:
        """The knapsack over widths and blocks."""
        groups, blocks = self.graph.groups, tuple(self.curves.blocks)
        allowed = {group.name for group in self.room.candidates(self.graph)}
        items = [
            choices(group, self.curves.losses(group), self.room)
            if group.name in allowed
            else [Choice(group.units, 0.0)]
            for group in groups
        ]
        items += [[Choice(1, 0.0), Choice(0, self.curves.blocks[block])] for block in blocks]

        def totals(kept: NDArray[np.float64]) -> NDArray[np.float64]:
            widths, without = kept[:, : len(groups)], 1 - kept[:, len(groups) :]
            return np.stack([limit.cost.many(widths, without, blocks) for limit in limits], 1)

        taken = solve(items, totals, [limit.most for limit in limits])
        kept = [item[choice].kept for item, choice in zip(items, taken, strict=True)]
        gone = tuple(block for block, stays in zip(blocks, kept[len(groups) :], strict=True) if not stays)
        removal: Removal = {}
        for group, width in zip(groups, kept, strict=False):
            removal |= lowest(group, self.scores[group.name], width)
        return Proposal(removal, gone)


def _original(history: Sequence[Step]) -> dict[str, int]:
    """Units of each group before the first round."""
    units: dict[str, int] = {}
    for step in history:
        for name, (before, _) in step.get("units", {}).items():
            units.setdefault(name, before)
    return units
