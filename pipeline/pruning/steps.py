"""What rounds of pruning are to reach, and the shares that they take away one after the other.

``whole``: all of the goal to begin with. Where that breaks the accuracy budget less goes, where less keeps it more:
what is lost is taken to grow with the square of what goes. At equal epochs one cut is 1.3 to 2.1 points better than
three smaller ones (studies/log/recovery.md).

``even``: equal steps, until the goal or the first that breaks the budget.

Either way a round cuts the last network that was good enough, at first the dense one.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

from jetpress.pipeline.recipe.sections.compression import PruneConfig

SMALLEST = 0.02
"""Share of the network: steps below it are not worth a fine-tuning."""
NEAREST = 0.25
"""Of the way between what was kept and what was not: a try goes no nearer to either."""
AIM = 0.8
"""Of the points that may still be lost: a try that is to lose all of them breaks the budget half of the time."""
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


@dataclass(frozen=True)
class Tried:
    """A round that is over."""

    share: float
    """That was gone after it."""
    lost: float
    """Points."""


@dataclass
class Course:
    """The rounds, one after the other."""

    config: PruneConfig
    whole: float
    """Share that is to go in all."""
    limit: float
    """Points that may be lost."""
    number: int = 0
    """Of the last round."""
    kept: Tried = Tried(0.0, 0.0)
    broke: Tried | None = None
    """The one that broke the budget with the least gone."""

    @property
    def reached(self) -> bool:
        """Whether the goal is."""
        return self.kept.share >= self.whole - 1e-9

    def next(self) -> float | None:
        """Share of the network that is gone after the next round; None: it is not worth one."""
        left = self.config.rounds - self.number
        even = self.config.steps == "even"
        if not left or self.reached or (self.broke and even):
            return None
        share = min(self._even(left) if even else self._whole(), self.whole)
        if self.number and share - self.kept.share < SMALLEST:
            return None
        self.number += 1
        return share

    def told(self, share: float, lost: float | None) -> bool:
        """Whether the round was good enough; ``lost`` is None where nobody knows, or nothing was to be lost."""
        one = Tried(share, lost or 0.0)
        if one.lost > self.limit:
            self.broke = one
        else:
            self.kept = one
        return self.kept is one

    def _even(self, left: int) -> float:
        step = (self.whole - self.kept.share) / left
        return self.kept.share + (step if self.number or left == 1 else min(step, self.config.first_step))

    def _whole(self) -> float:
        if self.broke is None:
            return self.whole
        low, high = self.kept, self.broke
        part = AIM * max(self.limit - low.lost, 0.0) / (high.lost - low.lost)
        share = math.sqrt(low.share**2 + part * (high.share**2 - low.share**2))
        margin = NEAREST * (high.share - low.share)
        return min(max(share, low.share + margin), high.share - margin)
