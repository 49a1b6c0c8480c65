"""Classification: one class is right for each sample (or for each place of it)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from jetpress.deploy.errors import RecipeError
from jetpress.pipeline.network.models import outputs_of
from jetpress.pipeline.tasks.drawing import Drawn
from jetpress.pipeline.tasks.metric import Metric, Parts, Setting, mean_of, of_samples
from jetpress.pipeline.tasks.task import Shown


def cross_entropy(outputs: object, target: Tensor, smoothing: float) -> Tensor:
    """Of the first output ``[batch, classes, ...]``; the target is class numbers, or shares of each class."""
    scores = outputs_of(outputs)[0].float()
    if not target.is_floating_point():  # it is where classes are mixed: shares of each
        target = target.long()
    try:
        return F.cross_entropy(scores, target, label_smoothing=smoothing)
    except IndexError:
        raise RecipeError(
            f"the data has class {int(target.max())}, the network scores {scores.shape[1]} classes",
            "labels count from 0; set the number of classes in model.arguments",
        ) from None


def named(outputs: object) -> Tensor:
    """Class numbers: of the largest score along dimension 1, or those that a graph ends with."""
    first = outputs_of(outputs)[0]
    return first.argmax(1) if first.is_floating_point() else first


def top1(outputs: object, target: Tensor) -> Tensor:
    """100 where the largest score along dimension 1 is that of the right class; the mean over places."""
    right = named(outputs) == target
    each: Tensor = right.float().reshape(len(right), -1).mean(1)
    return 100 * each


def accuracy(setting: Setting) -> Metric:
    """Share of the samples whose class is named."""
    del setting
    return of_samples("accuracy", top1)


def top5(setting: Setting) -> Metric:
    """Share of the samples whose class is among the five best."""
    del setting

    def points(outputs: object, target: Tensor) -> Tensor:
        scores = outputs_of(outputs)[0]
        best = scores.topk(min(5, scores.shape[1]), dim=1).indices
        return 100 * (best == target[:, None]).any(1).float()

    return of_samples("top-5 accuracy", points)


def macro_f1(setting: Setting) -> Metric:
    """Mean F1 of the classes that occur."""

    def shown(outputs: object, target: Tensor) -> list[tuple[int, int]]:
        return list(zip(named(outputs).tolist(), target.tolist(), strict=True))

    def parts(seen: Sequence[tuple[int, int]]) -> Parts:
        from sklearn.metrics import f1_score  # takes a second to import

        found, right = np.array(seen).T
        known = sorted({*found.tolist(), *right.tolist()})
        each = f1_score(right, found, labels=known, average=None)
        names = setting.classes
        return {
            names[k] if k < len(names) else str(k): 100 * float(f) for k, f in zip(known, each, strict=True)
        }

    return Metric("macro F1", shown, lambda seen: mean_of([*parts(seen).values()]), parts)


def draw(picture: Drawn, target: Tensor, classes: Sequence[str]) -> None:
    """The name of its class."""
    number = int(target)
    picture.words(classes[number] if number < len(classes) else str(number))


def check_labels(source: str, name: str, labels: Tensor, classes: tuple[str, ...]) -> None:
    """Labels name classes; training data has at least two of them."""
    present = torch.unique(labels).tolist()
    if present[0] < 0 or (classes and present[-1] >= len(classes)):
        raise RecipeError(
            f"{source}: the {name} split has labels {present[0]} to {present[-1]} for {len(classes)} classes",
            "labels count from 0",
        )
    if name == "train" and len(present) < 2:
        only = classes[present[0]] if classes else present[0]
        raise RecipeError(
            f"the training data of {source} has one class only, {only}: nothing is to be told apart",
            "put the images of each class into a folder of their own, or set data.loss to a function",
        )


def check_outputs(shown: Shown) -> None:
    """There is a score for every class."""
    shape, classes = list(shown.outputs[0].shape), shown.classes
    if len(shape) < 2 or shape[0] != shown.samples or (classes and shape[1] != classes):
        raise RecipeError(
            f"the first output of {shown.builder} has shape {shape} for {shown.samples} samples, "
            f"the data has {classes or 'an unknown number of'} classes",
            f"set the number of classes in model.arguments, for example {{ num_classes = {classes or 10} }}",
        )


def guessing(labels: Tensor | None) -> float | None:
    """Points of always naming the most frequent class."""
    return None if labels is None else 100 * int(labels.bincount().max()) / len(labels)
