"""Of a network: its size, its accuracy, and what each stage did to it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class DataFacts:
    """The data that a network was checked against."""

    source: str
    """As the recipe names it."""
    train: int
    """Samples of the split."""
    validation: int
    test: int
    origin: Mapping[str, str]
    """Split -> where its samples come from, in words."""
    classes: tuple[str, ...]
    """Names, by number; empty where the source does not say."""
    corrupt: tuple[str, ...]
    """Files that could not be read and are left out."""


@dataclass(frozen=True)
class Epoch:
    """One epoch of a training. No times: equal runs give equal artifacts."""

    epoch: int
    """Counted from 1."""
    loss: float
    """Mean over the samples."""
    learning_rate: float
    """Of its last step."""
    validation: float
    """Points on the validation split."""


@dataclass(frozen=True)
class Training:
    """How the weights were learnt last."""

    best_epoch: int
    """Whose weights these are, counted from 1; 0: no epoch was better than the weights it started from."""
    curve: tuple[Epoch, ...]
    precision: str
    """What was computed in."""
    stopped: str
    """Why it ended before its last epoch; empty: it did not."""


@dataclass(frozen=True)
class Width:
    """Channels of a layer that lost some."""

    name: str
    """Of its weight."""
    before: int
    """Channels in this step."""
    after: int
    """Channels that are left."""


@dataclass(frozen=True)
class Check:
    """How far a cut network is from the dense one without those channels."""

    error: float
    """Largest difference, relative to the largest value of its output."""
    precision: str
    """What was computed in; operators that exist in single precision only are named."""


@dataclass(frozen=True)
class Try:
    """One choice of widths that was timed."""

    estimate_ms: float
    """By the sum of the layers."""
    measured_ms: float
    """Of the whole network."""


@dataclass(frozen=True)
class PrunedTime:
    """What pruning to a latency came to."""

    limit_ms: float
    """Asked for."""
    dense_ms: float
    """Of the network before anything was pruned."""
    estimate_ms: float
    """Of the widths chosen, by the sum of the layers."""
    measured_ms: float
    """Of the network that was chosen."""
    met: bool
    """Whether that is within the limit."""
    correction: float
    """Measured over estimated: the next round begins with it."""
    tries: tuple[Try, ...]
    """All that were timed, in order."""


@dataclass(frozen=True)
class Pruning:
    """What the last round of pruning took away, and what it could not."""

    layers: tuple[Width, ...] = ()
    """Layers that lost channels."""
    blocks: tuple[str, ...] = ()
    """Bypassed residual blocks."""
    fixed: Mapping[str, str] = field(default_factory=dict)
    """What could not be pruned -> the operator that fixed it."""
    left: Mapping[str, str] = field(default_factory=dict)
    """What could be, and lost nothing -> why."""
    refused: Mapping[str, str] = field(default_factory=dict)
    """Groups whose cut would have changed the function, in inference or in training -> how."""
    as_graph: bool = False
    """The network goes on as its traced graph, because its own code cannot take the widths."""
    why: str = ""
    """Why it does."""
    check: Check | None = None
    """None where no channel was cut."""
    whole: Mapping[str, float] = field(default_factory=dict)
    """Costs of the original network, by what is counted: ``ratio`` (channels), ``macs``, ``params``."""
    gone: Mapping[str, float] = field(default_factory=dict)
    """Share of each of these that is gone since then."""
    asked: Mapping[str, float] = field(default_factory=dict)
    """Share that this round was to take, by the same names; rounding to ``multiple`` may take more."""
    multiple: int = 1
    """Widths are multiples of it, where a layer is wide enough."""
    time: PrunedTime | None = None
    """None where the goal is no latency."""

    @property
    def removed_channels(self) -> int:
        """Of all layers together."""
        return sum(one.before - one.after for one in self.layers)

    @property
    def headline(self) -> str:
        """What was removed, and which share of the original that is, beside what was asked for."""
        kinds = {"ratio": "channels", "macs": "MACs", "params": "parameters"}
        gone = [f"{100 * share:.0f} % of the {kinds[kind]}" for kind, share in self.gone.items()]
        asked = [
            f"{100 * share:.0f} % of the {kinds[kind]}" for kind, share in self.asked.items() if kind in kinds
        ]
        told = f"{self.removed_channels} channels removed"
        if gone:
            told += f" ({', '.join(gone)} gone"
            told += f"; asked: {', '.join(asked)}, in multiples of {self.multiple})" if asked else ")"
        return told


@dataclass(frozen=True)
class Recovery:
    """Points on the validation split before fine-tuning trained anything."""

    after_pruning: float
    after_recalibration: float
    """With the statistics of BatchNorm measured anew."""


@dataclass(frozen=True)
class LayerMask:
    """What the N:M mask of a layer keeps, as shares (0 to 1) of its magnitude."""

    kept: float
    """With its channels in the order that was chosen."""
    kept_unpermuted: float
    """Had no channel been moved."""
    no_gain: str
    """Why TensorRT will hardly run the layer faster; empty where it may."""
    not_permuted: str
    """Why its channels were not moved; empty where they were."""
    efficacy: float | None = None
    """Share of what permuting could win back at best that it did win back; None where there was nothing to win."""
    output_error: float | None = None
    """Relative error of the layer's output on calibration data; None where masks go by magnitude alone."""


@dataclass(frozen=True)
class SparseLayer:
    """A weight, with its mask or why it stays dense."""

    name: str
    """Of the parameter."""
    reason: str
    """Empty where it is masked."""
    mask: LayerMask | None = None
    """None: dense, or without a pattern that an engine could use."""

    @property
    def sparse(self) -> bool:
        """Whether it follows the pattern."""
        return self.mask is not None


@dataclass(frozen=True)
class Sparsity:
    """The masks that were chosen."""

    method: str
    """``magnitude``, ``wanda`` or ``sparsegpt``."""
    pattern: str
    """``2:4`` and the like, or ``unstructured``."""
    layers: tuple[SparseLayer, ...]
    """Every weight, in the order of the network."""
    eligible: int
    """How many follow the pattern."""
    kept_magnitude: float | None = None
    """Share of the magnitude of all masked layers; None where there is none."""
    kept_unpermuted: float | None = None
    """The same had nothing been moved."""
    permutation_error: float | None = None
    """Largest relative difference of the outputs that moving channels made."""
    masked: int | None = None
    """Layers with unstructured zeros."""

    @property
    def names(self) -> tuple[str, ...]:
        """Weights that follow the pattern."""
        return tuple(one.name for one in self.layers if one.sparse)


@dataclass(frozen=True)
class Rounding:
    """What quantization-aware training rounded."""

    post_training: float
    """Points with rounded weights and activations before training, on the validation split."""
    learning_rate: float
    """Of the first step."""
    weights: int
    """How many tensors are rounded."""
    activations: int
    not_rounded: tuple[str, ...]
    """Tensors of the graph that PyTorch has no name for."""


@dataclass(frozen=True)
class CheckpointFacts:
    """Of a network: what it is now, and a record for each stage that it went through."""

    parameters: int
    macs: int
    """Multiply-accumulates of one sample."""
    inputs: Mapping[str, str] = field(default_factory=dict)
    """SHA-256 of what decides the result and is not in the recipe, by recipe key."""
    data: DataFacts | None = None
    measured: str = "accuracy"
    """What the points are called, by what the network is for."""
    unit: str = "%"
    """Of the points; empty: numbers."""
    mean: bool = True
    """The points are a mean of points of each sample, 0 to 100; otherwise a figure over the whole split."""
    validation: float | None = None
    """Points on the validation split; with rounded weights and activations after quantization-aware training.
    None where they were not measured since the network was cut."""
    dense_validation: float | None = None
    """Points before anything was pruned; None until then."""
    training: Training | None = None
    pruned: bool | None = None
    """Whether the last stage that takes something away (channels, blocks, weights) did so; None: there was none."""
    pruning: Pruning | None = None
    recovery: Recovery | None = None
    sparsity: Sparsity | None = None
    masked: tuple[str, ...] = ()
    """Weights whose masks were folded into them."""
    rounding: Rounding | None = None

    @property
    def dense(self) -> float | None:
        """Points before anything was pruned, where they are known."""
        return self.validation if self.dense_validation is None else self.dense_validation


@dataclass(frozen=True)
class SensitivityFacts:
    """How far the outputs move when something is taken away: relative squared error."""

    groups: Mapping[str, tuple[tuple[int, float], ...]]
    """Group of channels -> (units kept, distance), from all units down."""
    blocks: Mapping[str, float]
    """Residual block -> distance without it."""
    images: int
    """That it was measured on."""


@dataclass(frozen=True)
class Points:
    """On the two splits that are judged."""

    validation: float
    test: float


@dataclass(frozen=True)
class Change:
    """Points that the compressed network gains on the dense one, on the same images, and their 95 % interval."""

    value: float
    low: float | None = None
    """None: what the figure is made of is not known."""
    high: float | None = None


@dataclass(frozen=True)
class PartPoints:
    """Points of each class, by its name."""

    dense: Mapping[str, float] = field(default_factory=dict, hash=False)
    compressed: Mapping[str, float] = field(default_factory=dict, hash=False)


PREDICTIONS, DISAGREEMENTS = "predictions.npy", "disagreements.json"
"""Files of an assessment, where each sample has one class: int32 ``[3, samples]`` of the test split (the real class,
dense, compressed), and a dozen samples that the two networks name differently, with their pictures."""
SAMPLES = "samples.json"
"""Another one, where the task draws what networks find: numbers of a few test samples, and a picture of each."""


@dataclass(frozen=True)
class AssessmentFacts:
    """The final figures."""

    dense: Points
    compressed: Points
    validation_images: int
    """Samples of the split."""
    test_images: int
    change: Change
    """On the test split."""
    guessing: float | None = None
    """Points on the test split of whoever has learnt nothing; None where that means nothing."""
    mean: bool = True
    """The points are a mean of points of each sample, 0 to 100; otherwise a figure over the whole split."""
    parts: PartPoints = PartPoints()
    """Of each class on the test split, where the figure has parts."""
