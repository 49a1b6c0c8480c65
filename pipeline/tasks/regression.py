"""Regression: numbers, of a whole image or of each place of it (depth, restoration); NaN where none is known."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from torch import Tensor
from torch.nn import functional as F

from jetpress.deploy.errors import RecipeError
from jetpress.pipeline.network.models import outputs_of
from jetpress.pipeline.tasks.drawing import Drawn
from jetpress.pipeline.tasks.metric import Metric, Setting, mean_of
from jetpress.pipeline.tasks.task import Shown

NO_ERROR = 1e-10
"""Mean square of an error that is none: 100 dB."""


def smooth_l1(outputs: object, target: Tensor, smoothing: float) -> Tensor:
    """Of the first output, of the target's shape (Girshick, 2015)."""
    del smoothing
    found, known = _values(outputs, target).float(), target.isfinite()
    return F.smooth_l1_loss(found[known], target[known].float()) if known.any() else found.sum() * 0


def _values(outputs: object, target: Tensor) -> Tensor:
    return outputs_of(outputs)[0].reshape(target.shape)


def _squares(outputs: object, target: Tensor) -> list[float]:
    error = _values(outputs, target).double() - target.double()
    squares: list[float] = error.square().reshape(len(target), -1).nanmean(1).nan_to_num(0.0).tolist()
    return squares


def _lengths(outputs: object, target: Tensor) -> list[float]:
    error = _values(outputs, target).double() - target.double()
    lengths: list[float] = error.abs().reshape(len(target), -1).nanmean(1).nan_to_num(0.0).tolist()
    return lengths


def mae(setting: Setting) -> Metric:
    """Mean absolute error, negative: higher is better."""
    del setting
    return Metric("negative mean absolute error", _lengths, lambda seen: -mean_of(seen), unit="")


def rmse(setting: Setting) -> Metric:
    """Root of the mean squared error over the data set, negative: higher is better."""
    del setting
    return Metric(
        "negative root mean squared error", _squares, lambda seen: -float(np.sqrt(mean_of(seen))), unit=""
    )


def psnr(setting: Setting) -> Metric:
    """Mean peak signal-to-noise ratio of the images in dB, for values 0 to 1."""
    del setting

    def shown(outputs: object, target: Tensor) -> list[float]:
        return [-10 * float(np.log10(max(one, NO_ERROR))) for one in _squares(outputs, target)]

    return Metric("PSNR", shown, mean_of, unit="dB")


def check_outputs(shown: Shown) -> None:
    """As many numbers as the target has."""
    first, target = shown.outputs[0], shown.target
    if isinstance(target, Tensor) and first.numel() != target.numel():
        raise RecipeError(
            f"the first output of {shown.builder} has shape {list(first.shape)}, the target {list(target.shape)}",
            "the network gives as many numbers as the data has values",
        )


def draw(picture: Drawn, target: Tensor, classes: Sequence[str]) -> None:
    """The numbers, where there are few."""
    if target.ndim <= 1:
        names = [*classes, *[""] * target.numel()]
        picture.words(
            ", ".join(f"{n} {v:.3g}".strip() for n, v in zip(names, target.flatten().tolist(), strict=False))
        )
