"""Stage: remove channels, rounded to what the target fills, and say what was removed and what could not be.

Which channels depend on each other is :mod:`pipeline.channels`, how much they matter :mod:`pipeline.criteria`, how
much each layer gives up :mod:`pipeline.allocate`. Accuracy is not judged here: ``finetune`` follows.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from deploy.errors import StageError
from pipeline import models
from pipeline.allocate import ALLOCATIONS, Removal
from pipeline.artifact import Checkpoint
from pipeline.channels import ChannelGraph, analyse, cut
from pipeline.criteria import NEEDS_GRADIENTS, scores
from pipeline.models import Network
from pipeline.sections import PruneConfig

GRADIENT_BATCHES = 8


def prune(config: PruneConfig, model: Checkpoint, draft: Path) -> Checkpoint:
    """One round: ``config.ratio`` is the share of the ORIGINAL channels that is gone afterwards.

    Facts: ``pruned`` (was anything removed), ``removed_channels``, ``layers`` (channels before and after), ``fixed``
    (what could not be pruned, and the operator that fixed it), ``refused``, ``as_graph`` (and ``why``).
    """
    network = models.load(model)
    if network.masks:
        raise StageError("channels are removed before 2:4 masks are chosen", "prune first, then sparsify")
    inputs = models.example_inputs(network.model.inputs)
    graph = analyse(network.module, inputs)
    gradients = _gradients(network) if config.criterion in NEEDS_GRADIENTS else None
    ranked = scores(config.criterion, network.module, graph, gradients, network.seed)
    assert config.channel_multiple is not None
    allocate = ALLOCATIONS[config.scope]
    original = _original(network)
    removal = allocate(graph, ranked, config.ratio, config.channel_multiple, config.ignore, original)
    facts: dict[str, Any] = {**model.facts, "pruned": bool(removal), "fixed": dict(graph.fixed)}
    if not removal:
        return models.save(network, draft, {**facts, "removed_channels": 0, "layers": []})
    network.module, step = cut(network.module, inputs, graph, removal)
    network.history.append(step)
    removed = {name: units for name, units in removal.items() if name not in step["refused"]}
    layers = list(_layers(graph, removed))
    facts |= {
        "removed_channels": sum(layer["before"] - layer["after"] for layer in layers),
        "layers": layers,
        "refused": step["refused"],
        "as_graph": bool(step.get("graph")),
        "why": step.get("why", ""),
    }
    return models.save(network, draft, facts)


def _original(network: Network) -> dict[str, int]:
    """Units of each group before the first round."""
    units: dict[str, int] = {}
    for step in network.history:
        for name, (before, _) in step["units"].items():
            units.setdefault(name, before)
    return units


def _layers(graph: ChannelGraph, removed: Removal) -> list[dict[str, Any]]:
    """Channels of every layer that lost some."""
    found = []
    for group in graph.groups:
        if group.name in removed:
            after = group.width - len(removed[group.name]) * group.width // group.units
            names = dict.fromkeys([group.name.partition("#")[0], *group.producers])
            found += [{"name": name, "before": group.width, "after": after} for name in names]
    return found


def _gradients(network: Network) -> Mapping[str, Tensor]:
    """Gradients of the loss over a few training batches, in evaluation mode."""
    from pipeline.data import batches, load
    from pipeline.evaluate import loss

    data = load(network.data, network.seed)
    objective = loss(network.data)
    network.module.eval().zero_grad()
    for _, (inputs, target) in zip(range(GRADIENT_BATCHES), batches(data.train, 0), strict=False):
        objective(network.module(*inputs), target).backward()
    with torch.no_grad():
        found = {n: p.grad.clone() for n, p in network.module.named_parameters() if p.grad is not None}
    network.module.zero_grad()
    return found
