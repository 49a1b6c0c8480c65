"""jetpress's own training of a module in hand, and the losses by which a student learns from its teacher."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from jetpress.deploy.errors import RecipeError
from jetpress.pipeline.data.splits import tensors_of
from jetpress.pipeline.functions.datasets import Source, data_of, labelled
from jetpress.pipeline.functions.given import trainable
from jetpress.pipeline.functions.sparsifying import masks_of
from jetpress.pipeline.functions.subjects import HasModule, as_it_was, copied, decided, module_of, network_of
from jetpress.pipeline.network import user_code
from jetpress.pipeline.network.models import outputs_of
from jetpress.pipeline.recipe.sections.data import DataConfig
from jetpress.pipeline.recipe.sections.task import TaskConfig
from jetpress.pipeline.stages.finetune import recover
from jetpress.pipeline.store.facts.network import Epoch
from jetpress.pipeline.tasks import imitation
from jetpress.pipeline.training import distill
from jetpress.pipeline.training.distill import Teacher
from jetpress.pipeline.training.evaluate import device, to_device

Judge = Callable[[Any, Any], Tensor]
"""What the module returned and the target -> a tensor."""
FEATURES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "hint": distill.hint,
    "attention": distill.attention,
    "similarity": distill.similarity,
}


@dataclass(frozen=True)
class Tuned:
    """A module that was trained once more."""

    module: nn.Module
    """Of the same class and with the same names as the one given; of the epoch that was kept."""
    validation: float
    """Its points on the validation data: percent right, or the mean of ``metric``."""
    before: float
    """Points of the module as it was given."""
    recalibrated: float
    """With BatchNorm's statistics measured anew, before anything was trained."""
    best_epoch: int
    """Counted from 1; 0: no epoch was better than the start."""
    curve: tuple[Epoch, ...]
    """Loss, learning rate and points of each epoch."""

    def __str__(self) -> str:
        of = f"epoch {self.best_epoch} of {len(self.curve)}" if self.best_epoch else "no epoch was better"
        start = f"{self.before:.2f} as it was, {self.recalibrated:.2f} recalibrated"
        return f"validation: {start}, {self.validation:.2f} kept ({of})"


@trainable
def fine_tune(
    model: nn.Module | HasModule,
    train: Source,
    validation: Source,
    *,
    epochs: int,
    teacher: nn.Module | None = None,
    loss: Judge | None = None,
    metric: Judge | None = None,
    seed: int = 0,
    **keys: object,
) -> Tuned:
    """Recover what pruning or masking took: BatchNorm measured anew, then jetpress's own training at a low rate.

    A network whose layers were fitted may be better as it is: then BatchNorm keeps its statistics, in training too
    (``freeze_batchnorm``). The best epoch on the validation data is kept; where none is better than the start, it is
    trained once more at a tenth of the rate. On a GPU where there is one. Equal seeds give equal bits on a CPU.

    Args:
        model: a module, or what :func:`prune` or :func:`sparsify` gave (its masks are held). It stays as it is.
        train: a loader, a map-style data set of ``(inputs, target)``, batches of them, or ``(inputs, targets)``. A
            loader's data set is shuffled by jetpress; batches of any other kind are iterated once and kept. Inputs
            alone, a tensor or batches of them, where there is a ``teacher`` and no ``loss``: its classes are the
            targets.
        validation: the same; of inputs alone the points say how often the two agree.
        epochs: passes over the training data.
        teacher: a module with the same outputs to learn from, for example the dense one; None: the labels alone.
        loss: ``loss(outputs, target)``, a scalar; None: cross-entropy of the first output.
        metric: points of each sample ``[batch]``, 0 to 100, higher is better; None: percent right.
        seed: of the order of samples, augmentation and dropout.
        keys: those of a recipe's ``[finetune]`` (``learning_rate``, ``optimizer``, ``distill``, ``temperature``,
            ``hint``, ``ema``, ``precision``, ...), with the same meaning.

    Raises:
        RecipeError: a wrong key, or model, data and loss do not fit together.
        StageError: the loss became NaN or infinite.
    """
    module = module_of(model)
    tuning = decided("host", finetune={"epochs": epochs, **keys}).finetune
    if tuning.training.trainer is not None:
        raise RecipeError("fine_tune is jetpress's own training", "call your trainer yourself")
    shown = copied(teacher).to(device()).requires_grad_(False) if teacher is not None else None
    if shown is not None and loss is None:
        classes = partial(_classes, shown)
        train, validation = (labelled(one, classes, seed) for one in (train, validation))
    data = data_of(train, validation, _config(loss, metric), seed)
    samples = data.train.batch(range(min(2, len(data.train))), None)[0]
    network = replace(network_of(module, samples), data=data.config, seed=seed)
    network.task = TaskConfig("custom") if loss else network.task
    network.masks = masks_of(model)
    taught = Teacher(shown, tuning.distillation) if shown is not None else None
    with tempfile.TemporaryDirectory(prefix="jetpress-") as scratch:
        fitted, recovery = recover(network, data, tuning, taught, None, Path(scratch))
    made, training = as_it_was(network.module, module), fitted.training
    points = recovery.after_pruning, recovery.after_recalibration
    return Tuned(made, fitted.validation, *points, training.best_epoch, training.curve)


def _classes(teacher: nn.Module, inputs: Any) -> Tensor:
    """Whose score is highest, ``[n]``."""
    with torch.no_grad():
        scores = outputs_of(teacher(*to_device(tensors_of(inputs), device())))[0]
    if scores.ndim != 2:
        raise RecipeError(
            f"the teacher's output {list(scores.shape)} holds no class scores [n, classes]",
            "give pairs (inputs, target), with loss=... and metric=... that know them",
        )
    return scores.argmax(1).cpu()


def _config(loss: Judge | None, metric: Judge | None) -> DataConfig:
    """The user's functions, as a recipe names them."""
    named = {
        name: user_code.keep(function, name, hashlib.sha256(f"{name} {id(function)}".encode()).hexdigest())
        for name, function in (("loss", loss), ("metric", metric))
        if function is not None
    }
    return DataConfig("in memory", **named)  # type: ignore[arg-type]


def distillation(
    student: object,
    teacher: object,
    *,
    kind: Literal["outputs", "hint", "attention", "similarity"] = "outputs",
    temperature: float = 5.0,
    classes: bool = True,
) -> Tensor:
    """One loss of learning from a teacher, a scalar, for a training loop of one's own.

    Args:
        student: what the module returned; of the other kinds a feature map ``[n, c, h, w]``.
        teacher: what the teacher returned for the same inputs, computed without gradients; of the other kinds its
            feature map, of any number of channels but for ``hint``.
        kind: ``outputs``: softened class scores (Hinton et al., 2015) of the first output, all others by their squared
            difference in units of the teacher's variance; ``hint``: feature maps as they are (Romero et al., 2015);
            ``attention``: where they are active (Zagoruyko and Komodakis, 2017); ``similarity``: which samples of a
            batch are alike (Tung and Mori, 2019).
        temperature: of the class scores; the loss is multiplied by its square, so gradients keep their size.
        classes: whether the first output holds class scores in dimension 1.

    Raises:
        RecipeError: the two have other shapes, or hold no tensor.
    """
    if kind == "outputs":
        compare = imitation.classes if classes else imitation.numbers
        found = compare(student, teacher, temperature)
        if found is None:
            ours, theirs = ([list(one.shape) for one in outputs_of(some)] for some in (student, teacher))
            raise RecipeError(
                f"the network's outputs have the shapes {ours}, its teacher's {theirs}",
                "take a teacher with the same outputs",
            )
        return found
    return FEATURES[kind](outputs_of(student)[0], outputs_of(teacher)[0])
