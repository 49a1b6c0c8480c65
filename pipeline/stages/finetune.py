"""Stage: recover the accuracy that pruning took.

First, for free, the running statistics of BatchNorm are measured anew: removing channels shifts what flows
through the network, and much of what looks lost is only that. Where layers were fitted after the cut they may be better
as they are: the better of the two is trained at a low rate, with the dense network as teacher.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch

from jetpress.deploy.console import progress, say
from jetpress.pipeline.data.loading import Data, batches, load, steps
from jetpress.pipeline.network import models
from jetpress.pipeline.network.models import Network
from jetpress.pipeline.recipe.retraining import Retraining
from jetpress.pipeline.recipe.sections.training import TrainConfig
from jetpress.pipeline.store.artifact import Checkpoint
from jetpress.pipeline.store.facts.network import Recovery, Training
from jetpress.pipeline.tasks.metric import Result
from jetpress.pipeline.training import norms, resume
from jetpress.pipeline.training.distill import Teacher, taught_by
from jetpress.pipeline.training.evaluate import device, judged, to_device
from jetpress.pipeline.training.fit import Fit, finish, fit
from jetpress.pipeline.training.slower import at_a_rate_it_bears
from jetpress.pipeline.training.torchrun import joint

RECALIBRATION_STEPS = 64
"""Batches that BatchNorm's statistics are the mean of."""
PART = 1 / 3
"""Of the points lost that new statistics must cost for the old ones to be kept."""


@joint
def finetune(config: Retraining, model: Checkpoint, teacher: Checkpoint, draft: Path) -> Checkpoint:
    """Train a pruned network; ``teacher`` is the dense one, or any other with the same outputs.

    A network that nothing was removed from passes through as it is. If no epoch does better than recalibrated
    statistics alone, these are the result.

    Facts: ``validation``, ``dense_validation``, ``recovery`` and ``training``.
    """
    network = models.load(model)
    if model.facts.pruned is False:
        return models.save(network, draft, model.facts)
    data, dense = load(network.data, network.seed, network.task), model.facts.dense
    taught: Teacher | None
    if config.training.trainer:
        shown = models.load(teacher).module
        taught = Teacher(shown.requires_grad_(requires_grad=False), config.distillation)
    else:
        taught = taught_by(teacher, config.distillation) if config.training.epochs else None
    fitted, recovery = recover(network, data, config, taught, dense, draft / "state")
    facts = replace(model.facts, recovery=recovery, dense_validation=dense)
    return finish(network, fitted, draft, facts)


def recover(
    network: Network,
    data: Data,
    config: Retraining,
    teacher: Teacher | None,
    dense: float | None,
    state: Path,
) -> tuple[Fit, Recovery]:
    """Train a network that something was taken from, in place; what is best is kept, the start included.

    Args:
        network: its masks are held.
        data: learnt from and judged on.
        config: how.
        teacher: to learn from.
        dense: validation points before anything was taken away, where they are known.
        state: folder of an inner checkpoint.
    """
    before = judged(network, data.validation, "after pruning")
    as_it_came = resume.copy(network.module.state_dict())
    recalibrate(network, data)
    free = judged(network, data.validation, "after recalibration")
    say(f"    validation {before.points:.2f} after pruning, {free.points:.2f} with BatchNorm recalibrated")
    if before.points > free.points:  # layers that were fitted have the statistics that they need
        network.module.load_state_dict(as_it_came)
    start = max(before.points, free.points)
    fitted = Fit(start, Training(0, (), "", ""))
    if config.training.epochs:
        how = replace(config.training, freeze_batchnorm=_freezes(config.training, before, free, dense))
        if config.may_lose is not None and dense is not None:
            how = replace(how, stop_at=min(dense - config.may_lose, 100.0))

        def train(how: TrainConfig, name: str) -> Fit:
            folder = state / name
            return fit(network, data, how, state=folder, what="fine-tuning", teacher=teacher, start=start)

        fitted, _ = at_a_rate_it_bears(network, how, train, worth=dense is None or start < dense)
    return fitted, Recovery(before.points, free.points)


def _freezes(asked: TrainConfig, before: Result, recalibrated: Result, dense: float | None) -> bool:
    """Whether BatchNorm keeps its statistics (studies/log/recovery.md).

    New ones would have to be worse beyond the error, and cost more than a part of what there is to win back: a network
    that has much to learn learns it with the statistics of its batches, at a higher rate.
    """
    if asked.freeze_batchnorm is not None:
        return asked.freeze_batchnorm
    cost = before.points - recalibrated.points
    lost = 0.0 if dense is None else dense - before.points
    if cost <= max(before.error, PART * lost):
        return False
    say("    BatchNorm keeps its statistics: the weights were fitted to them")
    return True


def recalibrate(network: Network, data: Data) -> None:
    """Measure the mean and variance of every BatchNorm on training batches, in place; no weight changes."""
    if not norms.any_of(network.module):
        return
    place, count = device(), min(RECALIBRATION_STEPS, steps(data.train))
    network.module.to(place)
    with (
        progress("recalibrating", count) as line,
        torch.no_grad(),
        norms.measured_anew(network.module) as begin,
    ):
        for number, (inputs, _) in zip(range(count), batches(data.train, 0), strict=False):
            begin(number)
            network.module(*to_device(inputs, place))
            line.step()
    network.module.cpu()
