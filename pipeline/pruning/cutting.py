"""A network is cut as a round of pruning proposes, and saved with what was removed and what was not."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from torch import nn

from jetpress.deploy.errors import StageError
from jetpress.pipeline.network import blocks, models
from jetpress.pipeline.network.channels import ChannelGraph, analyse, cut
from jetpress.pipeline.network.models import Network
from jetpress.pipeline.pruning.allocate import Removal
from jetpress.pipeline.pruning.reduction import Limit, Proposal, Reduction, cost_of
from jetpress.pipeline.recipe.sections.compression import PruneConfig
from jetpress.pipeline.store.artifact import Checkpoint

OF_ANOTHER = ("validation", "best_epoch", "epochs", "curve", "after_pruning", "after_recalibration")
"""Facts of the network before it was cut."""


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
    network: Network, reduction: Reduction, found: Proposal, facts: Mapping[str, Any], draft: Path
) -> Checkpoint:
    """The network without what is proposed, and the facts of :func:`jetpress.pipeline.stages.prune.prune`."""
    graph = reduction.graph
    left = {
        name: why
        for name, why in reduction.room.whole(graph, found.removal).items()
        if not any(name.startswith(f"{block}.") for block in found.blocks)
    }
    done = {"pruned": bool(found.removal or found.blocks), "fixed": dict(graph.fixed), "left": left}
    if not done["pruned"]:
        empty = {"removed_channels": 0, "layers": [], "blocks": []}
        return models.save(network, draft, {**facts, **done, **empty})
    known = {key: value for key, value in facts.items() if key not in OF_ANOTHER}
    if "validation" in facts:
        known.setdefault("dense_validation", facts["validation"])
    return models.save(network, draft, {**known, **done, **cut_in_place(network, graph, found)})


def cut_in_place(network: Network, graph: ChannelGraph, found: Proposal) -> dict[str, Any]:
    """Remove blocks, then channels, in place. Returns the facts."""
    inputs = models.example_inputs(network.model.inputs)
    removal: Removal = dict(found.removal)
    if found.blocks:
        network.module = blocks.remove(network.module, found.blocks)
        network.history.append({"blocks": list(found.blocks)})
        smaller = analyse(network.module, inputs)
        removal, graph = found.without_blocks(graph, smaller), smaller
    facts = {"blocks": list(found.blocks), "refused": [], "as_graph": _is_graph(network.module), "why": ""}
    layers: list[dict[str, Any]] = []
    if removal:
        network.module, step = cut(network.module, inputs, graph, removal)
        network.history.append(step)
        removed = {name: units for name, units in removal.items() if name not in step["refused"]}
        layers = list(_layers(graph, removed))
        facts |= {"refused": step["refused"], "as_graph": bool(step.get("graph")), "why": step.get("why", "")}
        facts["check"] = {key: step[key] for key in ("error", "precision")}
    gone = sum(layer["before"] - layer["after"] for layer in layers)
    return {**facts, "layers": layers, "removed_channels": gone}


def _is_graph(module: nn.Module) -> bool:
    from jetpress.pipeline.network.channels.graph import TracedNet

    return isinstance(module, TracedNet)


def _layers(graph: ChannelGraph, removed: Removal) -> Iterator[dict[str, Any]]:
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
    yield from ({"name": n, "before": widths[n], "after": widths[n] - lost} for n, lost in gone.items())
