"""Stage: how each layer's time depends on its widths, measured on the device that the engine is for."""

from __future__ import annotations

import json
from dataclasses import asdict
from functools import partial
from pathlib import Path

from jetpress.pipeline.engine.contents import write_samples
from jetpress.pipeline.network import models
from jetpress.pipeline.network.channels import analyse
from jetpress.pipeline.pruning.allocate import Room
from jetpress.pipeline.pruning.timed import Timer, layer_times
from jetpress.pipeline.pruning.timing import FILE
from jetpress.pipeline.recipe.configs import TimingsConfig
from jetpress.pipeline.store.artifact import Checkpoint, Timings


def timings(config: TimingsConfig, model: Checkpoint, draft: Path) -> Timings:
    """Measure and fit."""
    network = models.load(model)
    timer = Timer(network, config.bench, partial(write_samples, network), draft)
    graph = analyse(network.module, timer.inputs)
    facts, table = layer_times(timer, graph, Room(config.multiple, config.ignore, config.limits))
    (draft / FILE).write_text(json.dumps({**asdict(facts), "layers": table}, indent=1))
    return Timings(draft, facts)
