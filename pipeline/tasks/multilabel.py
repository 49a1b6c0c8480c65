"""Multi-label classification: each of several labels is right or wrong by itself."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from jetpress.deploy.errors import RecipeError
from jetpress.pipeline.graph.session import Array
from jetpress.pipeline.network.models import outputs_of
from jetpress.pipeline.tasks.drawing import Drawn
from jetpress.pipeline.tasks.metric import Metric, Parts, Setting, of_samples
from jetpress.pipeline.tasks.task import Shown


def binary_cross_entropy(outputs: object, target: Tensor, smoothing: float) -> Tensor:
    """Of the first output ``[n, labels]``, scores before a sigmoid; the target is 0 or 1 for each."""
    scores, wanted = outputs_of(outputs)[0].float(), target.float()
    return F.binary_cross_entropy_with_logits(scores, wanted * (1 - smoothing) + smoothing / 2)


def counts(outputs: object, target: Tensor) -> list[Array]:
    """For each sample ``[3, labels]``: named and there, named, there."""
    named, there = outputs_of(outputs)[0] > 0, target > 0.5
    return list(torch.stack([named & there, named, there], dim=1).cpu().numpy())


def f1(setting: Setting) -> Metric:
    """Mean F1 of the labels that occur (macro), labels named where their score is above zero."""

    def each(seen: Sequence[Array]) -> Array:
        both, named, there = np.stack(seen).astype(np.float64).sum(axis=0)
        with np.errstate(invalid="ignore", divide="ignore"):
            found: Array = np.where(named + there > 0, 200 * both / (named + there), np.nan)
        return found

    def total(seen: Sequence[Array]) -> float:
        known = each(seen)
        return float(np.nanmean(known)) if np.isfinite(known).any() else 0.0

    def parts(seen: Sequence[Array]) -> Parts:
        return {
            name: float(one)
            for name, one in zip(setting.classes, each(seen), strict=False)
            if np.isfinite(one)
        }

    return Metric("F1", counts, total, parts)


def right_labels(setting: Setting) -> Metric:
    """Share of the labels that are right."""
    del setting
    return of_samples(
        "share of right labels",
        lambda outputs, target: 100 * ((outputs_of(outputs)[0] > 0) == (target > 0.5)).float().mean(1),
    )


def check_outputs(shown: Shown) -> None:
    """A score for each label."""
    shape, wanted = list(shown.outputs[0].shape), list(getattr(shown.target, "shape", ()))
    if shape != wanted:
        raise RecipeError(
            f"the first output of {shown.builder} has shape {shape}, the labels have {wanted}",
            "set the number of labels in model.arguments; each label of a sample is 0 or 1",
        )


def draw(picture: Drawn, target: Tensor, classes: Sequence[str]) -> None:
    """The names of its labels."""
    picture.words(
        ", ".join(classes[n] if n < len(classes) else str(n) for n in target.nonzero().flatten().tolist())
    )
