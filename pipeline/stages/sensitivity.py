"""Stage: what each group of channels and each block is worth, measured: how far the outputs move without it."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

from safetensors.numpy import save_file

from jetpress.pipeline.network import models
from jetpress.pipeline.network.channels import analyse
from jetpress.pipeline.pruning.curves import FILE, SCORES, Curves, measure
from jetpress.pipeline.pruning.statistics import judged
from jetpress.pipeline.recipe.configs import SensitivityConfig
from jetpress.pipeline.store.artifact import Checkpoint, Sensitivity
from jetpress.pipeline.store.facts.network import SensitivityFacts


def sensitivity(config: SensitivityConfig, model: Checkpoint, draft: Path) -> Sensitivity:
    """Judge every channel, and measure what widths and blocks lose if ``config.curves`` asks for it.

    The scores are in a file beside.
    """
    network = models.load(model)
    graph = analyse(network.module, models.example_inputs(network.model.inputs))
    ranked = judged(config.criterion, network, graph)
    curves = measure(network, graph, ranked, config) if config.curves else Curves()
    facts = SensitivityFacts(
        groups={name: tuple(points) for name, points in curves.groups.items()},
        blocks=dict(curves.blocks),
        images=config.images,
    )
    (draft / FILE).write_text(json.dumps(asdict(facts), indent=1))
    save_file(ranked, draft / SCORES)
    return Sensitivity(draft, facts)
