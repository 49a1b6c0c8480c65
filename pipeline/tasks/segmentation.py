"""Segmentation: one class is right for each pixel."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from jetpress.deploy.errors import RecipeError
from jetpress.pipeline.graph.session import Array
from jetpress.pipeline.network.models import outputs_of
from jetpress.pipeline.tasks.drawing import Drawn
from jetpress.pipeline.tasks.metric import Metric, Parts, Setting
from jetpress.pipeline.tasks.task import Shown

VOID = -100
"""Class number of pixels that are neither learnt nor judged: what torch's cross-entropy leaves out."""


def cross_entropy(outputs: object, target: Tensor, smoothing: float) -> Tensor:
    """Mean over the pixels ``[n, h, w]`` that have a class; of the first output, brought to their size."""
    scores = scores_of(outputs, target.shape[-2:]).float()
    try:
        return F.cross_entropy(scores, target, ignore_index=VOID, label_smoothing=smoothing)
    except (IndexError, RuntimeError):
        largest = int(target.max())
        if largest < scores.shape[1]:
            raise
        raise RecipeError(
            f"the masks have class {largest}, the network scores {scores.shape[1]} classes",
            "classes count from 0; data.void names the value that is no class",
        ) from None


def scores_of(outputs: object, size: Sequence[int]) -> Tensor:
    """The first output ``[n, classes, h, w]``, at the size of the masks: many networks give an eighth of it."""
    scores = outputs_of(outputs)[0]
    if scores.shape[-2:] != tuple(size):
        scores = F.interpolate(scores.float(), tuple(size), mode="bilinear", align_corners=False)
    return scores


def counts(outputs: object, target: Tensor) -> list[Array]:
    """For each image ``[3, classes]``: pixels of a class named so, pixels named so, pixels of it.

    The outputs are scores, or the class numbers that a graph ends with.
    """
    named, classes = outputs_of(outputs)[0], 0
    if named.is_floating_point():
        scores = scores_of(outputs, target.shape[-2:])
        named, classes = scores.argmax(1), scores.shape[1]
    named, classes = named.flatten(1), max(classes, int(named.max()) + 1, int(target.max()) + 1)
    known, target = (target != VOID).flatten(1), target.flatten(1)
    found = []
    for each, right, valid in zip(named, target, known, strict=True):
        each, right = each[valid], right[valid]
        three = (each[each == right], each, right)
        found.append(torch.stack([torch.bincount(one, minlength=classes) for one in three]).cpu().numpy())
    return found


def summed(seen: Sequence[Array]) -> Array:
    """Of all images, ``[3, classes]``."""
    whole = np.zeros((3, max(one.shape[1] for one in seen)))
    for one in seen:
        whole[:, : one.shape[1]] += one
    return whole


def ratios(
    of: Callable[[Array, Array, Array], Array], classes: Sequence[str]
) -> tuple[Callable[[Sequence[Array]], float], Callable[[Sequence[Array]], Parts]]:
    """The mean over the classes that occur, and each of them; ``of`` takes both, named and real pixels."""

    def each(seen: Sequence[Array]) -> Array:
        both, named, real = summed(seen)
        with np.errstate(invalid="ignore", divide="ignore"):
            found = 100 * of(both, named, real)
        return np.where(named + real > 0, found, np.nan)

    def total(seen: Sequence[Array]) -> float:
        known = each(seen)
        return float(np.nanmean(known)) if np.isfinite(known).any() else 0.0

    def parts(seen: Sequence[Array]) -> Parts:
        names = [*classes, *(str(n) for n in range(len(classes), summed(seen).shape[1]))]
        return {name: float(one) for name, one in zip(names, each(seen), strict=False) if np.isfinite(one)}

    return total, parts


def miou(setting: Setting) -> Metric:
    """Mean intersection over union of the classes that occur, over all pixels (Everingham et al., 2010)."""
    total, parts = ratios(lambda both, named, real: both / (named + real - both), setting.classes)
    return Metric("mIoU", counts, total, parts)


def dice(setting: Setting) -> Metric:
    """Mean Dice coefficient, which is F1, of the classes that occur, over all pixels."""
    total, parts = ratios(lambda both, named, real: 2 * both / (named + real), setting.classes)
    return Metric("Dice", counts, total, parts)


def pixels(setting: Setting) -> Metric:
    """Share of the pixels that are named rightly."""
    del setting

    def total(seen: Sequence[Array]) -> float:
        both, _, real = summed(seen).sum(1)
        return 100 * float(both / max(real, 1))

    return Metric("pixel accuracy", counts, total)


def check_outputs(shown: Shown) -> None:
    """There is a score for every class, at every place."""
    shape, classes = list(shown.outputs[0].shape), shown.classes
    if len(shape) != 4 or shape[0] != shown.samples or (classes and shape[1] != classes):
        raise RecipeError(
            f"the first output of {shown.builder} has shape {shape} for {shown.samples} samples, "
            f"segmentation into {classes or 'some'} classes needs [batch, {classes or 'classes'}, height, width]",
            "set the number of classes in model.arguments",
        )


def as_targets(outputs: object, setting: Setting) -> list[Tensor]:
    """The class of each place ``[h, w]``, of each image."""
    del setting
    first = outputs_of(outputs)[0]
    return [*(first.argmax(1) if first.is_floating_point() else first)]


def draw(picture: Drawn, target: Tensor, classes: Sequence[str]) -> None:
    """The mask, half transparent."""
    del classes
    picture.mask(target.numpy(), VOID)
