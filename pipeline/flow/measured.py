"""What the runner said while it measured all engines of a bundle side by side, and whether that answers the recipe."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from pydantic import JsonValue

from jetpress.benchmarks.report.latency import summary
from jetpress.benchmarks.report.record import part
from jetpress.benchmarks.report.record.engines import MixedLatency
from jetpress.benchmarks.report.record.networks import (
    Application,
    Benchmark,
    Latency,
    Power,
    PowerChoice,
    PowerMode,
    Ratio,
    State,
)
from jetpress.deploy.runner.measure import power
from jetpress.pipeline.engine.contents import MAPPED
from jetpress.pipeline.quantization import NOT_MIXED
from jetpress.pipeline.recipe.sections.device import BudgetConfig
from jetpress.pipeline.store.artifact import Measurement

WORSE = ("valid", "noisy", "invalid")


@dataclass(frozen=True)
class Timed:
    """One engine."""

    verdict: State
    """Of its latency by itself."""
    reasons: tuple[str, ...]
    knobs: Mapping[str, JsonValue]
    batch: int
    """Samples of one run."""
    samples_ms: tuple[float, ...]
    median_ms: float
    interval_ms: tuple[float, float]
    """Of the median."""
    level: int | None
    sessions: int
    power: Power | None = None


@dataclass(frozen=True)
class Session:
    """Engines by name, and how many times as fast the compressed one is as each of the others; empty where nothing was
    measured."""

    engines: Mapping[str, Timed] = field(default_factory=dict)
    against: Mapping[str, Ratio] = field(default_factory=dict)
    machine: str = ""
    """How busy the device was before."""
    without_copies: Ratio | None = None
    """The compressed engine in memory that CPU and GPU share, against itself with copies."""
    application: tuple[Application, ...] = ()
    """From frames of a video to results."""
    power_modes: tuple[Mapping[str, Any], ...] = ()
    """What the runner said of each power mode."""


def session(numbers: Measurement | None) -> Session:
    """As ``bench.json`` holds it."""
    events = json.loads((numbers.path / "bench.json").read_text()) if numbers else []
    engines = {
        one["model"]: Timed(
            one["verdict"],
            tuple(one["reasons"]),
            one["knobs"],
            one["knobs"]["batch"],
            tuple(one["raw"]["latency"]),
            one["latency"]["median"],
            tuple(one["interval"]),
            one["level"],
            one["sessions"],
            _power(one.get("power")),
        )
        for one in events
        if one["event"] == "result"
    }
    ratios = [one for one in events if one["event"] == "ratio" and one["of"] == "compressed"]
    against = {one["against"]: _ratio(one) for one in ratios}
    machine = next((one["line"] for one in events if one["event"] == "machine"), "")
    mapped = [one for one in events if one["event"] == "ratio" and one["of"] == MAPPED]
    without_copies = _ratio(mapped[0]) if mapped else None
    modes = tuple(one for one in events if one["event"] == "power_mode")
    return Session(engines, against, machine, without_copies, _films(events), modes)


def _power(told: Mapping[str, Any] | None) -> Power | None:
    if told is None:
        return None
    return Power(
        watts=told["watts"],
        millijoules=told["millijoules_per_inference"],
        idle_watts=told["idle_watts"],
        hottest_celsius=told["hottest_celsius"],
    )


def _films(events: Sequence[Mapping[str, Any]]) -> tuple[Application, ...]:
    named = ("model", "side_by_side", "frames_per_s", "streams", "batch", "dropped")
    return tuple(
        Application(
            **{name: one[name] for name in named},
            latency_ms=one["latency"]["median"],
            stages_ms={name: told["median"] for name, told in one["stages"].items()},
        )
        for one in events
        if one["event"] == "video"
    )


def _mode(event: Mapping[str, Any]) -> PowerMode:
    """By the numbers that the runner itself chooses by."""
    point = next(iter(power.measured([event])), None)
    if point is None:
        return PowerMode(name=event["name"], reason=event["reason"])
    return PowerMode(
        name=point.name,
        frames_per_s=point.frames_per_s,
        watts=point.watts,
        millijoules=point.millijoules,
        hottest_celsius=point.celsius,
    )


def _choice(found: Session, budget: BudgetConfig) -> PowerChoice | None:
    if not found.power_modes:
        return None
    told = power.choice(found.power_modes, power.Limits(budget.watts, budget.millijoules))
    return PowerChoice(mode=told["mode"], why=told["why"], watts=budget.watts)


def _ratio(event: Mapping[str, Any]) -> Ratio:
    told = {name: event[name] for name in ("verdict", "state", "reasons", "sessions", "level")}
    ends = zip(("low", "high"), event["interval"], strict=True)
    return part(Ratio, {**told, **dict(ends), "value": event["ratio"]})


def latency_of(timed: Timed) -> Latency:
    """What one engine takes, how well that is known, and whether it may be quoted."""
    low, high = timed.interval_ms
    return replace(
        summary(timed.samples_ms, timed.batch),
        low=low,
        high=high,
        level=timed.level,
        verdict=timed.verdict,
        reasons=timed.reasons,
    )


def benchmark(found: Session, budget: BudgetConfig) -> Benchmark | None:
    """How it was measured, and whether it answers what was asked."""
    if not found.engines:
        return None
    both = {name: found.engines[name] for name in ("dense", "compressed") if name in found.engines}
    return Benchmark(
        verdict=max((one.verdict for one in both.values()), key=WORSE.index),
        reasons=tuple(f"{name}: {why}" for name, one in both.items() for why in one.reasons),
        knobs=both["compressed"].knobs,
        unanswered=unanswered(found, budget),
        sessions=both["compressed"].sessions,
        machine=found.machine,
        without_copies=found.without_copies,
        power=both["compressed"].power,
        application=found.application,
        power_modes=tuple(map(_mode, found.power_modes)),
        power_choice=_choice(found, budget),
    )


def unanswered(found: Session, budget: BudgetConfig) -> tuple[str, ...]:
    """What the recipe asks and the numbers do not tell: the ratio, or on which side of a limit the latency is."""
    open_ = []
    ratio, timed = found.against.get("dense"), found.engines.get("compressed")
    if ratio is not None and ratio.state == "unknown":
        open_ += [f"how many times as fast: {why}" for why in ratio.reasons]
    if timed is None:
        return tuple(open_)
    measured = latency_of(timed)
    span = f"within what the median may be, {measured.low:.3g} to {measured.high:.3g} ms"
    if budget.latency_ms is not None and measured.is_open(budget.latency_ms):
        open_.append(f"budget.latency_ms = {budget.latency_ms:g} lies {span}")
    if budget.fps is not None and measured.is_open_fps(budget.fps):
        open_.append(f"budget.fps = {budget.fps:g} lies {span}")
    return tuple(open_)


def mixed_latency(found: Session) -> MixedLatency | None:
    """What the layers in higher precision cost: the engine with them beside the one without."""
    if NOT_MIXED not in found.engines or NOT_MIXED not in found.against:
        return None
    both = {name: one for name, one in found.engines.items() if name in ("compressed", NOT_MIXED)}
    return MixedLatency(
        mixed_ms=both["compressed"].median_ms,
        throughout_ms=both[NOT_MIXED].median_ms,
        times_as_fast=found.against[NOT_MIXED],
        verdicts=tuple(one.verdict for one in both.values()),
    )
