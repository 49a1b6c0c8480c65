"""Training once more, for fine-tuning and for quantization: what a recipe leaves open there, decided.

What is not given is as in the training before, at a lower rate: fine-tuning follows ``train``, and quantization-aware
training follows fine-tuning.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import TypeVar

from jetpress.pipeline.recipe.sections.training import FinetuneConfig, QatConfig, RetrainConfig, TrainConfig

T = TypeVar("T")
AnySection = TypeVar("AnySection", bound=RetrainConfig)


@dataclass(frozen=True)
class Distillation:
    """How much is learnt from a teacher. Zeros: nothing."""

    weight: float = 0.0
    """Share of the teacher in the loss, 0 to 1; the labels have the rest."""
    temperature: float = 1.0
    """Of the softened class scores."""
    hint: float = 0.0
    """Weight of the teacher's feature maps, beside all else."""
    attention: float = 0.0
    """Weight of where they are active."""
    similarity: float = 0.0
    """Weight of which samples look alike."""
    layers: tuple[str, ...] = ()
    """Patterns of the weights whose feature maps are compared; empty: see `pairs` of features.py."""

    @property
    def looks_inside(self) -> bool:
        """Whether feature maps are compared."""
        return max(self.hint, self.attention, self.similarity) > 0


@dataclass(frozen=True)
class Retraining:
    """What a stage that trains once more is told."""

    training: TrainConfig
    distillation: Distillation
    may_lose: float | None = None
    """Points of validation accuracy below the dense network's at which it may stop; None: every epoch is trained."""
    code: str = ""
    """Digest of the files of a trainer of the user's own; filled in when a run begins."""


def finetuning(config: FinetuneConfig, train: TrainConfig, budget: float = 0.0) -> Retraining:
    """Fine-tuning after ``train``, at a fifth of its rate.

    Args:
        budget: points of accuracy that may be lost where ``config`` does not say it.
    """
    training = replace(
        _after(train, config, slower=5),
        label_smoothing=_given(config.label_smoothing, train.label_smoothing),
        mixup=_given(config.mixup, train.mixup),
        cutmix=_given(config.cutmix, train.cutmix),
        freeze=config.freeze,
        compile=_given(config.compile, train.compile),
        sync_batchnorm=_given(config.sync_batchnorm, train.sync_batchnorm),
        freeze_batchnorm=_given(config.freeze_batchnorm, train.freeze_batchnorm or None),
        trainer=_given(config.trainer, train.trainer),
    )
    taught = Distillation(
        config.distill, config.temperature, config.hint, config.attention, config.similarity, config.layers
    )
    if config.stop_margin is None:
        return Retraining(training, taught)
    return Retraining(training, taught, _given(config.accuracy_drop, budget) - config.stop_margin)


def with_rounding(config: QatConfig, finetune: TrainConfig) -> Retraining:
    """Quantization-aware training after fine-tuning, at a tenth of its rate."""
    return Retraining(_after(finetune, config, slower=10), Distillation(config.distill, config.temperature))


def written(config: AnySection, training: TrainConfig) -> AnySection:
    """A section with all that was decided, as it is kept beside the results."""
    known = {field.name for field in fields(config)}
    return replace(config, **{name: value for name, value in vars(training).items() if name in known})


def _after(before: TrainConfig, config: RetrainConfig, slower: float) -> TrainConfig:
    """What every training has; the rest as :class:`TrainConfig` has it by default."""
    return TrainConfig(
        epochs=config.epochs,
        optimizer=_given(config.optimizer, before.optimizer),
        learning_rate=_given(config.learning_rate, before.learning_rate / slower),
        momentum=_given(config.momentum, before.momentum),
        weight_decay=_given(config.weight_decay, before.weight_decay),
        schedule=config.schedule,
        warmup_epochs=config.warmup_epochs,
        clip_norm=_given(config.clip_norm, before.clip_norm),
        accumulate=_given(config.accumulate, before.accumulate),
        ema=_given(config.ema, before.ema),
        precision=_given(config.precision, before.precision),
        deterministic=_given(config.deterministic, before.deterministic),
    )


def _given(value: T | None, otherwise: T) -> T:
    return otherwise if value is None else value
