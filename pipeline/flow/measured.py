"""What the runner said while it measured all engines of a bundle in one session."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

from pydantic import JsonValue

from jetpress.benchmarks.report.record.engines import MixedLatency
from jetpress.benchmarks.report.record.networks import Benchmark, Ratio, State
from jetpress.pipeline.quantization import NOT_MIXED
from jetpress.pipeline.store.artifact import Measurement

WORSE = ("valid", "noisy", "invalid")


@dataclass(frozen=True)
class Timed:
    """One engine."""

    verdict: State
    reasons: tuple[str, ...]
    knobs: Mapping[str, JsonValue]
    batch: int
    """Samples of one run."""
    samples_ms: tuple[float, ...]
    median_ms: float


@dataclass(frozen=True)
class Session:
    """Engines by name, and how many times as fast the compressed one is as each of the others; empty where nothing was
    measured."""

    engines: Mapping[str, Timed] = field(default_factory=dict)
    against: Mapping[str, Ratio] = field(default_factory=dict)


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
        )
        for one in events
        if one["event"] == "result"
    }
    against = {
        one["against"]: Ratio(value=one["ratio"], low=one["interval"][0], high=one["interval"][1])
        for one in events
        if one["event"] == "ratio"
    }
    return Session(engines, against)


def benchmark(found: Session, invalid: str) -> Benchmark | None:
    """Whether the numbers may be used. ``invalid`` says why those that were measured are not there."""
    if invalid:
        return Benchmark(verdict="invalid", reasons=(invalid,), knobs={})
    if not found.engines:
        return None
    both = {name: found.engines[name] for name in ("dense", "compressed") if name in found.engines}
    return Benchmark(
        verdict=max((one.verdict for one in both.values()), key=WORSE.index),
        reasons=tuple(f"{name}: {why}" for name, one in both.items() for why in one.reasons),
        knobs=both["compressed"].knobs,
    )


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
