"""Of what is made or measured on a device: bundle, engines, samples inferred, latencies."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from jetpress.pipeline.store.facts.onnx_file import Score


@dataclass(frozen=True)
class TimingsFacts:
    """How each layer's time depends on its widths."""

    latency_ms: float
    """Of the network as it is."""
    error: float
    """Median relative error of the sums of the layers' estimates."""
    fit: Mapping[str, tuple[float, float, float, float]]
    """Layer -> (a, b, c, d) in ms, and ms for each multiply-add, activation and weight."""
    networks: tuple[tuple[float, float], ...]
    """Measured and estimated ms of each network that was timed."""
    headline: str


@dataclass(frozen=True)
class BundleFacts:
    """What is copied to a device."""

    target: str
    opset: int
    samples: int
    """Test samples that travel with it."""


@dataclass(frozen=True)
class SparseTactics:
    """2:4 layers, as TensorRT counts and names them."""

    eligible: int
    eligible_layers: tuple[str, ...]
    """Empty where it gives no names."""
    chosen: int
    """Sparse kernels were taken for so many."""
    chosen_layers: tuple[str, ...]


@dataclass(frozen=True)
class Findings:
    """What the builder's log tells (``deploy/runner/tensorrt/findings.py``)."""

    skipped_tactics: int
    skipped_for_memory: int
    """Of these, because memory was short."""
    int64_casts: int
    """Lines about INT64 that became INT32."""
    dla_fallback: int
    """Lines about layers that run on the GPU instead of the DLA."""
    lines: tuple[str, ...]
    """A few of each kind."""
    sparsity: SparseTactics | None = None
    """None where the log says nothing of it."""


@dataclass(frozen=True)
class BuiltEngine:
    """One engine, by what its stamp says."""

    size: int
    """Bytes."""
    build_seconds: float
    flags: tuple[str, ...]
    """Of the builder."""
    sparse: bool
    """Whether sparse kernels were allowed."""
    findings: Findings | None = None
    """None where the builder writes no log."""
    warnings: tuple[str, ...] = ()
    """The first lines of its log."""
    sparse_layers: int | None = None
    """Layers that run with sparse kernels, by the engine's own account; None where it gives none."""


@dataclass(frozen=True)
class EngineFacts:
    """The engines of a bundle. The runner's whole stamp is ``engine.json`` among the files."""

    backend: str
    version: str
    models: Mapping[str, BuiltEngine]
    headline: str

    @property
    def bytes(self) -> dict[str, int]:
        """Size of each engine."""
        return {name: one.size for name, one in self.models.items()}


@dataclass(frozen=True)
class InferenceFacts:
    """What the engines made of the bundle's samples."""

    points: Mapping[str, float | None]
    """Engine -> percent of the samples that it names rightly; None where they have no class."""
    same: Mapping[str, tuple[Score, ...]]
    """Engine -> how far each output is from ONNX Runtime's."""
    headline: str
    untimed: str = ""
    """Why there is no ``profile.json``, which has what each layer takes; empty where there is."""


@dataclass(frozen=True)
class RoundTime:
    """What the network of one round takes, in ms; the ends are those of its share of the dense network's time."""

    ms: float
    low: float | None = None
    high: float | None = None
    """None: too few turns for an interval."""


@dataclass(frozen=True)
class RoundTimesFacts:
    """The networks of all rounds that were trained, timed beside the dense one in one session."""

    headline: str
    dense_ms: float | None = None
    rounds: tuple[RoundTime, ...] = ()
    turns: int = 0
    untimed: str = ""
    """Why there are no times; empty where there are."""


@dataclass(frozen=True)
class MeasurementFacts:
    """A session in which the engines were timed; the latencies are in ``bench.json``."""

    clock_offset_ms: tuple[float, ...]
    """The device's clock minus ours, and how far off that may be; empty where the device has no such clock."""
    headline: str
