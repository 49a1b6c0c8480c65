"""What each layer costs and takes, and what the target could do at best."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class LayerCost:
    """One layer of one network, for one run of a whole batch."""

    macs: int
    """Multiply-accumulates."""
    bytes: int
    """Moved at least: what it reads, its weights and what it writes, each once, in the engine's precision."""
    ms: float | None
    """In a profiled run; None where it was not timed, or runs as part of another layer."""


@dataclass(frozen=True, kw_only=True)
class LayerPair:
    """A layer of both networks."""

    name: str
    dense: LayerCost | None
    """None: the network has no such layer."""
    compressed: LayerCost | None


@dataclass(frozen=True, kw_only=True)
class Profiled:
    """One network under the profiler, in ms of one run."""

    whole: float
    """Of the network without the profiler, which slows it down."""
    rest: float
    """Of what belongs to no layer with weights."""


@dataclass(frozen=True, kw_only=True)
class Roof:
    """What the target's GPU does at best, by what its maker says."""

    operations: float
    """Dense operations in a second, a multiply-accumulate being two."""
    bandwidth: float
    """Bytes in a second."""
    precision: str
    source: str
    """Where the numbers are from, and what was derived."""


@dataclass(frozen=True, kw_only=True)
class LayerReport:
    """Both networks, layer by layer."""

    layers: tuple[LayerPair, ...]
    """With weights, in the order of the network."""
    dense: Profiled | None
    """None: it was not profiled."""
    compressed: Profiled | None
    untimed: str
    """Why they were not; empty where they were."""
    roof: Roof | None
    """None: not known for this target in this precision."""
