"""A network is cut as a round of pruning proposes, and saved with what was removed and what was not."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from torch import nn

from jetpress.deploy.errors import StageError
from jetpress.pipeline.network import blocks, models
from jetpress.pipeline.network.channels import ChannelGraph, analyse, cut
from jetpress.pipeline.network.models import Network
from jetpress.pipeline.pruning.allocate import Removal
from jetpress.pipeline.pruning.reduction import Limit, Proposal, Reduction, cost_of
from jetpress.pipeline.recipe.sections.compression import PruneConfig
from jetpress.pipeline.store.artifact import Checkpoint
from jetpress.pipeline.store.facts.network import Check, CheckpointFacts, PrunedTime, Pruning, Width


def goals(config: PruneConfig) -> dict[str, float]:
    """What is counted, and the share of it that goes; empty: the ratio of channels decides."""
    shares = {kind: getattr(config, kind) for kind in ("latency", "macs", "params")}
    return {kind: float(share) for kind, share in shares.items() if share is not None}


def limits(reduction: Reduction, shares: Mapping[str, float], whole: Mapping[str, float]) -> list[Limit]:
    """What each cost may come to: ``shares`` of ``whole`` go."""
    return [
        Limit(cost_of(kind, reduction.sizes), (1 - share) * whole[kind]) for kind, share in shares.items()
    ]


def loaded(model: Checkpoint) -> Network:
    """The network, which must have no masks yet.

    Raises:
        StageError: it has.
    """
    network = models.load(model)
    if network.masks:
        raise StageError("channels are removed before 2:4 masks are chosen", "prune first, then sparsify")
    return network


def cut_and_saved(
    network: Network,
    reduction: Reduction,
    found: Proposal,
    facts: CheckpointFacts,
    draft: Path,
    time: PrunedTime | None = None,
) -> Checkpoint:
    """The network without what is proposed; ``facts`` are those of the network before."""
    graph, whole = reduction.graph, whole_of(facts, reduction)
    left = {
        name: why
        for name, why in reduction.room.whole(graph, found.removal).items()
        if not any(name.startswith(f"{block}.") for block in found.blocks)
    }
    pruned, fixed = bool(found.removal or found.blocks), dict(graph.fixed)
    if pruned:
        # Accuracy and training were those of the network before it was cut.
        facts = replace(facts, dense_validation=facts.dense, validation=None, training=None, recovery=None)
        cut_now = cut_in_place(network, graph, found)
    else:
        cut_now = replace(facts.pruning or Pruning(), layers=(), blocks=())
    pruning = replace(
        cut_now,
        fixed=fixed,
        left=left,
        whole=whole,
        time=time,
        gone=_gone(reduction, found, cut_now.refused, whole),
        asked=goals(reduction.config) or {"ratio": reduction.config.ratio},
        multiple=reduction.config.channel_multiple or 1,
    )
    return models.save(network, draft, replace(facts, pruned=pruned, pruning=pruning))


def _gone(
    reduction: Reduction, found: Proposal, refused: Collection[str], whole: Mapping[str, float]
) -> dict[str, float]:
    """Share of the original network that is not there any more, by what is counted."""
    kept = reduction.sizes.after(
        {name: units for name, units in found.removal.items() if name not in refused}
    )
    left = {kind: cost_of(kind, reduction.sizes).total(kept, found.blocks) for kind in whole}
    return {kind: 1 - left[kind] / whole[kind] for kind in ("ratio", "params", "macs") if whole.get(kind)}


def whole_of(facts: CheckpointFacts, reduction: Reduction) -> Mapping[str, float]:
    """What the original network costs; ``facts`` and ``reduction`` are of what is to be cut now."""
    return facts.pruning.whole if facts.pruning else reduction.costs()


def cut_in_place(network: Network, graph: ChannelGraph, found: Proposal) -> Pruning:
    """Remove blocks, then channels, in place."""
    inputs = models.example_inputs(network.model.inputs)
    removal: Removal = dict(found.removal)
    if found.blocks:
        network.module = blocks.remove(network.module, found.blocks)
        network.history.append({"blocks": list(found.blocks)})
        smaller = analyse(network.module, inputs)
        removal, graph = found.without_blocks(graph, smaller), smaller
    if not removal:
        return Pruning(blocks=tuple(found.blocks), as_graph=_is_graph(network.module))
    network.module, step = cut(network.module, inputs, graph, removal)
    network.history.append(step)
    removed = {name: units for name, units in removal.items() if name not in step["refused"]}
    return Pruning(
        layers=tuple(_layers(graph, removed)),
        blocks=tuple(found.blocks),
        refused=step["refused"],
        as_graph=bool(step.get("graph")),
        why=step.get("why", ""),
        check=Check(step["error"], step["precision"]),
    )


def _is_graph(module: nn.Module) -> bool:
    from jetpress.pipeline.network.channels.graph import TracedNet

    return isinstance(module, TracedNet)


def _layers(graph: ChannelGraph, removed: Removal) -> Iterator[Width]:
    """Channels of every layer that lost some; those of one layer may belong to several groups."""
    gone: dict[str, int] = {}
    widths: dict[str, int] = {}
    for group in graph.groups:
        for name in dict.fromkeys([group.name.partition("#")[0], *group.producers]):
            axis = 0 if (name, 0) in group.slices else 1
            if group.name in removed and (name, axis) in group.slices:
                lost = group.slices[name, axis][removed[group.name]].size
                gone[name] = gone.get(name, 0) + lost
                widths[name] = len(graph.trace.tensors[name][axis])
    yield from (Width(name, widths[name], widths[name] - lost) for name, lost in gone.items())
