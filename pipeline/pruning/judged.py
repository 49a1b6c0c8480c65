"""What each channel of a network in memory is worth, and each width where that is asked for."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from jetpress.pipeline.data.splits import Batch
from jetpress.pipeline.network.channels import ChannelGraph
from jetpress.pipeline.pruning.criteria import CRITERIA, Scores, scores
from jetpress.pipeline.pruning.curves import Curves, curves_of
from jetpress.pipeline.pruning.statistics import collected
from jetpress.pipeline.recipe.configs import SensitivityConfig
from jetpress.pipeline.recipe.sections.compression import PruneConfig
from jetpress.pipeline.tasks.task import Judge


def judged(
    config: PruneConfig,
    module: nn.Module,
    graph: ChannelGraph,
    batches: Sequence[Batch],
    loss: Judge,
    seed: int,
) -> tuple[dict[str, Scores], Curves]:
    """Scores of every group, and the curves of ``scope = "measured"``.

    Args:
        module: whose channels ``graph`` knows, in the mode that it is to be seen in; its weights stay.
        batches: in the place of ``module``.
        loss: for criteria that look at gradients.
    """
    statistics, curves, wanted = None, Curves(), CRITERIA[config.criterion].data
    if wanted:
        statistics = collected(wanted, module, batches, lambda outputs, target, _: loss(outputs, target))
    ranked = scores(config.criterion, module, graph, statistics, seed)
    if config.scope == "measured":
        how = SensitivityConfig.of(config)
        images = tuple(torch.cat(parts)[: how.images] for parts in zip(*(b[0] for b in batches), strict=True))
        curves = curves_of(module, graph, ranked, images, how)
    return ranked, curves
