"""What rounds of pruning are to reach, and how large the steps are in which they do.

The share that is gone rises to the goal. ``even`` steps are equal and end with the first round that breaks the
accuracy budget. ``adaptive`` ones grow while less than half of the budget is used, and after a round that breaks
it a half step is tried from the last good network.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

from jetpress.pipeline.recipe.sections.compression import PruneConfig

GROWTH = 1.5
SMALLEST = 0.02
"""Share of the network: steps below it are not worth a fine-tuning."""
NOT_OF_A_CUT = (
    *("ratio", "macs", "params", "latency", "latency_ms", "fps", "rounds", "first_step", "steps"),
    *("regularize_epochs", "regularization"),
)
"""Keys that decide what a round's goal is, which rounds there are, and what comes before them."""
OF_MEASURED = ("blocks", "sensitivity_images")
"""Keys of ``scope = "measured"``."""


@dataclass(frozen=True)
class Goal:
    """How much is to go, in all."""

    kind: str
    """The key of ``PruneConfig`` that says it."""
    share: float
    also: Mapping[str, float] = field(default_factory=dict)
    """Other keys that hold, too, and their shares."""

    def at(self, config: PruneConfig, share: float) -> PruneConfig:
        """The configuration of a round: this share of the original is gone after it, and as much of the others'.

        Keys that have no part in the cut have their default: equal cuts are equal, whatever led to them.
        """
        gone = {kind: round(whole * share / self.share, 6) for kind, whole in self.also.items()}
        unread = NOT_OF_A_CUT if config.scope == "measured" else NOT_OF_A_CUT + OF_MEASURED
        plain: dict[str, Any] = {one.name: one.default for one in fields(config) if one.name in unread}
        return replace(config, **plain | gone | {self.kind: round(share, 6)})


def goal(config: PruneConfig, batch: int, dense_ms: float | None) -> Goal:
    """What the recipe asks for, as shares; that of 0 is met by the dense network.

    Args:
        config: of the recipe.
        batch: samples that the engine takes at once.
        dense_ms: latency of the dense engine; None where it is not known yet.
    """
    times = [config.latency_ms, 1000 * batch / config.fps if config.fps else None]
    # A plan cannot know the time: at a half some rounds will run.
    shares = [1 - limit / dense_ms if dense_ms else 0.5 for limit in times if limit]
    if config.latency is not None:
        shares.append(config.latency)
    found = {"latency": max(*shares, 0.0)} if shares else {}
    found |= {kind: share for kind in ("macs", "params") if (share := getattr(config, kind)) is not None}
    if not found:
        return Goal("ratio", config.ratio)
    (kind, share), *also = sorted(
        found.items(), key=lambda one: one[1] <= 0
    )  # one that is met leads no round
    return Goal(kind, share, dict(also))


def first(config: PruneConfig, whole: float) -> float:
    """The share of the first step towards ``whole``."""
    return min(whole / config.rounds, config.first_step) if config.rounds > 1 else whole


def following(config: PruneConfig, step: float, remaining: float, left: int, kept: bool, easy: bool) -> float:
    """The share of the step after a round that removed something.

    Args:
        config: how steps are chosen.
        step: share of the round before.
        remaining: share that is still to go.
        left: rounds that are left for it.
        kept: whether the round before was good enough.
        easy: whether it lost no more than half of what may be lost.
    """
    if config.steps == "even":
        return even(remaining, left)
    if not kept:
        return step / 2
    return max(step * GROWTH, even(remaining, left)) if easy else step


def even(remaining: float, left: int) -> float:
    """What is still to go, in as many equal steps as there are rounds left."""
    return remaining / max(left, 1)
