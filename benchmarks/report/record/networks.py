"""What is known about the two networks, how they were measured, and what the budget says to it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field, JsonValue

from jetpress.benchmarks.stats import Interval

State = Literal["valid", "noisy", "invalid"]
"""Of an absolute latency. An invalid one is shown and may not be quoted; a noisy one is read by its interval."""
Known = Literal["known", "unknown"]
"""Whether a ratio says something: what disturbs a session disturbs both engines, so it is judged apart from them."""
Comparison = Literal["faster", "slower", "noise"]


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
    "unjudged",
    "cut, unjudged",
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
    mean: bool = True
    """The points are a mean of points of each sample, 0 to 100; otherwise a figure over the whole split."""


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
    low: float | None = None
    """Ends of the interval of the median, in ms; None where nothing tells it."""
    high: float | None = None
    level: int | None = None
    """95: the interval covers what differs between sessions. None: it speaks of one session, and is called nothing."""
    verdict: State | None = None
    """Whether the median may be quoted; None where nobody judged it."""
    reasons: tuple[str, ...] = ()
    """Why it is not valid."""

    @property
    def half_width(self) -> float | None:
        """Half the interval of the median as a share of it: 0.12 is +/- 12 %."""
        if not self.p50 or self.low is None or self.high is None:
            return None
        return (self.high - self.low) / 2 / self.p50

    def is_open(self, limit_ms: float) -> bool:
        """Whether a limit lies inside the interval of the median: then it is not known on which side of it."""
        return self.low is not None and self.high is not None and self.low < limit_ms < self.high

    def is_open_fps(self, limit: float) -> bool:
        """The same of a limit in samples per second, whose interval is as wide as that of the median."""
        if self.fps is None or self.p50 is None or self.low is None or self.high is None:
            return False
        return self.fps * self.p50 / self.high < limit < self.fps * self.p50 / self.low


@dataclass(frozen=True, kw_only=True)
class PartReport:
    """Points of one class on the test split."""

    name: str
    dense: float | None
    compressed: float | None
    """None: it does not occur."""


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
    millijoules: float | None = None
    """That the device took for one inference; None: it does not tell."""


@dataclass(frozen=True, kw_only=True)
class Ratio:
    """How many times as fast, with the ends of its interval."""

    value: float | None
    low: float | None
    high: float | None
    verdict: Comparison | None = None
    """What the interval says; None: ask :func:`jetpress.benchmarks.ratio.verdict`."""
    state: Known = "known"
    """``unknown``: it is shown with its reasons, and nothing is claimed by it."""
    reasons: tuple[str, ...] = ()
    """Why it is unknown."""
    sessions: int = 1
    """Processes that it was measured in."""
    level: int | None = None
    """95: the interval covers what differs between sessions. None: it speaks of one session, and is called nothing."""

    @property
    def covers(self) -> str:
        """What its interval is called."""
        return f"{self.level} % interval" if self.level else "interval of one session alone"

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
    """None: not measured. Whether it may be claimed is its own ``state``."""


@dataclass(frozen=True, kw_only=True)
class Power:
    """What the board drew while the compressed engine ran."""

    watts: float
    millijoules: float
    """Of one sample."""
    idle_watts: float | None = None
    hottest_celsius: float | None = None


@dataclass(frozen=True, kw_only=True)
class Application:
    """What an engine gives from a video: frames decoded, prepared, computed, understood."""

    model: str
    side_by_side: bool
    """Its stages, each in a thread of its own; else one after the other."""
    frames_per_s: float
    latency_ms: float
    """Median from a frame to its result."""
    streams: int
    batch: int
    dropped: int
    stages_ms: Mapping[str, float]
    """Medians, of a batch."""


@dataclass(frozen=True, kw_only=True)
class PowerMode:
    """What the compressed engine, or the application where there is a video, gives and takes in a mode of the board."""

    name: str
    reason: str = ""
    """Why it was not measured."""
    frames_per_s: float | None = None
    watts: float | None = None
    """None: the board does not tell."""
    millijoules: float | None = None
    """Of one sample, or of a frame."""
    hottest_celsius: float | None = None


@dataclass(frozen=True, kw_only=True)
class PowerChoice:
    """Which mode to choose for the budget."""

    mode: str | None
    """None: no mode is within it, or none could be measured."""
    why: str
    watts: float | None = None
    """Of the budget."""


@dataclass(frozen=True, kw_only=True)
class Benchmark:
    """How both networks were measured, and whether it answers what was asked."""

    verdict: State
    """The worse one of both absolute latencies; the ratio has a state of its own."""
    reasons: tuple[str, ...]
    """Why it is not valid."""
    knobs: Mapping[str, JsonValue]
    """What was set while measuring, as the runner names it."""
    unanswered: tuple[str, ...] = ()
    """What was asked and is not known well enough to say: the ratio, or a limit of the budget inside the interval.
    Empty: all is answered, however noisy it was. Exit code 7 is for this alone."""
    sessions: int = 1
    """Processes that it was measured in."""
    machine: str = ""
    """How busy the machine was before anything was measured, in a line."""
    without_copies: Ratio | None = None
    """How many times as fast the compressed engine is in memory that CPU and GPU share; None: not asked for."""
    power: Power | None = None
    """None: the device does not say what it draws."""
    application: tuple[Application, ...] = ()
    """Empty: no video was asked for."""
    power_modes: tuple[PowerMode, ...] = ()
    """Empty: not asked for."""
    power_choice: PowerChoice | None = None
