"""Stage: remove channels until the engine takes the time asked for, measured on the device."""

from __future__ import annotations

from pathlib import Path
from statistics import median

from jetpress.deploy.console import say
from jetpress.pipeline.engine import trials
from jetpress.pipeline.network import models
from jetpress.pipeline.pruning.apply import cut_and_saved, cut_in_place, goals, limits, loaded, whole_of
from jetpress.pipeline.pruning.reduction import Limit, Proposal, Reduction, cost_of
from jetpress.pipeline.pruning.timing import time_model
from jetpress.pipeline.recipe.configs import TimedConfig
from jetpress.pipeline.store.artifact import Checkpoint, Sensitivity, Timings
from jetpress.pipeline.store.facts.network import PrunedTime, Try

TRIES = 4


CLOSE = 0.03
"""A measured latency this far below the limit is good enough: no further try."""


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

    Facts: as of :func:`prune`, and ``pruning.time``.
    """
    network, original = loaded(model), models.load(dense)
    reduction = Reduction.of(network, config.prune, judged)
    shares, whole = goals(config.prune), whole_of(model.facts, reduction)
    whole_ms = timings.facts.latency_ms
    limit = (1 - shares.pop("latency")) * whole_ms
    cost = cost_of("latency", reduction.sizes, time_model(timings))
    others = limits(reduction, shares, whole)
    dense_proto = trials.to_onnx(original.module, original, config.bench)
    earlier = model.facts.pruning.time if model.facts.pruning else None
    correction = earlier.correction if earlier else 1.0
    tries: list[tuple[Try, Proposal]] = []
    for _ in range(TRIES):
        found = reduction.propose([Limit(cost, limit / correction), *others])
        if any(found == tried for _, tried in tries):
            break
        smaller = models.load(model)
        cut_in_place(smaller, reduction.graph, found)
        protos = {"dense": dense_proto, "pruned": trials.to_onnx(smaller.module, smaller, config.bench)}
        timed = trials.profiles(config.bench, protos, network, draft)
        # Side by side in every round: what disturbs a session disturbs both.
        pairs = zip(timed["pruned"].rounds, timed["dense"].rounds, strict=True)
        taken = whole_ms * median(pruned / dense for pruned, dense in pairs)
        estimate = cost.total(reduction.sizes.after(found.removal), found.blocks)
        tries.append((Try(estimate, taken), found))
        say(f"    estimated {estimate * correction:.3g} ms, measured {taken:.3g} ms, wanted {limit:.3g} ms")
        correction = taken / estimate
        if (1 - CLOSE) * limit <= taken <= limit:
            break
    best, found = _best(tries, limit)
    time = PrunedTime(
        limit,
        whole_ms,
        best.estimate_ms,
        best.measured_ms,
        met=best.measured_ms <= limit,
        correction=best.measured_ms / best.estimate_ms,
        tries=tuple(tried for tried, _ in tries),
    )
    return cut_and_saved(network, reduction, found, model.facts, draft, time)


def _best(tries: list[tuple[Try, Proposal]], limit: float) -> tuple[Try, Proposal]:
    """Of those that meet the limit the slowest, which lost least; else the fastest."""
    good = [one for one in tries if one[0].measured_ms <= limit]
    if good:
        return max(good, key=lambda one: one[0].measured_ms)
    return min(tries, key=lambda one: one[0].measured_ms)
