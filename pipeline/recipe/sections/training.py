"""How it is trained, and once more: ``[train]``, ``[finetune]``, ``[qat]``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal, TypeVar

from pydantic import Field

from jetpress.pipeline.recipe.sections.fields import (
    AtLeastOne,
    Count,
    Fraction,
    NotNegative,
    Positive,
    Section,
    Share,
)
from jetpress.pipeline.recipe.sections.model import ModelConfig

Optimizer = Literal["sgd", "adamw"]
Schedule = Literal["cosine", "step", "one-cycle", "constant"]
Precision = Literal["auto", "float32", "tf32", "bf16", "fp16"]
T = TypeVar("T")
Inherited = Annotated[T | None, Field(description="None: as in the training before.")]
"""A key of a training that follows another one."""


@dataclass(frozen=True)
class TrainConfig(Section):
    """Training of the dense baseline. ``epochs = 0`` takes ``model.weights`` as the baseline."""

    epochs: Count = 8
    """Passes over the training data."""
    optimizer: Optimizer = "sgd"
    """SGD has Nesterov momentum."""
    learning_rate: Positive = 0.05
    """Peak learning rate."""
    momentum: Fraction = 0.9
    """Of SGD."""
    weight_decay: NotNegative = 5e-4
    """Not applied to biases and normalisation layers."""
    schedule: Schedule = "cosine"
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
    precision: Precision = "auto"
    """What is computed in; weights stay float32. ``auto``: on a GPU bf16 (fp16 where it has none) and TF32 for the
    rest; on a CPU float32, or bf16 where the CPU has it and it is measured to be faster."""
    compile: bool = False
    """``torch.compile``: minutes at the start, faster steps on most GPUs."""
    deterministic: bool = False
    """The same bits on the same GPU, some operators slower; see docs/determinism.md. A CPU always gives them."""
    sync_batchnorm: bool = False
    """With several GPUs: BatchNorm's statistics are those of the whole batch, not of each GPU's share."""
    freeze_batchnorm: bool | None = False
    """BatchNorm computes with the statistics that it holds, in training too, and keeps them; scale and shift learn."""
    stop_at: float | None = None
    """Points on the validation split at which training may stop: when two epochs in a row reach them. It also stops
    when they are out of reach. None: every epoch is trained."""
    trainer: str | None = None
    """``path/to/file.py:function``, a trainer of one's own: it is given ``module`` and ``epochs`` (and ``teacher``,
    ``train``, ``validation``, ``folder``, if it has such parameters) and gives the module back. The keys of jetpress's
    own loop then mean nothing. See docs/trainers.md. None: jetpress trains."""


@dataclass(frozen=True)
class RetrainConfig(Section):
    """What all training after the first has. Docstrings are not inherited: these texts are in the annotations."""

    epochs: Annotated[Count, Field(description="Passes over the training data.")]
    learning_rate: Positive | None = None
    optimizer: Inherited[Optimizer] = None
    momentum: Inherited[Fraction] = None
    weight_decay: Inherited[NotNegative] = None
    schedule: Annotated[Schedule, Field(description="As in ``train``.")] = "cosine"
    warmup_epochs: Annotated[NotNegative, Field(description="Linear warm-up.")] = 0.0
    clip_norm: Inherited[NotNegative] = None
    accumulate: Inherited[AtLeastOne] = None
    ema: Inherited[Fraction] = None
    precision: Inherited[Precision] = None
    deterministic: Inherited[bool] = None
    distill: Annotated[
        Share, Field(description="Weight of the teacher's softened outputs against the labels; 0: off.")
    ] = 0.7
    temperature: Annotated[Positive, Field(description="Of those outputs (Hinton et al., 2015).")] = 5.0


@dataclass(frozen=True)
class FinetuneConfig(RetrainConfig):
    """Recovery after each round of pruning and after 2:4 masking. The training before is ``train``."""

    epochs: Count = 8
    """Passes over the training data after each round."""
    learning_rate: Positive | None = None
    """None: a fifth of ``train.learning_rate``."""
    warmup_epochs: NotNegative = 0.25
    """Linear warm-up."""
    label_smoothing: Inherited[Fraction] = None
    mixup: Inherited[NotNegative] = None
    cutmix: Inherited[NotNegative] = None
    freeze: tuple[str, ...] = ()
    """As in ``train``, for fine-tuning alone."""
    compile: Inherited[bool] = None
    sync_batchnorm: Inherited[bool] = None
    freeze_batchnorm: bool | None = None
    """As in ``train``. None: if new statistics would cost more than a third of what there is to win back, as they may
    where ``prune.reconstruct`` fitted the network."""
    trainer: Inherited[str] = None
    stop_margin: NotNegative | None = None
    """Stop early: when two epochs in a row are this many points better than ``accuracy_drop`` asks for, or when that
    is out of reach. None: every epoch is trained."""
    accuracy_drop: NotNegative | None = None
    """With ``stop_margin``: points of validation accuracy that may be lost. None: ``budget.accuracy_drop``."""
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
class QatConfig(RetrainConfig):
    """Quantization-aware training: a short training with weights and activations rounded as INT8 rounds them, from the
    network that quantization after training lost too much of (``quantize.qat`` says when). The training before is
    ``finetune``, and so is the teacher, in FP32."""

    epochs: AtLeastOne = 2
    """Passes over the training data."""
    learning_rate: Positive | None = None
    """None: a tenth of ``finetune.learning_rate``. Where no epoch is better than the start, a tenth of it is tried."""
