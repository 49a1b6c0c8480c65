"""What a student learns from its teacher: pure functions of their outputs and feature maps.

``logits``      softened class scores (Hinton et al., 2015)
``values``      outputs that are not class scores: boxes, masks, depths
``hint``        a feature map as it is (Romero et al., 2015)
``attention``   where a feature map is active (Zagoruyko and Komodakis, 2017)
``similarity``  which samples of a batch look alike (Tung and Mori, 2019)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from jetpress.deploy.errors import RecipeError
from jetpress.pipeline.network import models
from jetpress.pipeline.network.models import outputs_of
from jetpress.pipeline.recipe.retraining import Distillation
from jetpress.pipeline.store.artifact import Checkpoint
from jetpress.pipeline.training.evaluate import device, layout
from jetpress.pipeline.training.features import maps_of

Objective = Callable[[tuple[Tensor, ...], object], Tensor]
"""Inputs and target -> the loss, a scalar."""


@dataclass(frozen=True)
class Teacher:
    """A network to learn from, and how much it counts."""

    module: nn.Module
    how: Distillation


def taught_by(checkpoint: Checkpoint, how: Distillation) -> Teacher | None:
    """The network of ``checkpoint`` as teacher, on its device; None where nothing is to be learnt from it."""
    if not (how.weight or how.looks_inside):
        return None
    module = models.load(checkpoint).module.to(device()).eval().requires_grad_(requires_grad=False)
    layout(module, torch.channels_last)
    return Teacher(module, how)


def logits(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """Divergence of the softened classes (dimension 1), a mean over samples and places; a scalar.

    Times the temperature's square: gradients then keep their size whatever the temperature.
    """
    ours = F.log_softmax(student.float() / temperature, dim=1)
    theirs = F.log_softmax(teacher.float() / temperature, dim=1)
    each = F.kl_div(ours, theirs, reduction="none", log_target=True).sum(1)
    return each.mean() * temperature**2


def values(student: Tensor, teacher: Tensor) -> Tensor:
    """Mean squared difference in units of the teacher's variance: outputs of any scale count alike."""
    ours, theirs = student.float(), teacher.float()
    return F.mse_loss(ours, theirs) / theirs.var(correction=0).clamp_min(1e-6)


def hint(student: Tensor, teacher: Tensor, adapter: nn.Module | None = None) -> Tensor:
    """``values`` of two feature maps ``[n, c, h, w]``; ``adapter``, a 1x1 convolution, matches channels."""
    return values(student if adapter is None else adapter(student), teacher)


def attention(student: Tensor, teacher: Tensor) -> Tensor:
    """Squared distance of two normalised activity maps; ``[n, c, h, w]``, any numbers of channels."""

    def where(features: Tensor) -> Tensor:
        return F.normalize(features.float().square().mean(1).flatten(1), dim=1)

    return (where(student) - where(teacher)).square().sum(1).mean()


def similarity(student: Tensor, teacher: Tensor) -> Tensor:
    """Mean squared difference of two similarity matrices ``[n, n]``; features ``[n, ...]`` of any sizes."""

    def alike(features: Tensor) -> Tensor:
        flat = features.float().flatten(1)
        return F.normalize(flat @ flat.T, dim=1)

    return (alike(student) - alike(teacher)).square().mean()


def outputs(
    student: Sequence[Tensor], teacher: Sequence[Tensor], temperature: float, classes: bool
) -> Tensor:
    """Mean over the floating-point outputs: ``logits`` of the first if it has class scores, else ``values``.

    Args:
        student: outputs of the network that learns.
        teacher: outputs of the network to learn from, as many and of the same shapes.
        temperature: of the class scores.
        classes: whether the first output holds class scores in dimension 1.

    Returns:
        a scalar

    Raises:
        RecipeError: the teacher's outputs are others.
    """
    shapes = [[list(t.shape) for t in some] for some in (student, teacher)]
    if shapes[0] != shapes[1]:
        raise RecipeError(
            f"the network's outputs have the shapes {shapes[0]}, its teacher's {shapes[1]}",
            "take a teacher with the same outputs, or set finetune.distill = 0",
        )
    losses = []
    for number, (ours, theirs) in enumerate(zip(student, teacher, strict=True)):
        if not ours.is_floating_point():
            continue
        softened = classes and number == 0
        losses.append(logits(ours, theirs, temperature) if softened else values(ours, theirs))
    return torch.stack(losses).mean()


def objective(
    of_labels: Callable[[object, object], Tensor],
    forward: Callable[..., Any],
    teacher: Teacher | None,
    names: Sequence[str],
    classes: bool,
) -> Objective:
    """The loss of the labels, and of all that the teacher shows.

    Args:
        of_labels: what the network returned and the target -> a scalar.
        forward: the network; with ``names`` a :class:`jetpress.pipeline.training.features.Student`.
        teacher: None: the labels alone.
        names: weights of the teacher whose feature maps are learnt.
        classes: whether the first output holds class scores in dimension 1.
    """

    if teacher is None or not (teacher.how.weight or names):
        return lambda inputs, target: of_labels(forward(*inputs), target)
    module, how = teacher.module, teacher.how

    def one(inputs: tuple[Tensor, ...], target: object) -> Tensor:
        result, maps, adapted = forward(*inputs) if names else (forward(*inputs), [], [])
        with torch.no_grad():
            shown, theirs = maps_of(module, names, inputs)
        loss = (1 - how.weight) * of_labels(result, target)
        if how.weight:
            ours = outputs_of(result)
            loss = loss + how.weight * outputs(ours, outputs_of(shown), how.temperature, classes)
        for weight, function, some in (
            (how.hint, hint, adapted),
            (how.attention, attention, maps),
            (how.similarity, similarity, maps),
        ):
            if weight:
                each = [function(a, b) for a, b in zip(some, theirs, strict=True)]
                loss = loss + weight * torch.stack(each).mean()
        return loss

    return one
