"""Rounds of pruning: cut, recover, judge; the last network that was good enough stays.

How much goes in each says :mod:`jetpress.pipeline.pruning.steps`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from jetpress.pipeline.pruning.steps import Course, goal
from jetpress.pipeline.recipe.configs import (
    Bench,
    RegularizeConfig,
    SensitivityConfig,
    TimedConfig,
    TimingsConfig,
)
from jetpress.pipeline.recipe.resolve import Plan
from jetpress.pipeline.store.artifact import Checkpoint, Timings
from jetpress.pipeline.store.lazy import lazy_stages
from jetpress.pipeline.store.steps import Walk

with lazy_stages():
    from jetpress.pipeline.stages.finetune import finetune
    from jetpress.pipeline.stages.prune import prune
    from jetpress.pipeline.stages.prune_for_time import prune_for_time
    from jetpress.pipeline.stages.regularize import regularize
    from jetpress.pipeline.stages.sensitivity import sensitivity
    from jetpress.pipeline.stages.timings import timings


@dataclass(frozen=True)
class Round:
    """One round of pruning, kept or not."""

    share: float
    """Of the original network that is gone: channels, or what the goal counts."""
    pruned: Checkpoint
    tuned: Checkpoint | None
    kept: bool
    why: str = ""
    start: Checkpoint | None = None
    """What it was cut from."""


def prune_in_rounds(
    plan: Plan, dense: Checkpoint, bench: Bench | None, walk: Walk, teacher: Checkpoint | None = None
) -> tuple[Checkpoint, list[Round]]:
    """The last good round's network (the dense one when there was none), and all rounds.

    Each learns from ``teacher``, or from the dense network.
    """
    recipe, teacher = plan.recipe, teacher or dense
    if "prune" in plan.skipped:
        walk.skip("prune", plan.skipped["prune"])
        return dense, []
    times = _timings(plan, dense, bench, walk)
    whole = goal(recipe.prune, recipe.export.batch, times.known.latency_ms if times and times.known else None)
    if whole.share <= 0:
        walk.skip("prune", "the dense network is as fast as it has to be")
        return dense, []
    rounds: list[Round] = []
    best, start = dense, _regularized(plan, dense, teacher, walk)
    course = Course(recipe.prune, whole.share, recipe.budget.accuracy_drop)
    while (share := course.next()) is not None:
        number, config = course.number, whole.at(recipe.prune, share)
        judged = walk.step(f"judge {number}", sensitivity, SensitivityConfig.of(config), start)
        if bench is not None and times is not None:
            timed = TimedConfig(config, bench)
            pruned = walk.step(f"prune {number}", prune_for_time, timed, start, judged, dense, times)
        else:
            pruned = walk.step(f"prune {number}", prune, config, start, judged)
        one = _recovered(plan, number, share, pruned, dense, teacher, walk)
        rounds.append(replace(one, start=start))
        course.told(share, drop(dense, one.tuned) if one.tuned else None)
        if one.kept and one.tuned:
            best = start = one.tuned
    return best, rounds


def _regularized(plan: Plan, dense: Checkpoint, teacher: Checkpoint, walk: Walk) -> Checkpoint:
    """The dense network, trained towards its pruning where that is asked for."""
    if not plan.recipe.prune.regularize_epochs:
        return dense
    return walk.step(
        "regularize", regularize, RegularizeConfig.of(plan.recipe.prune, plan.finetune), dense, teacher
    )


def _timings(plan: Plan, dense: Checkpoint, bench: Bench | None, walk: Walk) -> Timings | None:
    """What layers take on the device, where the goal is a time."""
    config = plan.recipe.prune
    if bench is None or not config.needs_time:
        return None
    assert config.channel_multiple is not None
    return walk.step(
        "timings", timings, TimingsConfig(bench, config.channel_multiple, config.ignore, config.limits), dense
    )


def _recovered(
    plan: Plan,
    number: int,
    share: float,
    pruned: Checkpoint,
    dense: Checkpoint,
    teacher: Checkpoint,
    walk: Walk,
) -> Round:
    """Fine-tune what was pruned, and judge it."""
    if pruned.known and pruned.known.pruned is False:
        walk.skip(f"finetune {number}", "nothing was removed: there is nothing to recover")
        return Round(share, pruned, None, False, "nothing was removed")
    tuned = walk.step(f"finetune {number}", finetune, plan.finetune, pruned, teacher)
    why = too_much_lost(plan, dense, tuned)
    if why:
        walk.skip(f"round {number}", f"not kept: {why}")
    return Round(share, pruned, tuned, not why, why)


def drop(dense: Checkpoint, tuned: Checkpoint) -> float | None:
    """Points of validation accuracy lost; None where they are not known (yet)."""
    before, after = (one.known.validation if one.known else None for one in (dense, tuned))
    return None if before is None or after is None else before - after


def too_much_lost(plan: Plan, dense: Checkpoint, tuned: Checkpoint) -> str:
    """Why a network is not good enough, on the validation split; empty when it is (or is not known yet)."""
    lost, limit = drop(dense, tuned), plan.recipe.budget.accuracy_drop
    if lost is None or lost <= limit:
        return ""
    return f"{lost:.2f} points of validation {dense.facts.measured} lost, the budget is {limit:g}"
