"""The learning rate through a training, and when it may stop before its last epoch."""

from __future__ import annotations

import math
from collections.abc import Sequence

from jetpress.pipeline.recipe.sections.training import TrainConfig
from jetpress.pipeline.store.facts.network import Epoch

HELD = 2
"""Epochs in a row that must reach the target: one alone may be luck."""
HOPE = 2.0
"""What is left of the training is expected to gain at most this many times what as many epochs gained last."""
SPREAD = 2.0
"""Points by which validation may jump from one epoch to the next."""


def factor(settings: TrainConfig, step: int, steps_per_epoch: int) -> float:
    """Share of the peak learning rate at a step, counted from 0 through all epochs."""
    total = settings.epochs * steps_per_epoch
    if settings.schedule == "one-cycle":
        return _one_cycle(step, total)
    warmup = min(round(settings.warmup_epochs * steps_per_epoch), total // 4)
    if step < warmup:
        return (step + 1) / (warmup + 1)
    done = (step - warmup) / (total - warmup)
    if settings.schedule == "cosine":
        return 0.5 * (1 + math.cos(math.pi * done))
    if settings.schedule == "step":
        return 0.1 ** sum(done >= limit for limit in (0.5, 0.75))
    return 1.0


def _one_cycle(step: int, total: int) -> float:
    """As torch's ``OneCycleLR`` does with its defaults, but for the momentum, which stays."""
    start, end = 1 / 25, 1 / 25 / 1e4
    top, last = 0.3 * total - 1, total - 1
    if step <= top:
        return _between(start, 1.0, step / top)
    return _between(1.0, end, (step - top) / (last - top)) if last > top else 1.0


def _between(start: float, end: float, done: float) -> float:
    return end + (start - end) / 2 * (1 + math.cos(math.pi * done))


def enough(curve: Sequence[Epoch], settings: TrainConfig) -> str:
    """Why training stops after the epochs of ``curve``; empty: it goes on.

    Out of reach is judged from the middle of the training on, and carefully: with a falling learning rate the
    last epochs often gain most, so twice the latest gain is allowed for, and two points on top.
    """
    target, done = settings.stop_at, [entry.validation for entry in curve]
    left = settings.epochs - len(done)
    if target is None or left <= 0:
        return ""
    if len(done) >= HELD and min(done[-HELD:]) >= target:
        return (
            f"{min(done[-HELD:]):.2f} points on validation in {HELD} epochs in a row, {target:.2f} are enough"
        )
    if len(done) < max(3, settings.epochs / 2):
        return ""
    window = max(1, min(left, len(done) // 2))
    gain = max(0.0, max(done[-window:]) - max(done[:-window]))
    possible = max(done) + HOPE * gain * left / window + SPREAD
    if possible >= target:
        return ""
    return (
        f"hopeless: {max(done):.2f} points on validation after {len(done)} of {settings.epochs} epochs, "
        f"{target:.2f} are out of reach"
    )
