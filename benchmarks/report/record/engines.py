"""What became of the files: eight bits, how far two runtimes differ, what the builder of the engines said."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from jetpress.benchmarks.report.record.networks import Ratio, State


@dataclass(frozen=True, kw_only=True)
class QuantizedLayer:
    """A layer, and whether it is in eight bits."""

    name: str
    weight: str | None
    """Name of its weights."""
    weights: int
    """How many."""
    error: float | None
    """Of the outputs when this layer alone is in eight bits, relative. None: not tried."""
    int8: bool
    why: str
    """Why it is not."""


@dataclass(frozen=True, kw_only=True)
class QuantizedPoints:
    """Accuracy on the same validation images, in percent."""

    fp32: float | None
    int8: float | None
    least: float | None
    """What the budget asks for."""
    images: int


@dataclass(frozen=True, kw_only=True)
class Tried:
    """Layers left out of eight bits, and what accuracy is then."""

    without: tuple[str, ...]
    points: float | None


@dataclass(frozen=True, kw_only=True)
class Tensor:
    """What one tensor held during calibration."""

    name: str
    low: float
    high: float
    range: tuple[float, float]
    """What of it is kept; the rest is clipped."""
    counts: tuple[int, ...]
    """From minus to plus the larger of ``-low`` and ``high``; empty where none were kept."""


@dataclass(frozen=True, kw_only=True)
class MixedLatency:
    """What the layers in higher precision cost: medians in ms of engines measured in one session."""

    mixed_ms: float
    throughout_ms: float
    """With all layers in eight bits."""
    times_as_fast: Ratio
    """The mixed engine against the other one."""
    verdicts: tuple[State, ...]


@dataclass(frozen=True, kw_only=True)
class QuantizationReport:
    """INT8 or FP8: where, from which ranges, and what it costs."""

    dialect: str | None
    """How the runtime reads Q/DQ."""
    numbers: str
    """``INT8`` or ``FP8``."""
    method: str
    """Of calibration; the one with the least error."""
    errors: Mapping[str, float]
    """Method -> error of the outputs, relative to FP32's."""
    error: float | None
    """Of what was chosen, on other training images."""
    cosine: float | None
    """Of the scores to FP32's, mean over images,"""
    least_cosine: float | None
    """and what equivalence asks for."""
    bias_correction: bool
    images: int
    """Training images that the ranges are from."""
    warnings: tuple[str, ...]
    layers: tuple[QuantizedLayer, ...]
    validation: QuantizedPoints | None
    """None: nothing says what is right."""
    met: bool
    """Whether accuracy and cosine are what is asked for."""
    stored: bool
    """Whether the file holds the weights in eight bits."""
    tries: tuple[Tried, ...]
    tensors: tuple[Tensor, ...]
    """A dozen of them, in the order of the network."""
    trained: str | None
    """Why it was trained with rounding, and whether that was kept. None: it was not tried."""
    mixed_latency: MixedLatency | None
    """None: no layer was left out, or nothing was measured."""


@dataclass(frozen=True, kw_only=True)
class EquivalenceRow:
    """How far one output of two runtimes differs on the same inputs."""

    pair: str
    network: str
    output: str
    inputs: int
    """How many."""
    max_abs: float | None
    max_rel: float | None
    """Over the largest absolute value of the output."""
    cosine: float | None
    """Of the input that differs most; in eight bits the mean."""
    top1_agreement: float | None
    """Share of positions with the same largest entry."""
    met: bool | None


@dataclass(frozen=True, kw_only=True)
class SparsityLines:
    """What TensorRT's log says about 2:4."""

    eligible: int
    eligible_layers: tuple[str, ...]
    """Their names, where it gives them (TensorRT 8)."""
    chosen: int
    chosen_layers: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Findings:
    """What in the log of a builder its user must know: counts, and the lines themselves."""

    sparsity: SparsityLines | None
    """None: it said nothing about it."""
    skipped_tactics: int
    skipped_for_memory: int
    int64_casts: int
    dla_fallback: int
    """Layers that left the DLA for the GPU."""
    lines: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class BuilderLog:
    """How one engine was built."""

    engine: str
    seconds: float | None
    flags: tuple[str, ...]
    findings: Findings | None
    """None: this builder writes no log."""
    warnings: tuple[str, ...]
    bytes: int | None = None
    """Of the engine's file."""
