"""What was done to the network: channels, rounds, training, weights, 2:4."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from jetpress.benchmarks.report.record.networks import Ratio


@dataclass(frozen=True, kw_only=True)
class Layer:
    """Channels of a pruned layer."""

    name: str
    before: int
    after: int


@dataclass(frozen=True, kw_only=True)
class Unpruned:
    """What pruning left whole."""

    fixed: Mapping[str, str]
    """Layer -> what keeps it."""
    as_graph: str | None
    """Why the network goes on as its traced graph; None where it does not."""


@dataclass(frozen=True, kw_only=True)
class Try:
    """Widths of a round that aims at a time, in ms."""

    estimate_ms: float
    """Sum of the layers' times."""
    measured_ms: float
    """Of the whole network."""


@dataclass(frozen=True, kw_only=True)
class Time:
    """How a round came to its time, in ms."""

    estimate_ms: float
    measured_ms: float
    limit_ms: float
    """What the recipe asks of this round."""
    dense_ms: float
    met: bool
    correction: float
    """Measured over estimated."""
    tries: tuple[Try, ...]


@dataclass(frozen=True, kw_only=True)
class Check:
    """The cut network held against the dense one without those channels, on random weights."""

    error: float
    """Largest difference over the largest output."""
    precision: str


@dataclass(frozen=True, kw_only=True)
class Round:
    """One round of pruning, kept or not."""

    round: int
    ratio: float | None
    """Share of the original network that is gone after it."""
    blocks: tuple[str, ...]
    """Removed whole."""
    time: Time | None
    """None: its goal was no time."""
    pruned: bool | None
    """Whether anything was removed."""
    check: Check | None
    kept: bool
    why: str
    """Why it was not kept."""
    removed_channels: int | None
    after_pruning: float | None
    """Accuracy on the validation split in percent, as are the next two: at once,"""
    after_recalibration: float | None
    """with new statistics of BatchNorm,"""
    validation: float | None
    """and fine-tuned."""
    macs: int | None = None
    """Of the network after it."""
    parameters: int | None = None


@dataclass(frozen=True, kw_only=True)
class RoundTime:
    """What the network of a round takes, in ms; the ends are those of its share of the dense network's time."""

    round: int
    ms: float
    low: float | None
    high: float | None
    """None: too few turns for an interval."""


@dataclass(frozen=True, kw_only=True)
class RoundTimes:
    """The networks of the rounds, timed beside the dense one in one short session."""

    dense_ms: float | None = None
    rounds: tuple[RoundTime, ...] = ()
    turns: int = 0
    """That each took."""
    untimed: str = ""
    """Why there are no times; empty where there are."""


@dataclass(frozen=True, kw_only=True)
class Epoch:
    """One epoch of training."""

    epoch: int
    """From 1."""
    loss: float | None
    """Mean over the training images."""
    learning_rate: float | None
    validation: float | None
    """Accuracy in percent."""
    seconds: float | None = None


@dataclass(frozen=True, kw_only=True)
class Curve:
    """What one training came by."""

    stage: str
    points: tuple[Epoch, ...]


@dataclass(frozen=True, kw_only=True)
class Histogram:
    """A layer's weights before and after, counted between common edges; exact zeros apart."""

    name: str
    edges: tuple[float, ...]
    """One more than there are counts."""
    dense: tuple[int, ...]
    compressed: tuple[int, ...]
    """All zero: the layer is gone."""
    dense_zeros: int
    compressed_zeros: int


@dataclass(frozen=True, kw_only=True)
class SparseLayer:
    """A layer, and whether it is 2:4. What only a sparse one has is None elsewhere."""

    name: str
    sparse: bool
    reason: str
    """Why it stays dense."""
    kept: float | None = None
    """Share of its magnitude that the mask keeps,"""
    kept_unpermuted: float | None = None
    """and that the mask of unpermuted channels would keep."""
    efficacy: float | None = None
    """Share of the difference to unstructured zeros that permuting won back."""
    no_gain: str | None = None
    """Why TensorRT will hardly run it faster; empty where it may."""
    not_permuted: str | None = None
    """Why its channels keep their order; empty where they do not."""
    output_error: float | None = None
    """Relative; None where the mask is chosen without data."""


@dataclass(frozen=True, kw_only=True)
class SparseEngine:
    """What TensorRT made of the 2:4 layers."""

    found: int | None
    """Layers fit for sparse kernels. None: it did not say."""
    chosen: int | None
    """Layers that run with them."""
    chosen_layers: tuple[str, ...]
    speed: Ratio | None
    """Against an engine without sparse kernels, measured in one session."""
    why: str
    """Why there is none."""


@dataclass(frozen=True, kw_only=True)
class SparsityReport:
    """2:4, or why there is none."""

    skipped: str | None = None
    """Why; everything else is None then."""
    method: str | None = None
    pattern: str | None = None
    layers: tuple[SparseLayer, ...] = ()
    eligible: int | None = None
    """Layers that were masked."""
    masked: int | None = None
    """The same, where zeros may be anywhere."""
    kept_magnitude: float | None = None
    """Share of all layers' magnitude,"""
    kept_unpermuted: float | None = None
    """and without permutation."""
    permutation_error: float | None = None
    """Largest difference over the largest output that permuting made."""
    engine: SparseEngine | None = None
