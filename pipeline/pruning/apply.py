"""A network is cut as a round of pruning proposes, and saved with what was removed and what was not."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn

from jetpress.deploy import console
from jetpress.deploy.errors import StageError
from jetpress.pipeline.data.loading import at_once, load
from jetpress.pipeline.network import blocks, models
from jetpress.pipeline.network.channels import ChannelGraph, Step, analyse, copied, cut, positions
from jetpress.pipeline.network.channels.modes import evaluating
from jetpress.pipeline.network.models import Network
from jetpress.pipeline.pruning.allocate import Removal
from jetpress.pipeline.pruning.norms import settle
from jetpress.pipeline.pruning.reconstruct import HELD, reconstruct
from jetpress.pipeline.pruning.reduction import Limit, Proposal, Reduction, cost_of
from jetpress.pipeline.recipe.sections.compression import PruneConfig
from jetpress.pipeline.sparse.walking import traced
from jetpress.pipeline.store.artifact import Checkpoint
from jetpress.pipeline.store.facts.network import Check, CheckpointFacts, PrunedTime, Pruning, Width

TIMES = 4
"""As many images are fitted on as ``data.calibration_images``, which is for looking at outputs: layers have thousands
of weights."""
BATCH = 16
"""Images that are walked through both networks at a time."""


def goals(config: PruneConfig) -> dict[str, float]:
    """What is counted, and the share of it that goes; empty: the ratio of channels decides."""
    shares = {kind: getattr(config, kind) for kind in ("latency", "macs", "params")}
    return {kind: float(share) for kind, share in shares.items() if share is not None}


def limits(reduction: Reduction, shares: Mapping[str, float], whole: Mapping[str, float]) -> list[Limit]:
    """What each cost may come to: ``shares`` of ``whole`` go."""
    return [
        Limit(cost_of(kind, reduction.sizes), (1 - share) * whole[kind]) for kind, share in shares.items()
    ]


def proposed(reduction: Reduction, whole: Mapping[str, float]) -> Proposal:
    """What goes by the configuration of ``reduction``, of a network that cost ``whole`` at first."""
    config = reduction.config
    if (shares := goals(config)) or config.scope == "measured":
        return reduction.propose(limits(reduction, shares or {"ratio": config.ratio}, whole))
    return reduction.at(config.ratio)


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
    whole, pruned = whole_of(facts, reduction), bool(found.removal or found.blocks)
    if pruned:
        # Accuracy and training were those of the network before it was cut.
        facts = replace(facts, dense_validation=facts.dense, validation=None, training=None, recovery=None)
        dense = copied(network.module) if reduction.config.reconstruct else None
        cut_now = cut_in_place(network, reduction.graph, found)
        if dense is not None:
            data, count = (
                load(network.data, network.seed, network.task),
                TIMES * network.data.calibration_images,
            )
            images = at_once(data, count)
            fitted(dense, network.module, network.history[-1], images)
    else:
        cut_now = replace(facts.pruning or Pruning(), layers=(), blocks=())
    pruning = replace(recorded(reduction, found, cut_now, whole), time=time)
    return models.save(network, draft, replace(facts, pruned=pruned, pruning=pruning))


def kept_by(step: Step) -> dict[str, dict[int, Tensor]]:
    """Name of a parameter or buffer -> axis -> the positions that a step left of it."""
    return {name: {k: torch.from_numpy(p) for k, p in axes.items()} for name, axes in positions(step).items()}


def fitted(
    dense: nn.Module, pruned: nn.Module, step: Step, images: tuple[Tensor, ...], *, settles: bool = True
) -> None:
    """The weights that are left in ``pruned`` take over for those that ``step`` took away, judged on ``images``.

    ``settles``: BatchNorm takes over their statistics.
    """
    kept = kept_by(step)
    batches = even_batches(images)
    with evaluating(dense), evaluating(pruned):
        source = traced(pruned, batches)
        errors = reconstruct(traced(dense, batches), source, kept, batches).values()
        if settles:
            settle(source, batches)
    if errors:
        cut_, now = (
            sum(values) / len(errors) for values in zip(*((e.cut, e.fitted) for e in errors), strict=True)
        )
        console.say(f"    {len(errors)} layers fitted: error of their outputs {cut_:.3g} -> {now:.3g}, mean")


def even_batches(images: tuple[Tensor, ...]) -> list[tuple[Tensor, ...]]:
    """Batches of one size, at least :data:`HELD` where there are so many; what does not fill the last is left out."""
    count = len(images[0])
    most = min(BATCH, max(2, count // HELD), count)
    size = max(range(most, max(most // 4, 1) - 1, -1), key=lambda size: count // size * size)
    return list(zip(*(torch.split(x[: count // size * size], size) for x in images), strict=True))


def recorded(reduction: Reduction, found: Proposal, cut_now: Pruning, whole: Mapping[str, float]) -> Pruning:
    """What was cut, with what was not and why, and the shares of ``whole`` that are gone."""
    left = {
        name: why
        for name, why in reduction.room.whole(reduction.graph, found.removal).items()
        if not any(name.startswith(f"{block}.") for block in found.blocks)
    }
    return replace(
        cut_now,
        fixed=dict(reduction.graph.fixed),
        left=left,
        whole=whole,
        gone=_gone(reduction, found, cut_now.refused, whole),
        asked=goals(reduction.config) or {"ratio": reduction.config.ratio},
        multiple=reduction.config.channel_multiple or 1,
    )


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
    network.module, steps, pruning = cut_out(network.module, inputs, graph, found)
    network.history += steps
    return pruning


def cut_out(
    module: nn.Module, inputs: tuple[Tensor, ...], graph: ChannelGraph, found: Proposal
) -> tuple[nn.Module, list[Step], Pruning]:
    """The network without what is proposed, and the steps that :func:`models.replay` repeats.

    Blocks go from ``module`` itself, channels from a copy of it.
    """
    removal: Removal = dict(found.removal)
    steps: list[Step] = []
    if found.blocks:
        module = blocks.remove(module, found.blocks)
        steps.append({"blocks": list(found.blocks)})
        smaller = analyse(module, inputs)
        removal, graph = found.without_blocks(graph, smaller), smaller
    if not removal:
        return module, steps, Pruning(blocks=tuple(found.blocks), as_graph=_is_graph(module))
    module, step = cut(module, inputs, graph, removal)
    removed = {name: units for name, units in removal.items() if name not in step["refused"]}
    pruning = Pruning(
        layers=tuple(_layers(graph, removed)),
        blocks=tuple(found.blocks),
        refused=step["refused"],
        as_graph=bool(step.get("graph")),
        why=step.get("why", ""),
        check=Check(step["error"], step["precision"]),
    )
    return module, [*steps, step], pruning


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
