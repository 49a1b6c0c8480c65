"""The one training loop, and the stage that trains the dense baseline with it.

SGD with Nesterov momentum or AdamW, warm-up and a schedule by the step, the best epoch on the validation
split kept. Pruned weights are held: their gradients never reach the optimizer, and they are exactly 0.0 after
every step. Killed and started again, it goes on after the last whole epoch, on the CPU bit for bit as if
nothing had happened: each epoch's order, augmentation and dropout are functions of (seed, epoch). On a GPU it
computes in mixed precision; there the same seed gives results equal within rounding.
"""

from __future__ import annotations

import json
import math
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from deploy.console import progress, say
from deploy.errors import StageError
from pipeline import distill, models, resume
from pipeline.artifact import Checkpoint, canonical
from pipeline.augment import mix
from pipeline.data import Data, batches, load, steps
from pipeline.distill import Teacher
from pipeline.evaluate import Judge, device, evaluate, layout, loss, to_device
from pipeline.models import Network, outputs_of
from pipeline.sections import TrainConfig, as_table

CHECK_EVERY = 16
"""Steps on a GPU between two looks at the loss: each makes the CPU wait."""

Learn = Callable[[tuple[Tensor, ...], Any, float], Tensor]
"""One step: inputs, target, learning rate -> loss."""


@dataclass(frozen=True)
class Fit:
    """What training came to."""

    validation: float
    """Points of the network as it is now: the best epoch's."""
    best_epoch: int
    """Counted from 1; 0: no epoch was better than the weights it started from."""
    curve: tuple[dict[str, float], ...]
    """Of each epoch its number, mean loss, last learning rate and points on the validation split.

    No times: equal runs give equal artifacts.
    """


def fit(
    network: Network,
    data: Data,
    settings: TrainConfig,
    *,
    state: Path,
    what: str,
    teacher: Teacher | None = None,
    start: float | None = None,
) -> Fit:
    """Train ``network`` in place and leave it with the weights of its best epoch, on the CPU.

    Args:
        network: its masks are held.
        data: learnt from on its training split, judged on its validation split.
        settings: of the optimizer and the schedule; at least one epoch.
        state: folder of the inner checkpoint; what it holds of the same training is taken up again.
        what: names the progress line.
        teacher: a network whose outputs are learnt beside the labels.
        start: validation points of the weights given, if they may be the best; None: they do not count.

    Raises:
        StageError: the loss became NaN or infinite.
    """
    place = device()
    module = network.module.to(place)
    layout(module, torch.channels_last)
    dropped = _dropped(network)
    _hold(dropped)
    optimizer = _optimizer(module, settings)
    precision = _precision(place)
    scaler = torch.amp.GradScaler(place.type, enabled=precision is torch.float16)
    key = _key(network, settings, teacher)
    so_far = resume.load(state, key, module, optimizer, scaler)
    if so_far.epoch:
        say(f"    {what}: going on after epoch {so_far.epoch} of {settings.epochs}")
    elif start is not None:
        so_far.validation, so_far.best = start, resume.copy(module.state_dict())
    objective = _objective(network, settings, teacher)

    def learn(inputs: tuple[Tensor, ...], target: Any, rate: float) -> Tensor:
        for group in optimizer.param_groups:
            group["lr"] = rate
        inputs, target = to_device(inputs, place), to_device(target, place)
        with torch.autocast(place.type, precision, enabled=precision is not None):
            one = objective(inputs, target)
        _update(one, optimizer, scaler, dropped, settings.clip_norm)
        return one.detach()

    for epoch in range(so_far.epoch, settings.epochs):
        torch.manual_seed(mix(network.seed, epoch))  # dropout
        module.train()
        entry, speed = _epoch(learn, data, settings, epoch, what)
        entry["validation"] = evaluate(network, data.validation, f"{what}: validation")
        _remember(so_far, entry, module)
        say(f"    {what}, epoch {epoch + 1}/{settings.epochs}: {_shown(entry, speed)}")
        if so_far.epoch < settings.epochs:
            resume.save(state, key, so_far, module, optimizer, scaler.state_dict())

    module.load_state_dict(so_far.best)
    layout(module, torch.contiguous_format)
    network.module = module.cpu().eval()
    return Fit(so_far.validation, so_far.best_epoch, tuple(so_far.curve))


def train(config: TrainConfig, model: Checkpoint, draft: Path) -> Checkpoint:
    """Stage: the dense baseline.

    Facts: ``validation`` (points of the best epoch), ``best_epoch``, ``epochs``, ``curve``.
    """
    network = models.load(model)
    data = load(network.data, network.seed)
    fitted = fit(network, data, config, state=draft / "state", what="training")
    if fitted.validation <= guessing(data):
        say(f"    WARNING: {fitted.validation:.2f} % right is no better than guessing: nothing was learnt")
    return finish(network, fitted, draft, model.facts)


def finish(network: Network, fitted: Fit, draft: Path, facts: Mapping[str, Any]) -> Checkpoint:
    """Save what :func:`fit` made, with ``metrics.jsonl``, and drop the inner checkpoint."""
    curve = list(fitted.curve)
    (draft / "metrics.jsonl").write_text("".join(json.dumps(entry) + "\n" for entry in curve))
    shutil.rmtree(draft / "state", ignore_errors=True)
    learnt = {
        "validation": fitted.validation,
        "best_epoch": fitted.best_epoch,
        "epochs": len(curve),
        "curve": curve,
    }
    return models.save(network, draft, {**facts, **learnt})


def guessing(data: Data) -> float:
    """Points of always naming the validation split's most frequent class; -1 where that means nothing."""
    labels = data.validation.labels
    if labels is None or data.config.metric != "top1":
        return -1.0
    return 100 * int(labels.bincount().max()) / len(labels)


def factor(settings: TrainConfig, step: int, steps_per_epoch: int) -> float:
    """Share of the peak learning rate at a step, counted from 0 through all epochs."""
    total = settings.epochs * steps_per_epoch
    warmup = min(round(settings.warmup_epochs * steps_per_epoch), total // 4)
    if step < warmup:
        return (step + 1) / (warmup + 1)
    done = (step - warmup) / (total - warmup)
    if settings.schedule == "cosine":
        return 0.5 * (1 + math.cos(math.pi * done))
    if settings.schedule == "step":
        return 0.1 ** sum(done >= limit for limit in (0.5, 0.75))
    return 1.0


def _epoch(
    learn: Learn, data: Data, settings: TrainConfig, epoch: int, what: str
) -> tuple[dict[str, float], float]:
    """One pass over the training data: an entry of the curve, and images per second."""
    count, seen, began = steps(data.train), 0, time.monotonic()
    total, entry, speed = torch.zeros((), dtype=torch.float64), {}, 0.0
    every = CHECK_EVERY if torch.cuda.is_available() else 1
    with progress(f"{what}, epoch {epoch + 1}/{settings.epochs}", count) as line:
        for step, (inputs, target) in enumerate(batches(data.train, epoch)):
            rate = settings.learning_rate * factor(settings, epoch * count + step, count)
            total = total + learn(inputs, target, rate) * len(inputs[0])
            seen += len(inputs[0])
            unseen = step % every + 1
            if unseen == every or step + 1 == count:
                entry = {"epoch": epoch + 1, "loss": total.item() / seen, "learning_rate": rate}
                _must_be_finite(entry["loss"], f"in epoch {epoch + 1} within {step + 1} steps")
                speed = seen / (time.monotonic() - began)
                line.step(_shown(entry, speed), unseen)
    return entry, speed


def _must_be_finite(value: float, when: str) -> None:
    if not math.isfinite(value):
        raise StageError(
            f"the loss became {value} {when}: the training diverged",
            "lower the learning rate, or set train.clip_norm = 1.0; check the data for NaN",
        )


def _shown(entry: Mapping[str, float], speed: float) -> str:
    validation = f", validation {entry['validation']:.2f}" if "validation" in entry else ""
    rate = f"learning rate {entry['learning_rate']:.2g}"
    return f"loss {entry['loss']:.3f}{validation}, {rate}, {speed:.0f} images/s"


def _remember(so_far: resume.State, entry: dict[str, float], module: nn.Module) -> None:
    """Count the epoch; of two that are equally good the later one, which has trained longer, is the best."""
    so_far.epoch += 1
    so_far.curve.append(entry)
    if entry["validation"] >= so_far.validation:
        so_far.validation, so_far.best_epoch = entry["validation"], so_far.epoch
        so_far.best = resume.copy(module.state_dict())


def _key(network: Network, settings: TrainConfig, teacher: Teacher | None) -> str:
    """Which training an inner checkpoint belongs to."""
    taught = [teacher.weight, teacher.temperature] if teacher else []
    return canonical([as_table(settings), as_table(network.data), network.seed, network.history, taught])


def _precision(place: torch.device) -> torch.dtype | None:
    """Of mixed precision; None: float32."""
    if place.type == "cpu":
        return None
    return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16


def _optimizer(module: nn.Module, settings: TrainConfig) -> torch.optim.Optimizer:
    """No weight decay on biases and normalisation: they have one dimension."""
    parameters = [p for p in module.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": settings.weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
    if settings.optimizer == "adamw":
        return torch.optim.AdamW(groups, lr=settings.learning_rate, fused=True)
    return torch.optim.SGD(
        groups,
        lr=settings.learning_rate,
        momentum=settings.momentum,
        nesterov=settings.momentum > 0,
        fused=True,
    )


def _objective(network: Network, settings: TrainConfig, teacher: Teacher | None) -> Judge:
    """``(inputs, target)`` -> loss: of the labels, and of the teacher's outputs where there is one."""
    of_labels = loss(network.data, settings.label_smoothing)
    classes = network.data.loss == "cross_entropy"

    def objective(inputs: tuple[Tensor, ...], target: Any) -> Tensor:
        outputs = network.module(*inputs)
        labelled = of_labels(outputs, target)
        if teacher is None or teacher.weight == 0:
            return labelled
        with torch.no_grad():
            shown = outputs_of(teacher.module(*inputs))
        taught = distill.outputs(outputs_of(outputs), shown, teacher.temperature, classes)
        return (1 - teacher.weight) * labelled + teacher.weight * taught

    return objective


def _dropped(network: Network) -> list[tuple[nn.Parameter, Tensor]]:
    """Every masked parameter with where it is zero, laid out in memory as the parameter is."""
    parameters = dict(network.module.named_parameters())
    return [
        (parameters[name], torch.zeros_like(parameters[name], dtype=torch.bool).copy_(~mask))
        for name, mask in network.masks.items()
    ]


@torch.no_grad()
def _hold(dropped: list[tuple[nn.Parameter, Tensor]]) -> None:
    for parameter, where in dropped:
        parameter.masked_fill_(where, 0.0)


def _update(
    one: Tensor,
    optimizer: torch.optim.Optimizer,
    scaler: torch.amp.GradScaler,
    dropped: list[tuple[nn.Parameter, Tensor]],
    clip_norm: float,
) -> None:
    """Backward and one optimizer step, in which masked weights take no part."""
    optimizer.zero_grad(set_to_none=True)
    scaler.scale(one).backward()
    scaler.unscale_(optimizer)
    for parameter, where in dropped:
        if parameter.grad is not None:
            parameter.grad.masked_fill_(where, 0.0)
    if clip_norm > 0:
        torch.nn.utils.clip_grad_norm_([p for g in optimizer.param_groups for p in g["params"]], clip_norm)
    scaler.step(optimizer)
    scaler.update()
    _hold(dropped)
