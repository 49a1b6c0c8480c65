"""Keypoints: places of the same points in every image, in pixels of the network's input.

The target is ``[n, points, 5]``: x, y, whether it is there, height and width of the input. The first output is
coordinates ``[n, points, 2]`` (or 3: their confidence last), or maps ``[n, points, h, w]`` whose largest value is the
place.
"""

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
from jetpress.pipeline.tasks.metric import Metric, Parts, Setting
from jetpress.pipeline.tasks.task import Shown

NEAR = 0.1
"""Share of the extent of all points within which a point is found (PCK@0.1; Yang and Ramanan, 2013)."""
FALLOFF = 0.1
"""Of object keypoint similarity where no data set says another: twice COCO's hips."""
PERSON = (
    "nose", "left_eye", "right_eye", "left_ear", "right_ear", "left_shoulder", "right_shoulder", "left_elbow",
    "right_elbow", "left_wrist", "right_wrist", "left_hip", "right_hip", "left_knee", "right_knee", "left_ankle",
    "right_ankle",
)  # fmt: skip
"""The points of COCO, in its order."""
SPREAD = 1.5
"""Standard deviation of the maps that are learnt, in pixels of the map."""


def distance(outputs: object, target: Tensor, smoothing: float) -> Tensor:
    """Of coordinates smooth L1 in units of an eighth of the extent; of maps the mean square from a Gaussian."""
    del smoothing
    given, there = outputs_of(outputs)[0].float(), target[..., 2] > 0
    if given.ndim == 4:
        return (given - _maps(target, given)).square()[there].mean() if there.any() else given.sum() * 0
    scale = _extents(target)[:, None, None] / 8
    apart = F.smooth_l1_loss(given[..., :2] / scale, target[..., :2] / scale, reduction="none").mean(-1)
    return apart[there].mean() if there.any() else given.sum() * 0


def _maps(target: Tensor, like: Tensor) -> Tensor:
    """A Gaussian around each point, of the size of the network's own maps."""
    height, width = like.shape[-2:]
    size = target[..., 3:5]  # height and width of the input
    x = (target[..., 0] / size[..., 1] * width - 0.5)[..., None, None]
    y = (target[..., 1] / size[..., 0] * height - 0.5)[..., None, None]
    rows = torch.arange(height, device=like.device).view(1, 1, -1, 1)
    columns = torch.arange(width, device=like.device).view(1, 1, 1, -1)
    return torch.exp(-((columns - x).square() + (rows - y).square()) / (2 * SPREAD**2))


def _extents(target: Tensor) -> Tensor:
    """Longer side of what the points of each sample span, in pixels, at least 1."""
    there = target[..., 2:3] > 0
    low = torch.where(there, target[..., :2], torch.inf).amin(1)
    high = torch.where(there, target[..., :2], -torch.inf).amax(1)
    return (high - low).amax(-1).clamp_min(1.0).nan_to_num(1.0, 1.0, 1.0)


def places(outputs: object, target: Tensor) -> Tensor:
    """Where the points are named, ``[n, points, 2]`` in pixels of the input."""
    given = outputs_of(outputs)[0].float()
    if given.ndim == 3:
        return given[..., :2]
    height, width = given.shape[-2:]
    best = given.flatten(2).argmax(-1)
    size = target[..., 3:5]
    x, y = best % width, best // width
    return torch.stack([(x + 0.5) / width * size[..., 1], (y + 0.5) / height * size[..., 0]], dim=-1)


def _apart(outputs: object, target: Tensor) -> list[Array]:
    """Distance over extent of each point of each sample, NaN where it is not there."""
    apart = (places(outputs, target) - target[..., :2]).norm(dim=-1) / _extents(target)[:, None]
    return list(torch.where(target[..., 2] > 0, apart, torch.nan).cpu().numpy())


def pck(setting: Setting) -> Metric:
    """Share of the points that are found within a tenth of the extent."""

    def total(seen: Sequence[Array]) -> float:
        whole = np.stack(seen)
        known = np.isfinite(whole)
        return 100 * float((whole[known] <= NEAR).mean()) if known.any() else 0.0

    def parts(seen: Sequence[Array]) -> Parts:
        columns = zip(setting.classes, np.stack(seen).T, strict=False)
        return {name: total([column]) for name, column in columns if np.isfinite(column).any()}

    return Metric("PCK@0.1", _apart, total, parts)


def oks(setting: Setting) -> Metric:
    """Mean object keypoint similarity, the extent's square as the area: for the 17 points of COCO's persons with COCO's
    fall-off of each, otherwise with one for all."""
    falloff = falloffs(setting.classes)

    def total(seen: Sequence[Array]) -> float:
        whole = np.stack(seen).astype(np.float64)
        known = np.isfinite(whole)
        return 100 * float(np.exp(-np.square(whole / falloff)[known] / 2).mean()) if known.any() else 0.0

    return Metric("OKS", _apart, total)


def falloffs(names: Sequence[str]) -> Array:
    """Of each point, or ``[1]`` for all: twice pycocotools' sigmas where the names are those of COCO's persons."""
    from pycocotools.cocoeval import Params

    plain = tuple(name.lower().replace(" ", "_") for name in names)
    if plain != PERSON:
        return np.array([FALLOFF])
    found: Array = 2 * np.asarray(Params(iouType="keypoints").kpt_oks_sigmas, np.float64)
    return found


def check_outputs(shown: Shown) -> None:
    """Coordinates or a map for each point."""
    shape, target = list(shown.outputs[0].shape), shown.target
    points = target.shape[1] if isinstance(target, Tensor) and target.ndim == 3 else 0
    if len(shape) not in (3, 4) or shape[:2] != [shown.samples, points]:
        raise RecipeError(
            f"the first output of {shown.builder} has shape {shape} for {shown.samples} samples of {points} points",
            "it must be coordinates [batch, points, 2] or maps [batch, points, height, width]",
        )


def draw(picture: Drawn, target: Tensor, classes: Sequence[str]) -> None:
    """A dot for each point that is there."""
    del classes
    for number, (x, y, there, *_) in enumerate(target.tolist()):
        if there > 0:
            picture.point(x, y, number)
