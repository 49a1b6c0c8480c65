"""Widths timed on the device, and channels removed until a network takes there what it may.

For a recipe's stages and for a module in hand.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from torch import Tensor, nn

from jetpress.deploy.console import progress, say
from jetpress.deploy.device.events import Profile
from jetpress.pipeline.engine import trials
from jetpress.pipeline.graph.layers import attributed, owners_of
from jetpress.pipeline.network import models
from jetpress.pipeline.network.channels import ChannelGraph, copied, cut
from jetpress.pipeline.network.models import Network
from jetpress.pipeline.pruning.allocate import Room
from jetpress.pipeline.pruning.apply import cut_out, goals, limits
from jetpress.pipeline.pruning.costs import Sizes
from jetpress.pipeline.pruning.reduction import Limit, Proposal, Reduction, cost_of
from jetpress.pipeline.pruning.timing import TimeModel, fit, widths
from jetpress.pipeline.recipe.configs import Bench
from jetpress.pipeline.store.facts.device import TimingsFacts
from jetpress.pipeline.store.facts.network import PrunedTime, Try
from jetpress.pipeline.store.facts.onnx_file import TensorSpec

TRIES = 4
CLOSE = 0.03
"""A measured latency this far below the limit is good enough: no further try."""


@dataclass(frozen=True)
class Timer:
    """Times variants of one network on a device."""

    network: Network
    bench: Bench
    samples: Callable[[Sequence[TensorSpec], Path], object]
    """Writes what they are run on into a folder: an array for each input that is described."""
    folder: Path
    """Where files lie while they are needed."""

    @property
    def inputs(self) -> tuple[Tensor, ...]:
        """Any, ``[n, ...]``."""
        return models.example_inputs(self.network.model.inputs)

    def exported(self, variant: nn.Module) -> onnx.ModelProto:
        """As the engine will get it."""
        return trials.to_onnx(variant, self.network, self.bench)

    def timed(self, protos: Mapping[str, onnx.ModelProto]) -> dict[str, Profile]:
        """Side by side, in rounds."""
        return trials.profiles(self.bench, protos, self.samples, self.folder)


def layer_times(timer: Timer, graph: ChannelGraph, room: Room) -> tuple[TimingsFacts, list[dict[str, float]]]:
    """What each layer takes at any width, fitted to networks of several widths; and the times of each of those."""
    network = timer.network
    removals = widths(graph, room, network.seed)
    protos = {}
    with progress("networks to time", len(removals)) as line:
        for number, removal in enumerate(removals):
            smaller = cut(network.module, timer.inputs, graph, removal)[0] if removal else network.module
            protos[f"w{number}"] = timer.exported(smaller)
            line.step()
    found = timer.timed(protos)
    table = [attributed(found[name].layers, owners_of(proto)) for name, proto in protos.items()]
    latencies = np.array([found[name].latency for name in protos])
    sizes = Sizes(graph)
    kept = np.concatenate([sizes.after(removal) for removal in removals])
    fitted = fit(sizes, kept, table, latencies)
    estimates = fitted.total(sizes, kept)
    error = float(np.median(np.abs(estimates / latencies - 1)))
    facts = TimingsFacts(
        latency_ms=float(latencies[0]),
        error=error,
        fit=dict(fitted.rows),
        networks=tuple((float(a), float(b)) for a, b in zip(latencies, estimates, strict=True)),
        headline=f"{latencies[0]:.3g} ms dense, estimates within {100 * error:.1f} % (median of {len(latencies)})",
    )
    return facts, table


def for_time(
    reduction: Reduction,
    whole: Mapping[str, float],
    times: TimingsFacts,
    timer: Timer,
    dense: nn.Module,
    correction: float = 1.0,
) -> tuple[PrunedTime, Proposal]:
    """What goes so that the engine takes ``1 - latency`` of the dense engine's time, measured; other goals hold, too.

    Layers' times do not quite add up: the estimate is corrected by what the whole network takes, beside the
    dense one in one session, and the widths are chosen again, until the time is met.

    Args:
        reduction: of the network that is cut, ``timer.network``.
        whole: what the original network costs otherwise.
        times: of the dense network.
        dense: that network.
        correction: measured over estimated, where an earlier round knows it.
    """
    shares = goals(reduction.config)
    limit = (1 - shares.pop("latency")) * times.latency_ms
    cost = cost_of("latency", reduction.sizes, TimeModel(times.fit))
    others = limits(reduction, shares, whole)
    dense_proto = timer.exported(dense)
    tries: list[tuple[Try, Proposal]] = []
    for _ in range(TRIES):
        found = reduction.propose([Limit(cost, limit / correction), *others])
        if any(found == tried for _, tried in tries):
            break
        smaller, *_ = cut_out(copied(timer.network.module), timer.inputs, reduction.graph, found)
        timed = timer.timed({"dense": dense_proto, "pruned": timer.exported(smaller)})
        taken = times.latency_ms * undisturbed(timed["pruned"]) / undisturbed(timed["dense"])
        estimate = cost.total(reduction.sizes.after(found.removal), found.blocks)
        tries.append((Try(estimate, taken), found))
        say(f"    estimated {estimate * correction:.3g} ms, measured {taken:.3g} ms, wanted {limit:.3g} ms")
        correction = taken / estimate
        if (1 - CLOSE) * limit <= taken <= limit:
            break
    best, found = _best(tries, limit)
    time = PrunedTime(
        limit,
        times.latency_ms,
        best.estimate_ms,
        best.measured_ms,
        met=best.measured_ms <= limit,
        correction=best.measured_ms / best.estimate_ms,
        tries=tuple(tried for tried, _ in tries),
    )
    return time, found


def undisturbed(profile: Profile) -> float:
    """What a network takes, of rounds of which most may have been disturbed.

    Other programs take the processor from the longer of two networks in more of its rounds: beside forty of them the
    median of the rounds' ratios was 0.08 where 0.30 was estimated.
    """
    return min(profile.rounds)


def _best(tries: list[tuple[Try, Proposal]], limit: float) -> tuple[Try, Proposal]:
    """Of those that meet the limit the slowest, which lost least; else the fastest."""
    good = [one for one in tries if one[0].measured_ms <= limit]
    if good:
        return max(good, key=lambda one: one[0].measured_ms)
    return min(tries, key=lambda one: one[0].measured_ms)
