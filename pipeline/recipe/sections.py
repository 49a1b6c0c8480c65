"""Every knob of every stage: one frozen dataclass for each table of a recipe.

The text under a field is its reference (``docs/recipe.md`` and ``docs/recipe.schema.json`` are written from
here). ``None`` and ``"auto"`` mean that the target decides: see :mod:`jetpress.pipeline.recipe.reading`. No torch here.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import ConfigDict, Field

from jetpress.pipeline.recipe.known import keys

Fraction = Annotated[float, Field(ge=0, lt=1)]
Positive = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]
Count = Annotated[int, Field(ge=0)]
AtLeastOne = Annotated[int, Field(ge=1)]
Pattern = Annotated[str, Field(pattern=r"^([1-9]\d?:[1-9]\d?|unstructured)$")]
if TYPE_CHECKING:
    CriterionName = str
    TaskName = str
else:
    CriterionName = Literal[keys("pruning/criteria.py", "CRITERIA")]
    TaskName = Literal[keys("tasks/__init__.py", "TASKS")]
EIGHT_BITS = ("int8", "fp8")
"""The precisions that a graph is quantized for."""


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
    task: TaskName | None = None
    """What the network is for. None: ``detection`` where it says how its boxes become detections (docs/detection.md),
    ``custom`` where ``loss`` is a function, otherwise ``classification``."""
    loss: str | None = None
    """``path/to/file.py:function(outputs, target)``, a scalar tensor. None: the task's own (``classification``:
    ``cross_entropy`` of the first output)."""
    metric: str | None = None
    """``path/to/file.py:function(outputs, target)`` giving the points of each sample (a tensor of batch length, 0 to
    100, higher is better). None: the task's own (``classification``: ``top1`` of the first output in percent)."""


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
    schedule: Literal["cosine", "step", "one-cycle", "constant"] = "cosine"
    """``step``: a tenth after one half and after three quarters; ``one-cycle``: up from 1/25 for three tenths of
    the training, then down to almost nothing (Smith and Topin, 2017), momentum as it is."""
    warmup_epochs: NotNegative = 1.0
    """Linear warm-up, for at most a quarter of the training; ``one-cycle`` has its own."""
    label_smoothing: Fraction = 0.0
    """Of the cross-entropy."""
    mixup: NotNegative = 0.0
    """Blend pairs of images and their labels (Zhang et al., 2018); alpha of the share, 0.2 is usual, 0 is off."""
    cutmix: NotNegative = 0.0
    """Paste a patch of one image into another (Yun et al., 2019); alpha of its size, 1.0 is usual, 0 is off. With
    ``mixup``: one of the two for each step."""
    clip_norm: NotNegative = 0.0
    """Largest gradient norm; 0 leaves gradients as they are."""
    accumulate: AtLeastOne = 1
    """A step's samples go through the network in this many parts, when all at once do not fit into memory. The step
    is the same within rounding, except that BatchNorm sees each part by itself."""
    ema: Fraction = 0.0
    """Decay of the running average of the weights, which is then what is judged and kept: 0.999 averages about
    1000 steps. 0: no average."""
    freeze: tuple[str, ...] = ()
    """Parameters (shell patterns such as ``layer1.*``) that training leaves as they are."""
    precision: Literal["auto", "float32", "tf32", "bf16", "fp16"] = "auto"
    """What is computed in; weights stay float32. ``auto``: on a GPU bf16 (fp16 where it has none) and TF32 for the
    rest; on a CPU float32, or bf16 where the CPU has it and it is measured to be faster."""
    compile: bool = False
    """``torch.compile``: minutes at the start, faster steps on most GPUs."""
    deterministic: bool = False
    """The same bits on the same GPU, some operators slower; see docs/determinism.md. A CPU always gives them."""
    sync_batchnorm: bool = False
    """With several GPUs: BatchNorm's statistics are those of the whole batch, not of each GPU's share."""
    stop_at: Annotated[float, Field(ge=0, le=100)] | None = None
    """Points on the validation split at which training may stop: when two epochs in a row reach them. It also stops
    when they are out of reach. None: every epoch is trained."""


@dataclass(frozen=True)
class PruneConfig(Section):
    """Structured pruning: whole channels go, in rounds, each followed by fine-tuning.

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
    """The goal is reached in this many steps."""
    first_step: Annotated[float, Field(gt=0, le=1)] = 0.3
    """The first of several rounds removes at most this share."""
    steps: Literal["adaptive", "even"] = "adaptive"
    """``adaptive``: rounds take more while less than half of the accuracy budget is used; after a round that breaks
    it, a smaller one is tried from the last good network. ``even``: equal steps, ended by the first that breaks it."""
    criterion: CriterionName = "l2"
    """How much a channel matters within its layer: by its weights (``l1``, ``l2``, ``fpgm``, ``bn_scale``,
    ``lamp``), by the loss on training data (``taylor``, ``fisher``), by what it shows there (``activation``,
    ``apoz``), or at ``random``."""
    scope: Literal["uniform", "global", "isomorphic", "measured"] = "uniform"
    """How much each layer gives up. ``uniform``: the same share; ``global``: one ranking for the whole network;
    ``isomorphic``: one ranking for each kind of layer; ``measured``: what each layer loses in accuracy and saves in
    the goal's unit, both measured, decides."""
    blocks: bool = True
    """``measured`` only: whole residual blocks may go where that pays more than narrower layers."""
    sensitivity_images: AtLeastOne = 128
    """``measured`` only: training images that the loss of accuracy is measured on."""
    channel_multiple: AtLeastOne | None = None
    """Surviving channel counts are multiples of this. None: what fills the target's hardware (8 in FP16 and 32 in INT8
    for tensor cores, 16 for a host's SIMD)."""
    ignore: tuple[str, ...] = ()
    """Parameters (shell patterns such as ``layer4.*``) whose layers keep all their channels."""
    limits: dict[str, Fraction] = field(default_factory=dict)
    """Parameters (shell patterns) -> largest share of their layers' channels that may go, for example
    ``{ "layer1.*" = 0.25 }``."""


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
    schedule: Literal["cosine", "step", "one-cycle", "constant"] = "cosine"
    """As in ``train``."""
    warmup_epochs: NotNegative = 0.25
    """Linear warm-up."""
    label_smoothing: Fraction | None = None
    """None: that of ``train``."""
    mixup: NotNegative | None = None
    """None: that of ``train``."""
    cutmix: NotNegative | None = None
    """None: that of ``train``."""
    clip_norm: NotNegative | None = None
    """None: that of ``train``."""
    accumulate: AtLeastOne | None = None
    """None: that of ``train``."""
    ema: Fraction | None = None
    """None: that of ``train``."""
    freeze: tuple[str, ...] = ()
    """As in ``train``, for fine-tuning alone."""
    precision: Literal["auto", "float32", "tf32", "bf16", "fp16"] | None = None
    """None: that of ``train``."""
    compile: bool | None = None
    """None: that of ``train``."""
    deterministic: bool | None = None
    """None: that of ``train``."""
    sync_batchnorm: bool | None = None
    """None: that of ``train``."""
    stop_margin: NotNegative | None = None
    """Stop early: when two epochs in a row are this many points better than ``accuracy_drop`` asks for, or when that
    is out of reach. None: every epoch is trained."""
    accuracy_drop: NotNegative | None = None
    """With ``stop_margin``: points of validation accuracy that may be lost. None: ``budget.accuracy_drop``."""
    distill: Annotated[float, Field(ge=0, le=1)] = 0.7
    """Weight of the teacher's softened outputs against the labels; 0 switches that off."""
    temperature: Positive = 5.0
    """Of the softened outputs (Hinton et al., 2015)."""
    hint: NotNegative = 0.0
    """Weight of the teacher's feature maps (Romero et al., 2015); a 1x1 convolution matches channels that were
    pruned, and is dropped afterwards. 0: off."""
    attention: NotNegative = 0.0
    """Weight of where the teacher's feature maps are active (Zagoruyko and Komodakis, 2017). 0: off."""
    similarity: NotNegative = 0.0
    """Weight of which samples of a batch are alike for the teacher (Tung and Mori, 2019). 0: off."""
    layers: tuple[str, ...] = ()
    """Whose feature maps are compared: weights (shell patterns such as ``layer*.1.conv2.weight``) that student and
    teacher both have. Empty: the last convolution at each resolution."""
    teacher: ModelConfig | None = None
    """Another network to learn from, with its ``weights``. None: the dense network."""


@dataclass(frozen=True)
class ExportConfig(Section):
    """The ONNX file."""

    opset: Annotated[int, Field(ge=13, le=23)] | None = None
    """None: 18, or the newest that an older parser takes (``jetpress targets NAME`` shows both)."""
    batch: AtLeastOne = 1
    """Batch size of the engine; of an open batch the one that it is tuned for and measured at."""
    dynamic_batch: bool = False
    """Leave the batch dimension open, from 1 to ``max_batch`` (TensorRT: a profile of 1, ``batch``, ``max_batch``)."""
    max_batch: AtLeastOne = 8
    """Largest batch of a dynamic engine."""
    ir_version: AtLeastOne | None = None
    """None: what the target's parser knows; of a newer opset the oldest that it may have."""
    lower: tuple[str, ...] | None = None
    """Operators written as primitives although the opset has them. None: those the target's parser lacks."""
    input: Literal["network", "uint8_nhwc"] = "network"
    """What images come as. ``network``: as the network takes them; ``uint8_nhwc``: as a camera gives them, ``uint8
    [batch, height, width, 3]`` (RGB), and the graph normalises with ``data.mean`` and ``data.std``."""
    output: Literal["scores", "softmax", "argmax", "detections"] = "scores"
    """What the first output ends with, over the axis of classes. ``argmax`` gives INT32 class numbers; ``detections``
    ends a detector with non-maximum suppression in the graph (TensorRT 8.5 and newer): see docs/detection.md."""
    int64_io: bool | None = None
    """Leave INT64 inputs and outputs as they are; otherwise they become INT32. None: where the target has INT64."""
    fp16: bool | None = None
    """Weights and activations in FP16 in the file itself. None: where ``build.precision`` is ``fp16`` and the
    target takes types from the graph (TensorRT 10 and newer, TensorRT-RTX); older ones have a flag for it."""


@dataclass(frozen=True)
class QuantizeConfig(Section):
    """INT8 and FP8 (``build.precision``): explicit Q/DQ from calibration images. See docs/quantization.md."""

    method: Literal["auto", "max", "percentile", "entropy", "mse"] = "auto"
    """Where the range of a tensor ends. ``max``: at the largest value seen; ``percentile``: below it; ``entropy``:
    least divergence (INT8 only); ``mse``: least squared error. ``auto``: all are tried, and the one whose outputs are
    nearest to FP32 is taken."""
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


@dataclass(frozen=True)
class QatConfig(Section):
    """Quantization-aware training: a short training with weights and activations rounded as INT8 rounds them, from the
    network that quantization after training lost too much of (``quantize.qat`` says when)."""

    epochs: AtLeastOne = 2
    """Passes over the training data."""
    learning_rate: Positive | None = None
    """None: a tenth of ``finetune.learning_rate``. Where no epoch is better than the start, a tenth of it is tried."""
    optimizer: Literal["sgd", "adamw"] | None = None
    """None: that of ``finetune``."""
    momentum: Fraction | None = None
    """None: that of ``finetune``."""
    weight_decay: NotNegative | None = None
    """None: that of ``finetune``."""
    schedule: Literal["cosine", "step", "one-cycle", "constant"] = "cosine"
    """As in ``train``."""
    warmup_epochs: NotNegative = 0.0
    """Linear warm-up."""
    clip_norm: NotNegative | None = None
    """None: that of ``finetune``."""
    accumulate: AtLeastOne | None = None
    """None: that of ``finetune``."""
    ema: Fraction | None = None
    """None: that of ``finetune``."""
    precision: Literal["auto", "float32", "tf32", "bf16", "fp16"] | None = None
    """None: that of ``finetune``."""
    deterministic: bool | None = None
    """None: that of ``finetune``."""
    distill: Annotated[float, Field(ge=0, le=1)] = 0.7
    """Weight of the teacher's softened outputs against the labels; the teacher is that of ``finetune``, in FP32."""
    temperature: Positive = 5.0
    """Of the softened outputs."""


@dataclass(frozen=True)
class EquivalenceConfig(Section):
    """How far PyTorch and ONNX Runtime may differ."""

    max_relative_error: Positive = 1e-3
    """Largest absolute difference over the largest absolute value of the output. In FP32; an FP16 file is judged
    by cosine (0.999) and top-1 (99 %)."""
    edge_cases: bool = True
    """Also zeros, ones, extremes and one-hot inputs."""


@dataclass(frozen=True)
class BuildConfig(Section):
    """The engine."""

    precision: Literal["auto", "fp32", "fp16", "int8", "fp8"] = "auto"
    """``auto``: FP16 on GPUs, FP32 on the host. ``int8``, ``fp8`` (compute capability 8.9 and newer): see
    ``[quantize]``; the dense engine beside it stays as in ``auto``. How FP16 comes about is the target's affair: a flag
    of the builder (TensorRT 8), or types in the graph (TensorRT 10 and newer, TensorRT-RTX); layers that would overflow
    stay FP32."""
    workspace_mb: AtLeastOne | None = None
    """Scratch memory of the builder. None: TensorRT's default."""
    optimization_level: Annotated[int, Field(ge=0, le=5)] | None = None
    """How long the builder may search (TensorRT 8.6 and newer): 0 is quickest to build, 5 tries most. None: its
    default, 3."""
    compute_capabilities: tuple[Literal["7.5", "8.0", "8.6", "8.9", "12.0", "12.1"], ...] = ()
    """TensorRT-RTX only: the GPUs that the one engine is for. Turing (7.5) takes FP16 alone, FP8 exists from 8.9 on.
    Empty: 8.6."""


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
    transfers: bool = True
    """TensorRT: copy inputs to the GPU and outputs back in every run, and count it in the latency."""
    overlap: bool = True
    """TensorRT: begin a run before the one before it has ended, as trtexec does; throughput gains by it."""
    cuda_graph: bool = False
    """TensorRT: run each engine as one CUDA graph. Worth it where starting a run takes as long as the run."""
    spin_wait: bool = False
    """TensorRT: wait for the GPU by spinning instead of sleeping: steadier, and one core is busy."""
    lock_clocks: bool = False
    """Highest clocks of the power mode while it is measured; those of before afterwards, also after a crash. Needs
    root on the board, or ``sudo -n jetson_clocks``."""
    power_mode: str | None = None
    """Power mode that the board must be in, as nvpmodel names it (``MAXN``, ``15W``); another is refused before
    anything is sent. None: whichever it is in; the results name it."""


@dataclass(frozen=True)
class BudgetConfig(Section):
    """What the result must meet. Judged on the test split at the end; exit code 8 when it is not met."""

    accuracy_drop: NotNegative = 1.0
    """Points of accuracy that may be lost against the dense network."""
    latency_ms: Positive | None = None
    """Largest median latency of the compressed engine."""
    fps: Positive | None = None
    """Smallest throughput of the compressed engine, in samples per second."""


def is_file_reference(value: str | None) -> bool:
    """Whether ``value`` is ``path/to/file.py:function``."""
    path, _, function = (value or "").rpartition(":")
    return path.endswith(".py") and function.isidentifier()


def as_table(value: Any) -> Any:
    """Plain JSON values of a (nested) dataclass."""
    return (
        dataclasses.asdict(value)
        if dataclasses.is_dataclass(value) and not isinstance(value, type)
        else value
    )
