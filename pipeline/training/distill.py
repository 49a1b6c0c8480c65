"""What a student learns from its teacher: its outputs as the task compares them
(:mod:`jetpress.pipeline.tasks.imitation`), and its feature maps.

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

from jetpress.pipeline.network import models
from jetpress.pipeline.recipe.retraining import Distillation
from jetpress.pipeline.store.artifact import Checkpoint
from jetpress.pipeline.tasks.imitation import Imitation, values
from jetpress.pipeline.training.evaluate import device, layout, to_device
from jetpress.pipeline.training.features import maps_of
from jetpress.pipeline.training.norms import as_in_training

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
    network = models.load(checkpoint)
    module = network.module.to(device()).requires_grad_(requires_grad=False)
    as_in_training(module, to_device(models.example_inputs(network.model.inputs), device()))
    layout(module, torch.channels_last)
    return Teacher(module, how)


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


def objective(
    of_labels: Callable[[object, object, tuple[Tensor, ...]], Tensor],
    forward: Callable[..., Any],
    teacher: Teacher | None,
    names: Sequence[str],
    imitation: Imitation,
) -> Objective:
    """The loss of the labels, and of all that the teacher shows.

    Args:
        of_labels: what the network returned, the target, the inputs -> a scalar.
        forward: the network; with ``names`` a :class:`jetpress.pipeline.training.features.Student`.
        teacher: None: the labels alone.
        names: weights of the teacher whose feature maps are learnt.
        imitation: how outputs are compared.
    """

    if teacher is None or not (teacher.how.weight or names):
        return lambda inputs, target: of_labels(forward(*inputs), target, inputs)
    module, how = teacher.module, teacher.how

    def one(inputs: tuple[Tensor, ...], target: object) -> Tensor:
        result, maps, adapted = forward(*inputs) if names else (forward(*inputs), [], [])
        with torch.no_grad():
            shown, theirs = maps_of(module, names, inputs)
        loss = of_labels(result, target, inputs)
        apart = imitation(result, shown, how.temperature) if how.weight else None
        if apart is not None:
            loss = (1 - how.weight) * loss + how.weight * apart
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
