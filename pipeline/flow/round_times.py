"""What the network of every round takes where the engine runs: accuracy against latency over the rounds.

Nothing is decided by it, it is for who reads the report. So it is done where it takes seconds, on the host; elsewhere
an engine has to be built for every round, and ``benchmark.rounds`` asks for it. Networks are timed as their accuracy
was found, before anything is quantized.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from jetpress.pipeline.engine.place import can_run
from jetpress.pipeline.flow.rounds import Round
from jetpress.pipeline.recipe.configs import Bench, BundleConfig, Place
from jetpress.pipeline.recipe.resolve import Plan
from jetpress.pipeline.recipe.sections.compression import EIGHT_BITS
from jetpress.pipeline.store.artifact import Bundle, OnnxModel, RoundTimes
from jetpress.pipeline.store.lazy import lazy_stages
from jetpress.pipeline.store.steps import Walk

with lazy_stages():
    from jetpress.pipeline.stages.export import export
    from jetpress.pipeline.stages.time_rounds import time_rounds


@dataclass(frozen=True)
class Rounds:
    """The rounds of pruning, and the files of the first and the last network."""

    all: Sequence[Round]
    dense: OnnxModel
    compressed: OnnxModel
    """Of the last round that was kept, in floating point."""

    @property
    def trained(self) -> list[tuple[int, Round]]:
        """Those with a network whose accuracy is known, by number."""
        return [(number, one) for number, one in enumerate(self.all, 1) if one.tuned is not None]


def timed(
    plan: Plan, place: Place | None, packing: BundleConfig, packed: Bundle, rounds: Rounds, walk: Walk
) -> tuple[RoundTimes | None, str]:
    """The times, or why there are none."""
    if not rounds.trained:
        return None, ""
    why = why_not(plan, place, rounds)
    if why or place is None:
        walk.skip("time rounds", why)
        return None, why
    build = packing.build
    if build.precision in EIGHT_BITS:
        build = replace(build, precision=plan.target.default_precision)
    bench = Bench(place, replace(packing, build=build), plan.recipe.export)
    last = max((number for number, one in rounds.trained if one.kept), default=0)
    files = [
        rounds.compressed
        if number == last
        else walk.step(f"export {number}", export, bench.export, one.tuned)
        for number, one in rounds.trained
        if one.tuned is not None
    ]
    return walk.step("time rounds", time_rounds, bench, packed, rounds.dense, *files), ""


def why_not(plan: Plan, place: Place | None, rounds: Rounds) -> str:
    """Why the rounds are not timed; empty where they are."""
    asked = plan.recipe.benchmark.rounds
    if asked is False:
        return "benchmark.rounds = false"
    if not any(one.kept for _, one in rounds.trained):
        return "no round was kept"
    if place is None or not can_run(plan.target):
        return "there is no device to time them on"
    if asked is None and plan.target.runtime.needs_gpu:
        return "an engine would have to be built for each: benchmark.rounds = true asks for it"
    return ""
