"""Stage: remove channels until the engine takes the time asked for, measured on the device."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from jetpress.pipeline.engine.contents import write_samples
from jetpress.pipeline.network import models
from jetpress.pipeline.pruning.apply import cut_and_saved, loaded, whole_of
from jetpress.pipeline.pruning.reduction import Reduction
from jetpress.pipeline.pruning.timed import Timer, for_time
from jetpress.pipeline.recipe.configs import TimedConfig
from jetpress.pipeline.store.artifact import Checkpoint, Sensitivity, Timings


def prune_for_time(
    config: TimedConfig,
    model: Checkpoint,
    judged: Sensitivity,
    dense: Checkpoint,
    timings: Timings,
    draft: Path,
) -> Checkpoint:
    """One round: see :func:`jetpress.pipeline.pruning.timed.for_time`.

    Facts: as of :func:`prune`, and ``pruning.time``.
    """
    network = loaded(model)
    reduction = Reduction.of(network, config.prune, judged)
    timer = Timer(network, config.bench, partial(write_samples, network), draft)
    earlier = model.facts.pruning.time if model.facts.pruning else None
    time, found = for_time(
        reduction,
        whole_of(model.facts, reduction),
        timings.facts,
        timer,
        models.load(dense).module,
        earlier.correction if earlier else 1.0,
    )
    return cut_and_saved(network, reduction, found, model.facts, draft, time)
