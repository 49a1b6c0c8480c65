"""The running average of the weights (Polyak and Juditsky, 1992), judged and kept in their place.

Averaged are parameters and BatchNorm's statistics alike. A pruned weight is 0.0 in every network that goes into the
average, so it is 0.0 in the average.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

Tensors = tuple[Tensor, ...] | list[Tensor]


def average_of(module: nn.Module, decay: float) -> AveragedModel:
    """A copy of ``module`` that follows it with each ``update_parameters(module)``.

    The first steps count for more, so that a short training is not judged by the weights it started from.
    """

    @torch.no_grad()
    def follow(averages: Tensors, weights: Tensors, steps: Tensor | int) -> None:
        count = float(steps)
        share = 1 - min(decay, (1 + count) / (10 + count))
        if averages[0].is_floating_point():
            torch._foreach_lerp_(averages, weights, share)
        else:  # BatchNorm's counters
            for ours, theirs in zip(averages, weights, strict=True):
                ours.copy_(theirs)

    return AveragedModel(module, multi_avg_fn=follow, use_buffers=True)
