"""Stage: remove channels, rounded to what the target fills, and say what was removed and what could not be.

Which channels depend on each other is :mod:`pipeline.channels`, how much they matter
:mod:`pipeline.pruning.sensitivity`, how much each layer gives up :mod:`pipeline.pruning.reduction`. Accuracy is not
judged here: ``finetune`` follows.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from statistics import median
from typing import Any

from torch import nn

from deploy.console import say
from deploy.errors import StageError
from pipeline import models
from pipeline.artifact import Checkpoint, Sensitivity, Timings
from pipeline.bench import TimedConfig
from pipeline.channels import ChannelGraph, analyse, cut
from pipeline.models import Network
from pipeline.pruning import blocks, trials
from pipeline.pruning.allocate import Removal
from pipeline.pruning.reduction import Limit, Proposal, Reduction, cost_of
from pipeline.pruning.timings import time_model
from pipeline.sections import PruneConfig

TRIES = 4
CLOSE = 0.03
"""A measured latency this far below the limit is good enough: no further try."""

OF_ANOTHER = ("validation", "best_epoch", "epochs", "curve", "after_pruning", "after_recalibration")
"""Facts of the network before it was cut."""


def prune(config: PruneConfig, model: Checkpoint, judged: Sensitivity, draft: Path) -> Checkpoint:
    """One round: the share of the ORIGINAL network that ``config`` names is gone afterwards.

    Facts: ``pruned`` (was anything removed), ``removed_channels``, ``layers`` (channels before and after),
    ``blocks`` (bypassed), ``fixed`` (what could not be pruned, and the operator that fixed it), ``left`` (what could
    be, and lost nothing: why), ``refused``, ``as_graph`` (and ``why``), ``check`` (how far the cut network is from the
    dense one without those channels), ``whole`` (costs of the original network).
    """
    network = _loaded(model)
    reduction = Reduction.of(network, config, judged)
    whole = model.facts.get("whole") or reduction.costs()
    if (shares := goals(config)) or config.scope == "measured":
        found = reduction.propose(_limits(reduction, shares or {"ratio": config.ratio}, whole))
    else:
        found = reduction.at(config.ratio)
    return _cut_and_saved(network, reduction, found, {**model.facts, "whole": whole}, draft)


def prune_for_time(
    config: TimedConfig,
    model: Checkpoint,
    judged: Sensitivity,
    dense: Checkpoint,
    timings: Timings,
    draft: Path,
) -> Checkpoint:
    """One round: the engine takes ``1 - latency`` of the dense engine's time, measured; other goals hold, too.

    Layers' times do not quite add up: the estimate is corrected by what the whole network takes, beside the
    dense one in one session, and the widths are chosen again, until the time is met.

    Facts: as of :func:`prune`, and ``time``: limit, estimate and measurement in ms, and every try.
    """
    network, original = _loaded(model), models.load(dense)
    reduction = Reduction.of(network, config.prune, judged)
    shares, whole = goals(config.prune), model.facts.get("whole") or reduction.costs()
    whole_ms = float(timings.facts["latency_ms"])
    limit = (1 - shares.pop("latency")) * whole_ms
    cost = cost_of("latency", reduction.sizes, time_model(timings))
    others = _limits(reduction, shares, whole)
    dense_proto = trials.to_onnx(original.module, original, config.bench)
    correction = float(model.facts.get("time", {}).get("correction", 1.0))
    tries: list[tuple[dict[str, Any], Proposal]] = []
    for _ in range(TRIES):
        found = reduction.propose([Limit(cost, limit / correction), *others])
        if any(found == earlier for _, earlier in tries):
            break
        smaller = models.load(model)
        _cut(smaller, reduction.graph, found)
        protos = {"dense": dense_proto, "pruned": trials.to_onnx(smaller.module, smaller, config.bench)}
        timed = trials.profiles(config.bench, protos, network, draft)
        # Side by side in every round: what disturbs a session disturbs both.
        pairs = zip(timed["pruned"]["rounds_ms"], timed["dense"]["rounds_ms"], strict=True)
        taken = whole_ms * median(pruned / dense for pruned, dense in pairs)
        estimate = cost.total(reduction.sizes.after(found.removal), found.blocks)
        tries.append(({"estimate_ms": estimate, "measured_ms": taken}, found))
        say(f"    estimated {estimate * correction:.3g} ms, measured {taken:.3g} ms, wanted {limit:.3g} ms")
        correction = taken / estimate
        if (1 - CLOSE) * limit <= taken <= limit:
            break
    best, found = _best(tries, limit)
    time = {**best, "limit_ms": limit, "dense_ms": whole_ms, "met": best["measured_ms"] <= limit}
    time |= {"correction": best["measured_ms"] / best["estimate_ms"], "tries": [t for t, _ in tries]}
    return _cut_and_saved(network, reduction, found, {**model.facts, "time": time, "whole": whole}, draft)


def _best(tries: list[tuple[dict[str, Any], Proposal]], limit: float) -> tuple[dict[str, Any], Proposal]:
    """Of those that meet the limit the slowest, which lost least; else the fastest."""
    good = [one for one in tries if one[0]["measured_ms"] <= limit]
    if good:
        return max(good, key=lambda one: float(one[0]["measured_ms"]))
    return min(tries, key=lambda one: float(one[0]["measured_ms"]))


def goals(config: PruneConfig) -> dict[str, float]:
    """What is counted, and the share of it that goes; empty: the ratio of channels decides."""
    shares = {kind: getattr(config, kind) for kind in ("latency", "macs", "params")}
    return {kind: float(share) for kind, share in shares.items() if share is not None}


def _limits(reduction: Reduction, shares: Mapping[str, float], whole: Mapping[str, float]) -> list[Limit]:
    return [
        Limit(cost_of(kind, reduction.sizes), (1 - share) * whole[kind]) for kind, share in shares.items()
    ]


def _loaded(model: Checkpoint) -> Network:
    network = models.load(model)
    if network.masks:
        raise StageError("channels are removed before 2:4 masks are chosen", "prune first, then sparsify")
    return network


def _cut_and_saved(
    network: Network, reduction: Reduction, found: Proposal, facts: Mapping[str, Any], draft: Path
) -> Checkpoint:
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
    return models.save(network, draft, {**known, **done, **_cut(network, graph, found)})


def _cut(network: Network, graph: ChannelGraph, found: Proposal) -> dict[str, Any]:
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
    from pipeline.channels.graph import TracedNet

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
