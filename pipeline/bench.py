"""Where networks are timed while their widths are chosen. No torch here: a cached run looks these up."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pipeline.bundle import BundleConfig
from pipeline.measure import Place
from pipeline.sections import ExportConfig, PruneConfig


@dataclass(frozen=True)
class Bench:
    """The device, and the engine that is built there."""

    place: Place
    packing: BundleConfig
    export: ExportConfig


@dataclass(frozen=True)
class TimingsConfig:
    """At which widths layers are timed."""

    bench: Bench
    multiple: int
    ignore: tuple[str, ...]
    limits: Mapping[str, float]


@dataclass(frozen=True)
class TimedConfig:
    """Pruning to a latency."""

    prune: PruneConfig
    bench: Bench
