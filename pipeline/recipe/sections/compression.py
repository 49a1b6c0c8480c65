"""How it is made smaller: ``[prune]``, ``[sparsify]``, ``[quantize]``."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Literal

from pydantic import Field

from jetpress.pipeline.recipe.sections.fields import (
    AtLeastOne,
    Count,
    Fraction,
    NotNegative,
    Positive,
    Section,
)
from jetpress.pipeline.recipe.sections.known import CriterionName

Pattern = Annotated[str, Field(pattern=r"^([1-9]\d?:[1-9]\d?|unstructured)$")]
EIGHT_BITS = ("int8", "fp8")
"""The precisions that a graph is quantized for."""


@dataclass(frozen=True)
class PruneConfig(Section):
    """Structured pruning: whole channels go, in rounds, each followed by fine-tuning and judged by the budget.

    How much goes is said by ``macs``, ``params``, ``latency``, ``latency_ms`` and ``fps``, which all hold where several
    are given, else by ``ratio``.
    """

    ratio: Fraction = 0.5
    """Share of the channels that is gone after the last round, where none of the next five is given; 0 prunes
    nothing."""
    macs: Fraction | None = None
    """Share of the multiply-adds that is gone after the last round."""
    params: Fraction | None = None
    """Share of the parameters that is gone after the last round."""
    latency: Fraction | None = None
    """Share of the dense engine's latency that is gone after the last round, measured on the device."""
    latency_ms: Positive | None = None
    """Latency of the engine after the last round in milliseconds, measured on the device."""
    fps: Positive | None = None
    """Samples per second of the engine after the last round, measured on the device."""
    rounds: AtLeastOne = 3
    """At most so many."""
    first_step: Annotated[float, Field(gt=0, le=1)] = 0.3
    """Of ``even``: the first of several rounds removes at most this share."""
    steps: Literal["whole", "even"] = "whole"
    """``whole``: first all that is to go, from the dense network. After a round that breaks the accuracy budget less
    goes, from the last good network, after one that keeps it more, until the goal. ``even``: equal steps, ended by the
    first that breaks the budget; at equal epochs they lose 1 to 2 points more."""
    criterion: CriterionName = "l2"
    """How much a channel matters within its layer: by its weights (``l1``, ``l2``, ``fpgm``, ``bn_scale``,
    ``lamp``), by the loss on training data (``taylor``, ``fisher``), by what it shows there (``activation``,
    ``apoz``), by what is lost where it is read once the others have taken over (``obs``: for who reconstructs), or at
    ``random``."""
    scope: Literal["uniform", "global", "isomorphic", "measured"] | None = None
    """How much each layer gives up. ``uniform``: the same share; ``global``: one ranking for the whole network;
    ``isomorphic``: one ranking for each kind of layer; ``measured``: what each layer loses in accuracy and saves in
    the goal's unit, both measured, decides. None: ``uniform`` for a ratio of the channels, else ``measured``."""
    blocks: bool = True
    """``measured`` only: whole residual blocks may go where that pays more than narrower layers."""
    reconstruct: bool = True
    """After a cut every layer is fitted to what it gave before, by least squares on four times
    ``data.calibration_images`` training images, without labels: where fine-tuning follows, it begins there."""
    sensitivity_images: AtLeastOne = 128
    """``measured`` only: training images that the loss of accuracy is measured on."""
    regularize_epochs: Count = 0
    """Epochs of sparse training before the first round (DepGraph; Fang et al., 2023): as ``finetune`` says, while the
    weights of all prunable channels are pulled towards zero, those of the smallest norm 16 times as hard as those of
    the largest. 0: off. With ``reconstruct``, as many epochs more of ``finetune`` were worth more; see
    docs/migration.md."""
    regularization: Positive = 0.01
    """How hard: as a weight decay of so much would do, at the largest norm of a group. 0.03 destroyed a
    ResNet-20 in two epochs."""
    channel_multiple: AtLeastOne | None = None
    """Surviving channel counts are multiples of this. None: what fills the target's hardware (8 in FP16 and 32 in INT8
    for tensor cores, 16 for a host's SIMD); with several targets what fills that of all of them, so that they share one
    pruned network."""
    ignore: tuple[str, ...] = ()
    """Parameters (shell patterns such as ``layer4.*``) whose layers keep all their channels."""
    limits: dict[str, Fraction] = field(default_factory=dict)
    """Parameters (shell patterns) -> largest share of their layers' channels that may go, for example
    ``{ "layer1.*" = 0.25 }``."""

    @property
    def needs_time(self) -> bool:
        """Whether the goal is a time, which only a device can tell."""
        return any(goal is not None for goal in (self.latency, self.latency_ms, self.fps))


@dataclass(frozen=True)
class SparsifyConfig(Section):
    """2:4 sparsity along input channels, for GPUs that have sparse tensor cores."""

    mode: Literal["auto", "off", "force"] = "auto"
    """``auto``: where the target can use it, in layers that may gain from it: outputs that sum at least 256 products
    (input channels times kernel positions), no grouped convolutions. ``force``: also where it cannot pay."""
    method: Literal["magnitude", "wanda", "sparsegpt"] = "sparsegpt"
    """What is kept. ``sparsegpt``: what costs the layer's output least, and the kept weights make up for the others;
    ``wanda``: the largest products of weight and input; ``magnitude``: the largest weights. The first two look at
    ``data.calibration_images`` training images (fewer where these are large); ResNet-50 takes one or two minutes."""
    permute: bool = True
    """Reorder channels first, so that more is kept. The network computes the same; takes seconds to minutes."""
    pattern: Pattern = "2:4"
    """How many of every 4 consecutive input channels are kept. TensorRT runs ``1:4`` as it runs ``2:4``. For studies
    any other ``N:M``, and ``unstructured`` (the smallest weights anywhere): no engine of these targets is faster for
    them, so they need ``mode = "force"``."""
    amount: Fraction = 0.5
    """``unstructured`` only: share of the weights that is zero."""
    min_channels: AtLeastOne = 64
    """Layers with fewer input channels stay dense: sparse kernels do not pay there."""
    ignore: tuple[str, ...] = ()
    """Parameters (shell patterns) that stay dense."""


@dataclass(frozen=True)
class QuantizeConfig(Section):
    """INT8 and FP8 (``build.precision``): explicit Q/DQ from calibration images. See docs/quantization.md."""

    method: Literal["auto", "max", "percentile", "entropy", "mse", "dynamic"] = "auto"
    """Where the range of a tensor ends. ``max``: at the largest value seen; ``percentile``: below it; ``entropy``:
    least divergence (INT8 only); ``mse``: least squared error. ``auto``: all are tried, and the one whose outputs are
    nearest to FP32 is taken. ``dynamic`` (host only): LSTM and linear layers alone, and ranges are found while the
    engine runs; nothing is calibrated."""
    percentile: Annotated[float, Field(gt=50, le=100)] = 99.99
    """``percentile`` only: share of the values, in percent, that lies within the range."""
    images: AtLeastOne = 128
    """Training images that ranges are found on, not augmented."""
    seed: Count = 0
    """Which training images."""
    bias_correction: bool = True
    """Biases take back what rounding the weights shifts in the mean of a layer's outputs (Nagel et al., 2019)."""
    keep: tuple[str, ...] = ()
    """Layers that stay in FP16 or FP32: shell patterns of their weights (``conv1.*``, ``fc.*``) or ONNX nodes."""
    mixed: bool = True
    """Where all layers in eight bits miss ``accuracy_drop``, or the scores' cosine of 0.99, leave the most sensitive
    ones in FP16 or FP32, as few as will do; both are timed."""
    accuracy_drop: NotNegative | None = None
    """Points of validation accuracy that may be lost against the dense network. None: ``budget.accuracy_drop``."""
    judged_images: AtLeastOne = 1000
    """Validation images, at most, that each try is judged on."""
    sensitivity_images: AtLeastOne = 32
    """Training images that methods and the sensitivity of layers are measured on; others than those of ``images``."""
    qat: Literal["auto", "off", "always"] = "auto"
    """Quantization-aware training (``[qat]``). ``auto``: where all else misses ``accuracy_drop``, or the scores' cosine
    of 0.99 that equivalence asks for, or reaches them only with more than a quarter of the weights left out as too
    sensitive. What is better is kept."""
    rest: Literal["fp16", "fp32"] | None = None
    """What is not INT8 computes so in the file; ``fp16`` needs opset 19. None: ``fp16`` where a builder has no flag for
    it (TensorRT-RTX, TensorRT 11)."""
    dialect: Literal["tensorrt8", "tensorrt", "tensorrt_fp8", "onnxruntime"] | None = None
    """How Q/DQ are written. None: as the target's runtime reads them."""
