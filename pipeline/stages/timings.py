"""Stage: how each layer's time depends on its widths, measured on the device that the engine is for."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import onnx

from jetpress.deploy.console import progress
from jetpress.pipeline.engine import trials
from jetpress.pipeline.graph.layers import attributed, owners_of
from jetpress.pipeline.network import models
from jetpress.pipeline.network.channels import analyse, cut
from jetpress.pipeline.pruning.allocate import Room
from jetpress.pipeline.pruning.costs import Sizes
from jetpress.pipeline.pruning.timing import FILE, fit, widths
from jetpress.pipeline.recipe.configs import TimingsConfig
from jetpress.pipeline.store.artifact import Checkpoint, Timings
from jetpress.pipeline.store.facts.device import TimingsFacts


def timings(config: TimingsConfig, model: Checkpoint, draft: Path) -> Timings:
    """Measure and fit."""
    network = models.load(model)
    inputs = models.example_inputs(network.model.inputs)
    graph = analyse(network.module, inputs)
    removals = widths(graph, Room(config.multiple, config.ignore, config.limits), network.seed)
    protos: dict[str, onnx.ModelProto] = {}
    with progress("networks to time", len(removals)) as line:
        for number, removal in enumerate(removals):
            smaller = cut(network.module, inputs, graph, removal)[0] if removal else network.module
            protos[f"w{number}"] = trials.to_onnx(smaller, network, config.bench)
            line.step()
    found = trials.profiles(config.bench, protos, network, draft)
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
    (draft / FILE).write_text(json.dumps({**asdict(facts), "layers": table}, indent=1))
    return Timings(draft, facts)
