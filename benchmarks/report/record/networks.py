"""What is known about the two networks, how they were measured, and what the budget says to it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field, JsonValue

from jetpress.benchmarks.stats import Interval

State = Literal["valid", "noisy", "invalid"]
"""Of a measurement. An invalid one may not be used; a noisy one is read by its intervals."""


Standing = Literal[
    "met",
    "unmeasured",
    "open",
    "not met",
    "nothing compressed",
    "nothing to compress",
    "slower",
    "at chance",
    "unknown",
]
"""What a run came to: :data:`jetpress.benchmarks.report.headline.STANDINGS` says what each means."""


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A number, and the ends of its 95 % interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, kw_only=True)
class Limit:
    """One limit of the budget, and what was found."""

    what: str
    limit: float | None
    found: float | None
    """None: not measured (yet)."""
    unit: str
    """Of both: ``points``, ``ms`` or ``samples/s``."""
    met: bool | None
    at_most: bool
    """Whether less is better."""
    low: float | None = None
    """Ends of the 95 % interval of what was found; None: not known."""
    high: float | None = None


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """Whether the budget is met."""

    met: bool | None
    """None: not all limits could be measured, and none of the others is broken."""
    checks: tuple[Limit, ...]
    standing: Standing | None = None
    """None: in a report of an earlier version."""
    why: str | None = None
    """What led to it, where the numbers do not say it."""
    change: Estimate | None = None
    """Points that the compressed network gains on the dense one, on the same test samples."""
    guessing: float | None = None
    """Points on the test split of whoever has learnt nothing; None where that means nothing."""
    test_samples: int | None = None
    validation_samples: int | None = None


@dataclass(frozen=True, kw_only=True)
class Latency:
    """A series of latencies in ms. A percentile is there only if there were enough runs for it."""

    n: int
    """Runs."""
    mean: float | None
    min: float | None
    max: float | None
    p50: float | None = None
    p90: float | None = None
    p95: float | None = None
    p99: float | None = None
    p999: Annotated[float | None, Field(alias="p99.9")] = None
    cov: float | None
    """Standard deviation over mean, in percent."""
    outliers: int
    """Runs that no steady machine explains."""
    fps: float | None
    """Samples per second."""


@dataclass(frozen=True, kw_only=True)
class NetworkReport:
    """The dense or the compressed network."""

    validation: float | None
    """Points in percent (of what ``measured`` says), as are the next one and the engine's."""
    test: float | None
    parameters: int | None
    macs: int | None
    """Multiply-adds for one sample."""
    onnx_bytes: int | None
    engine_bytes: int | None
    """None: no engine was built."""
    engine_accuracy: float | None
    """On the bundle's samples, by the engine itself."""
    latency: Latency | None
    samples_ms: tuple[float | None, ...] | None = None
    """Every run, in the order of measuring."""


@dataclass(frozen=True, kw_only=True)
class Ratio:
    """How many times as fast, with the ends of its 95 % interval."""

    value: float | None
    low: float | None
    high: float | None

    @property
    def interval(self) -> Interval | None:
        """None where a number of it is not known: then there is nothing to claim."""
        if self.value is None or self.low is None or self.high is None:
            return None
        return Interval(self.value, self.low, self.high)


@dataclass(frozen=True, kw_only=True)
class Ratios:
    """Dense over compressed: how many times smaller or faster."""

    parameters: float | None
    macs: float | None
    size: float | None
    """Of the ONNX files."""
    latency: Ratio | None
    """None: not measured, or by a benchmark that is invalid."""


@dataclass(frozen=True, kw_only=True)
class Benchmark:
    """Whether the latencies may be used."""

    verdict: State
    reasons: tuple[str, ...]
    """Why it is not valid."""
    knobs: Mapping[str, JsonValue]
    """What was set while measuring, as the runner names it."""
