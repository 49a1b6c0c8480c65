"""Stage: remove channels, rounded to what the target fills, and say what was removed and what could not be.

Which channels depend on each other is :mod:`jetpress.pipeline.network.channels`, how much they matter
:mod:`jetpress.pipeline.pruning.curves`, how much each layer gives up :mod:`jetpress.pipeline.pruning.reduction`.
Accuracy is not judged here: ``finetune`` follows.
"""

from __future__ import annotations

from pathlib import Path

from jetpress.pipeline.pruning.apply import cut_and_saved, loaded, proposed, whole_of
from jetpress.pipeline.pruning.reduction import Reduction
from jetpress.pipeline.recipe.sections.compression import PruneConfig
from jetpress.pipeline.store.artifact import Checkpoint, Sensitivity


def prune(config: PruneConfig, model: Checkpoint, judged: Sensitivity, draft: Path) -> Checkpoint:
    """One round: the share of the ORIGINAL network that ``config`` names is gone afterwards.

    Facts: ``pruned`` and ``pruning``; ``dense_validation`` in place of ``validation``.
    """
    network = loaded(model)
    reduction = Reduction.of(network, config, judged)
    found = proposed(reduction, whole_of(model.facts, reduction))
    return cut_and_saved(network, reduction, found, model.facts, draft)
