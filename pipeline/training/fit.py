"""The one training loop.

SGD with Nesterov momentum or AdamW, warm-up and a schedule by the step, the best epoch on the validation
split kept. Pruned weights are held: their gradients never reach the optimizer, and they are exactly 0.0 after
every step (:mod:`jetpress.pipeline.training.updates`). Killed and started again, it goes on after the last whole epoch,
on the CPU bit for bit as if nothing had happened: each epoch's order, augmentation and dropout are functions of
(seed, epoch). On a GPU it computes in mixed precision; there the same seed gives results equal within rounding.
Under ``torchrun`` the samples of each step are shared out among the processes (:mod:`jetpress.pipeline.data.ranks`).
"""

from __future__ import annotations

import math
import shutil
import time
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, replace
from hashlib import sha256
from pathlib import Path

import torch
from torch import nn

from jetpress.deploy.console import duration, progress, say
from jetpress.deploy.errors import StageError
from jetpress.pipeline.data import ranks
from jetpress.pipeline.data.augment import mix
from jetpress.pipeline.data.loading import Data, batches, step_size, steps
from jetpress.pipeline.network import models
from jetpress.pipeline.network.models import Network
from jetpress.pipeline.recipe.sections.fields import as_table
from jetpress.pipeline.recipe.sections.training import TrainConfig
from jetpress.pipeline.store.artifact import Checkpoint, canonical
from jetpress.pipeline.store.facts.network import CheckpointFacts, Epoch, Training
from jetpress.pipeline.tasks.metric import Result
from jetpress.pipeline.training import metrics, numerics, own, resume
from jetpress.pipeline.training.distill import Teacher
from jetpress.pipeline.training.evaluate import device, judged, layout
from jetpress.pipeline.training.learner import Learn, learner, looking_inside
from jetpress.pipeline.training.norms import training_mode
from jetpress.pipeline.training.penalty import GroupPenalty
from jetpress.pipeline.training.schedule import enough, factor
from jetpress.pipeline.training.updates import Updates, frozen

CHECK_EVERY = 16
"""Steps on a GPU between two looks at the loss: each makes the CPU wait."""


@dataclass(frozen=True)
class Fit:
    """What training came to."""

    validation: float
    """Points of the network as it is now: of the epoch that was kept."""
    training: Training


def fit(
    network: Network,
    data: Data,
    settings: TrainConfig,
    *,
    state: Path,
    what: str,
    teacher: Teacher | None = None,
    start: float | None = None,
    penalty: GroupPenalty | None = None,
) -> Fit:
    """Train ``network`` in place and leave it with the weights of its best epoch (see :func:`_remember`), on the CPU.

    Args:
        network: its masks are held.
        data: learnt from on its training split, judged on its validation split.
        settings: of the optimizer and the schedule; at least one epoch.
        state: folder of the inner checkpoint; what it holds of the same training is taken up again.
        what: names the progress line.
        teacher: a network whose outputs and feature maps are learnt beside the labels.
        start: validation points of the weights given, if they may be the best; None: they do not count.
        penalty: what pulls weights towards zero beside the loss. It takes accuracy and more of it each epoch, so that
            the last epoch is kept, not the best.

    Raises:
        StageError: the loss became NaN or infinite.
        RecipeError: settings, data and network do not fit together.
    """
    if settings.trainer is not None:
        return _by_own(network, data, settings, state, what, teacher, start)
    place = device()
    module = network.module.to(place)
    layout(module, torch.channels_last)
    with (
        numerics.prepared(settings, place),
        frozen(module, settings.freeze),
        ranks.one_batchnorm(module, settings.sync_batchnorm),
    ):
        fitted = _fit(network, data, settings, state, what, teacher, start, penalty)
    layout(module, torch.contiguous_format)
    network.module = module.cpu().eval()
    return fitted


def _fit(
    network: Network,
    data: Data,
    settings: TrainConfig,
    state: Path,
    what: str,
    teacher: Teacher | None,
    start: float | None,
    penalty: GroupPenalty | None,
) -> Fit:
    module, place = network.module, device()
    student, theirs = looking_inside(network, data, settings, teacher)
    precision = numerics.precision(settings, place)
    adapters = student.adapters if student else None
    updates = Updates(module, network.masks, settings, adapters, scaled=precision == "fp16")
    if penalty is not None:
        penalty.join(updates.optimizer)
    ranks.same(network.masks, module, "before training")
    key, kept = _key(network, settings, teacher, penalty), _kept(updates, adapters)
    so_far = _resumed(state, key, kept, updates)
    if so_far.epoch:
        say(f"    {what}: going on after epoch {so_far.epoch} of {settings.epochs}")
        updates.resumed(so_far.epoch * steps(data.train))
    if not so_far.epoch and start is not None:
        so_far.validation, so_far.best = start, resume.copy(module.state_dict())
    so_far.precision = precision or so_far.precision or _measured(module, data)
    trained = student or module
    learn = learner(network, data, settings, updates, trained, teacher, theirs, so_far.precision)
    first, began, count = so_far.epoch, time.monotonic(), steps(data.train)
    with (
        _report(
            f"{what.replace(' ', '-')}-{sha256(key.encode()).hexdigest()[:8]}", settings, first
        ) as report,
        progress(what, settings.epochs * count, earlier=first * count) as whole,
    ):
        while so_far.epoch < settings.epochs and not (stopped := enough(so_far.curve, settings)):
            loss, rate, speed = _epoch(learn, network, data, settings, so_far.epoch, trained, what)
            ranks.agree([*module.buffers(), *updates.judged.buffers()])
            result = judged(replace(network, module=updates.judged), data.validation, f"{what}: validation")
            points = result.points
            entry = Epoch(so_far.epoch + 1, loss, rate, points)
            _remember(so_far, entry, updates.judged, result, start, penalty is not None)
            whole.step(f"validation {so_far.validation:.2f} kept", count)
            left = (time.monotonic() - began) / (so_far.epoch - first) * (settings.epochs - so_far.epoch)
            eta = f", about {duration(left)} left" if left else ""
            say(
                f"    {what}, epoch {so_far.epoch}/{settings.epochs}: {_shown(loss, rate, speed, points)}{eta}"
            )
            report({**asdict(entry), "images_per_second": speed})
            if so_far.epoch < settings.epochs and not ranks.part().rank:
                resume.save(state, key, so_far, kept, updates.optimizer, updates.scaler.state_dict())
                metrics.write(state, so_far.curve)
    if stopped := enough(so_far.curve, settings):
        say(f"    {what} stops: {stopped}")
    module.load_state_dict(so_far.best)
    ranks.same(network.masks, module, "after training")
    training = Training(so_far.best_epoch, tuple(so_far.curve), so_far.precision, stopped)
    return Fit(so_far.validation, training)


def _by_own(
    network: Network,
    data: Data,
    settings: TrainConfig,
    state: Path,
    what: str,
    teacher: Teacher | None,
    start: float | None,
) -> Fit:
    """By the user's own trainer, judged by jetpress: what it started from gives way only to something no worse."""
    begun = resume.copy(network.module.state_dict())
    reference, shown = str(settings.trainer), teacher.module if teacher else None
    own.train_by(reference, network, shown, data, settings.epochs, state)
    points = judged(network, data.validation, f"{what}: validation").points
    say(f"    {what} by {Path(reference).name}: validation {points:.2f}")
    if start is None or points >= start:
        return Fit(points, Training(settings.epochs, (), "", ""))
    say(f"    {start:.2f} before it: that is kept")
    network.module.load_state_dict(begun)
    return Fit(start, Training(0, (), "", ""))


def finish(network: Network, fitted: Fit, draft: Path, facts: CheckpointFacts) -> Checkpoint:
    """Save what :func:`fit` made, with ``metrics.jsonl``, and drop the inner checkpoint."""
    metrics.write(draft, fitted.training.curve)
    shutil.rmtree(draft / "state", ignore_errors=True)
    return models.save(network, draft, replace(facts, validation=fitted.validation, training=fitted.training))


def _measured(module: nn.Module, data: Data) -> str:
    """What is faster on this CPU; rank 0 decides for all."""
    inputs, _ = next(iter(batches(data.train, 0, ranks.part())))
    known = list(numerics.DTYPES)
    number = torch.tensor(known.index(numerics.faster(module, inputs)))
    ranks.agree([number])
    return known[int(number)]


def _epoch(
    learn: Learn,
    network: Network,
    data: Data,
    settings: TrainConfig,
    epoch: int,
    trained: nn.Module,
    what: str,
) -> tuple[float, float, float]:
    """One pass over the training data: mean loss, last learning rate, images per second."""
    part, count, size, began = ranks.part(), steps(data.train), step_size(data.train), time.monotonic()
    torch.manual_seed(mix(network.seed, epoch, *[part.rank][: part.rank]))  # dropout
    training_mode(trained, frozen=bool(settings.freeze_batchnorm))
    total = torch.zeros((), dtype=torch.float64, device=device())
    loss = rate = speed = 0.0
    every = CHECK_EVERY if torch.cuda.is_available() else 1
    with progress(f"{what}, epoch {epoch + 1}/{settings.epochs}", count) as line:
        for step, (inputs, target) in enumerate(batches(data.train, epoch, part)):
            rate = settings.learning_rate * factor(settings, epoch * count + step, count)
            total += learn(inputs, target, rate, mix(network.seed, epoch, step))
            unseen = step % every + 1
            if unseen == every or step + 1 == count:
                seen = (step + 1) * size
                loss = ranks.total(total.clone()).item() / seen  # of all processes: all go on, or none
                _must_be_finite(loss, f"in epoch {epoch + 1} within {step + 1} steps")
                speed = seen / (time.monotonic() - began)
                line.step(_shown(loss, rate, speed), unseen)
    return loss, rate, speed


def _report(name: str, settings: TrainConfig, done: int) -> AbstractContextManager[metrics.Sink]:
    """Rank 0 reports for all."""
    if ranks.part().rank:
        return nullcontext(lambda entry: None)
    return metrics.sinks(name, as_table(settings), done)


def _must_be_finite(value: float, when: str) -> None:
    if not math.isfinite(value):
        raise StageError(
            f"the loss became {value} {when}: the training diverged",
            "lower the learning rate, or set train.clip_norm = 1.0; check the data for NaN",
        )


def _shown(loss: float, rate: float, speed: float, points: float | None = None) -> str:
    validation = "" if points is None else f", validation {points:.2f}"
    return f"loss {loss:.3f}{validation}, learning rate {rate:.2g}, {speed:.0f} images/s"


def _remember(
    so_far: resume.State, entry: Epoch, module: nn.Module, result: Result, start: float | None, last: bool
) -> None:
    """Count the epoch, and keep its weights if no other is better for certain, or in any case (``last``).

    The highest of many noisy readings is a lucky one, and an early epoch has a high learning rate still: of the epochs
    within one standard error of the best the last is kept (the one-standard-error rule of Breiman et al. 1984, towards
    the longer training). What training started from gives way only to something no worse.
    """
    so_far.epoch += 1
    so_far.curve.append(entry)
    highest = max(one.validation for one in so_far.curve)
    least = highest - replace(result, points=highest).error
    if last or (entry.validation >= least and (start is None or entry.validation >= start)):
        so_far.validation, so_far.best_epoch = entry.validation, so_far.epoch
        so_far.best = resume.copy(module.state_dict())


def _key(
    network: Network, settings: TrainConfig, teacher: Teacher | None, penalty: GroupPenalty | None
) -> str:
    """Which training an inner checkpoint belongs to."""
    taught = as_table(teacher.how) if teacher else None
    return canonical(
        [
            as_table(settings),
            as_table(network.data),
            as_table(network.task),
            network.seed,
            network.history,
            taught,
            *([penalty.strength] if penalty else []),
        ]
    )


def _kept(updates: Updates, adapters: nn.Module | None) -> dict[str, nn.Module]:
    """All modules whose weights an inner checkpoint holds."""
    found = {"weights": updates.module, "adapters": adapters}
    found["average"] = updates.judged if updates.average is not None else None
    return {name: module for name, module in found.items() if module is not None}


def _resumed(state: Path, key: str, kept: Mapping[str, nn.Module], updates: Updates) -> resume.State:
    """How far an interrupted training had come; its weights are filled in on every rank, rank 0 first."""
    so_far = resume.State()
    for turn in range(2):
        if turn == min(ranks.part().rank, 1):
            so_far = resume.load(state, key, kept, updates.optimizer, updates.scaler)
        ranks.wait()
    return so_far
