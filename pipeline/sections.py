"""Every knob of every stage: one frozen dataclass for each table of a recipe.

The text under a field is its reference (``docs/recipe.md`` and ``docs/recipe.schema.json`` are written from
here). ``None`` and ``"auto"`` mean that the target decides: see :mod:`pipeline.recipe`. No torch here.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar, Literal

from pydantic import ConfigDict, Field

Fraction = Annotated[float, Field(ge=0, lt=1)]
Positive = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]
Count = Annotated[int, Field(ge=0)]
AtLeastOne = Annotated[int, Field(ge=1)]


class Section:
    """Strict: an unknown key is an error, and every field's text becomes its reference."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(
        extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False
    )


@dataclass(frozen=True)
class InputConfig(Section):
    """One input of the network, without the batch dimension."""

    shape: tuple[AtLeastOne, ...]
    """Shape of one sample, for example ``[3, 224, 224]``."""
    name: str = "input"
    """Name of the input in the ONNX file."""
    dtype: Literal["float32", "int32", "int64", "uint8"] = "float32"
    """Element type."""


@dataclass(frozen=True)
class ModelConfig(Section):
    """Which network."""

    builder: str = "torchvision:resnet18"
    """``torchvision:NAME``, ``timm:NAME`` or ``path/to/file.py:function`` (returns an ``nn.Module``; the path
    is relative to the recipe)."""
    arguments: dict[str, Any] = field(default_factory=dict)
    """Keyword arguments of the builder, for example ``{ num_classes = 10 }``."""
    weights: str | None = None
    """Trained weights: a ``.safetensors`` file or a state_dict that loads with ``weights_only=True``. The usual
    wrappings (``state_dict``, ``model``, ``module.``) are understood."""
    inputs: tuple[InputConfig, ...] = ()
    """The network's inputs, in the order of ``forward``. Empty: one input with the shape of the data."""
    outputs: tuple[str, ...] = ()
    """Names of the outputs in the ONNX file, in their flattened order. Empty: ``output``, ``output_1``, ..."""


@dataclass(frozen=True)
class DataConfig(Section):
    """Which data, and how an image becomes a tensor."""

    source: str = "digits"
    """``digits`` (ships with scikit-learn), ``cifar10``, ``cifar100``, ``imagefolder``, or
    ``path/to/file.py:function`` returning ``{"train": dataset, "validation": dataset, "test": dataset}``."""
    root: str | None = None
    """Folder of the data: torchvision's layout for CIFAR; ``train/CLASS/*.jpg`` and ``val/CLASS/*.jpg`` (and
    ``test/``, if there is one; without it ``val/`` is the test split and validation images are cut off
    ``train/``) for ``imagefolder``. Relative to the recipe."""
    download: bool = False
    """Let torchvision download CIFAR into ``root``."""
    size: AtLeastOne = 32
    """Height and width in pixels that the network sees."""
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    """Per channel, subtracted after scaling to 0..1 (default: ImageNet's)."""
    std: tuple[Positive, Positive, Positive] = (0.229, 0.224, 0.225)
    """Per channel, divided by (default: ImageNet's)."""
    augment: Literal["none", "shift", "flip-crop", "resized-crop", "randaugment"] = "none"
    """Training only. ``shift``: up to 1/8 of the size; ``flip-crop``: CIFAR's; ``resized-crop``: ImageNet's;
    ``randaugment``: flip-crop and two random operations."""
    crop: Annotated[float, Field(gt=0, le=1)] = 0.875
    """``imagefolder``: share of the short side that the centre crop keeps where no random crop is taken."""
    batch_size: AtLeastOne = 64
    """Samples in a training step."""
    workers: Count = 0
    """Processes that decode images."""
    validation_fraction: Annotated[float, Field(gt=0, lt=0.9)] = 0.15
    """Share of the training data kept for validation where the data has no split of its own."""
    test_fraction: Annotated[float, Field(gt=0, lt=0.9)] = 0.15
    """Share kept for the final figure where the data has no test split of its own."""
    calibration_images: AtLeastOne = 64
    """Training images that equivalence and calibration look at."""
    sample_images: AtLeastOne = 256
    """Test images that travel with the bundle, so that the engine's own accuracy is measured."""
    max_corrupt: Count = 0
    """How many unreadable images are left out before the run ends with an error naming them."""
    loss: str = "cross_entropy"
    """``cross_entropy`` of the first output, or ``path/to/file.py:function(outputs, target)``, a scalar tensor."""
    metric: str = "top1"
    """``top1`` of the first output in percent, or ``path/to/file.py:function(outputs, target)`` giving the points
    of each sample (a tensor of batch length, 0 to 100, higher is better)."""


@dataclass(frozen=True)
class TrainConfig(Section):
    """Training of the dense baseline. ``epochs = 0`` takes ``model.weights`` as the baseline."""

    epochs: Count = 8
    """Passes over the training data."""
    optimizer: Literal["sgd", "adamw"] = "sgd"
    """SGD has Nesterov momentum."""
    learning_rate: Positive = 0.05
    """Peak learning rate."""
    momentum: Fraction = 0.9
    """Of SGD."""
    weight_decay: NotNegative = 5e-4
    """Not applied to biases and normalisation layers."""
    schedule: Literal["cosine", "step", "constant"] = "cosine"
    """``step``: a tenth after one half and after three quarters."""
    warmup_epochs: NotNegative = 1.0
    """Linear warm-up, for at most a quarter of the training."""
    label_smoothing: Fraction = 0.0
    """Of the cross-entropy."""
    clip_norm: NotNegative = 0.0
    """Largest gradient norm; 0 leaves gradients as they are."""


@dataclass(frozen=True)
class PruneConfig(Section):
    """Structured pruning: whole channels go, in rounds, each followed by fine-tuning."""

    ratio: Fraction = 0.5
    """Share of every layer's channels that is gone after the last round; 0 prunes nothing."""
    rounds: AtLeastOne = 3
    """The ratio is reached in this many steps."""
    first_step: Annotated[float, Field(gt=0, le=1)] = 0.3
    """The first of several rounds removes at most this share of the channels."""
    criterion: Literal["l1", "l2", "fpgm", "bn_scale", "taylor", "random"] = "l2"
    """How much a channel matters."""
    scope: Literal["uniform", "global"] = "uniform"
    """``uniform``: every layer gives up the same share; ``global``: one ranking for the whole network."""
    channel_multiple: AtLeastOne | None = None
    """Surviving channel counts are multiples of this. None: what fills the target's hardware."""
    ignore: tuple[str, ...] = ()
    """Parameters (shell patterns such as ``layer4.*``) whose layers keep all their channels."""


@dataclass(frozen=True)
class SparsifyConfig(Section):
    """2:4 sparsity along input channels, for GPUs that have sparse tensor cores."""

    mode: Literal["auto", "off", "force"] = "auto"
    """``auto``: where the target can use it; ``force``: also where it cannot pay."""
    method: Literal["magnitude", "wanda", "sparsegpt"] = "magnitude"
    """What is kept. ``magnitude``: the largest weights; ``wanda``: the largest products of weight and input;
    ``sparsegpt``: what costs the layer's output least, and the kept weights make up for the others. The latter
    two look at ``data.calibration_images`` training images; they matter most where little or no training
    follows."""
    permute: bool = True
    """Reorder channels first, so that more is kept. The network computes the same; takes seconds to minutes."""
    pattern: Literal["2:4", "1:4"] = "2:4"
    """How many of every 4 consecutive input channels are kept. TensorRT runs 1:4 as it runs 2:4."""
    min_channels: AtLeastOne = 64
    """Layers with fewer input channels stay dense: sparse kernels do not pay there."""
    ignore: tuple[str, ...] = ()
    """Parameters (shell patterns) that stay dense."""


@dataclass(frozen=True)
class FinetuneConfig(Section):
    """Recovery after each round of pruning and after 2:4 masking."""

    epochs: Count = 4
    """Passes over the training data after each round."""
    learning_rate: Positive | None = None
    """None: a fifth of ``train.learning_rate``."""
    optimizer: Literal["sgd", "adamw"] | None = None
    """None: that of ``train``."""
    momentum: Fraction | None = None
    """None: that of ``train``."""
    weight_decay: NotNegative | None = None
    """None: that of ``train``."""
    schedule: Literal["cosine", "step", "constant"] = "cosine"
    """As in ``train``."""
    warmup_epochs: NotNegative = 0.25
    """Linear warm-up."""
    label_smoothing: Fraction | None = None
    """None: that of ``train``."""
    clip_norm: NotNegative | None = None
    """None: that of ``train``."""
    distill: Annotated[float, Field(ge=0, le=1)] = 0.5
    """Weight of the dense network's softened outputs against the labels; 0 switches distillation off."""
    temperature: Positive = 4.0
    """Of the softened outputs (Hinton et al., 2015)."""


@dataclass(frozen=True)
class ExportConfig(Section):
    """The ONNX file."""

    opset: Annotated[int, Field(ge=13, le=23)] | None = None
    """None: the newest that the target's parser takes."""
    batch: AtLeastOne = 1
    """Batch size of the engine."""
    dynamic_batch: bool = False
    """Leave the batch dimension open, from 1 to ``max_batch``."""
    max_batch: AtLeastOne = 8
    """Largest batch of a dynamic engine."""
    ir_version: AtLeastOne | None = None
    """None: what the target's parser knows."""
    lower: tuple[str, ...] | None = None
    """Operators written as primitives although the opset has them. None: those the target's parser lacks."""


@dataclass(frozen=True)
class EquivalenceConfig(Section):
    """How far PyTorch and ONNX Runtime may differ."""

    max_relative_error: Positive = 1e-3
    """Largest absolute difference over the largest absolute value of the output (FP32)."""
    edge_cases: bool = True
    """Also zeros, ones, extremes and one-hot inputs."""


@dataclass(frozen=True)
class BuildConfig(Section):
    """The engine."""

    precision: Literal["auto", "fp32", "fp16"] = "auto"
    """``auto``: FP16 on boards, FP32 on the host."""
    workspace_mb: AtLeastOne | None = None
    """Scratch memory of the builder. None: TensorRT's default."""


@dataclass(frozen=True)
class BenchmarkConfig(Section):
    """Dense and compressed engines, interleaved in one session."""

    seconds: Annotated[float, Field(ge=0.2)] = 3.0
    """At least this long for each engine, after warm-up."""
    runs: Annotated[int, Field(ge=11)] = 64
    """At least this many runs of each engine (64 are needed for a p90)."""
    warmup_ms: NotNegative = 200.0
    """At least this long before anything counts; it goes on until steady."""
    threads: AtLeastOne | None = None
    """Threads of the host engine. None: one for each core."""


@dataclass(frozen=True)
class BudgetConfig(Section):
    """What the result must meet. Judged on the test split at the end; exit code 8 when it is not met."""

    accuracy_drop: NotNegative = 1.0
    """Points of accuracy that may be lost against the dense network."""
    latency_ms: Positive | None = None
    """Largest median latency of the compressed engine."""
    fps: Positive | None = None
    """Smallest throughput of the compressed engine, in samples per second."""


def is_file_reference(value: str) -> bool:
    """Whether ``value`` is ``path/to/file.py:function``."""
    path, _, function = value.rpartition(":")
    return path.endswith(".py") and function.isidentifier()


def as_table(value: Any) -> Any:
    """Plain JSON values of a (nested) dataclass."""
    return (
        dataclasses.asdict(value)
        if dataclasses.is_dataclass(value) and not isinstance(value, type)
        else value
    )
