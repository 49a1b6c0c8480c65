"""How far two outputs differ, and how far they may: by precision.

FP32 within a relative error and top-1 equal; FP16, INT8 and FP8 by cosine and by the share of images whose class is
the same. Every channel is judged by its own size besides (:mod:`jetpress.pipeline.graph.channelwise`). NaN or Inf
anywhere fails.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch

from jetpress.deploy.errors import StageError
from jetpress.pipeline.graph.cases import IMAGES
from jetpress.pipeline.graph.channelwise import Channels
from jetpress.pipeline.graph.ends import ARGMAX, SOFTMAX
from jetpress.pipeline.graph.session import Array
from jetpress.pipeline.store.facts.onnx_file import Score

REPORT = "please report this with the network's source"


@dataclass(frozen=True)
class Limits:
    """What is the same function."""

    max_relative: float | None
    """Largest difference over the largest value; None: not judged."""
    cosine: float
    top1: float
    """Share of the real images, and of every other case in FP32."""
    tie: float
    """Two classes whose scores differ by less than this share of the largest score are a tie."""
    diverged: float
    """From which relative difference a tensor inside the graph counts as another one."""
    channel: float
    """Largest share of its own largest value that a channel may be off: in FP32 anywhere, else in the mean. Trained
    networks stay at a tenth of it; probabilities that moved by a quarter do not."""
    floor: float
    """A channel counts as no smaller than this share of the output's largest value: what channels have in common
    before they part is computed at that size."""
    edges: bool = True
    """Whether edge cases are judged beyond being finite. Ranges of INT8 are those of real images: what lies outside
    is clipped, on purpose."""
    noise: float = 0.0
    """Above 0 the precision adds noise: the cosine is the mean over the images, and classes whose scores differ by less
    than so many standard deviations of an image's noise are a tie. More noise than the cosine allows fails."""

    def allow(self, score: Score, so_far: bool = False) -> bool:
        """Whether the two runtimes are the same here. A share is one of all images, not of those ``so_far``."""
        if score.case != IMAGES and not self.edges:
            return score.finite
        near = self.max_relative is None or score.max_relative <= self.max_relative
        judged = score.case == IMAGES or self.top1 == 1  # one edge case more or less is no share of anything
        needed = self.top1 if score.needed is None else score.needed
        same = score.top1 >= needed or not judged or (so_far and needed < 1)
        cosine = score.mean_cosine if self.noise else score.cosine
        alike = cosine >= self.cosine or (so_far and self.noise > 0)
        return score.finite and near and alike and same and score.channel <= self.channel


_EIGHT_BITS = Limits(None, 0.99, 0.98, 2.0**-7, 0.2, channel=0.3, floor=2.0**-10, edges=False, noise=3.0)
LIMITS = {
    "fp32": Limits(1e-3, 0.0, 1.0, 1e-4, 1e-4, channel=1e-3, floor=2.0**-5),
    "fp16": Limits(None, 0.999, 0.99, 2.0**-10, 0.05, channel=0.1, floor=2.0**-8),
    "int8": _EIGHT_BITS,
    "fp8": _EIGHT_BITS,
}
"""Ties are what the precision cannot tell apart; FP32's relative limit is the recipe's."""


def score(
    name: str,
    case: str,
    expected: Array,
    found: Array,
    images: Score | None,
    limits: Limits,
    end: str = "",
    channels: Channels | None = None,
) -> Score:
    """Compare ``[samples, ...]`` arrays.

    Args:
        expected: what the network gives.
        images: the score on real images so far, for the scale.
        end: what the file does to what the network gives (:mod:`jetpress.pipeline.graph.ends`).
        channels: takes these samples in, where they are numbers; :func:`judged_by_channel` judges it in the end.
    """
    expected = np.atleast_1d(expected)
    chosen = found if end == ARGMAX else None
    if end == SOFTMAX:
        expected = torch.from_numpy(expected).softmax(1).numpy()
    if chosen is not None:
        scores, expected = expected, expected.argmax(1)
    if expected.shape != found.shape:
        raise StageError(
            f"output {name!r} has shape {expected.shape} in PyTorch and {found.shape} in the ONNX file",
            REPORT,
        )
    if chosen is not None:  # class numbers have no distance: what counts is how many are the same
        top1 = agreement(scores, chosen, limits.tie * float(np.abs(scores).max(initial=0)))
        finite = bool(np.isfinite(scores).all())
        # Noise is seen in the scores before the argmax, which are an output here, too.
        return Score(name, case, len(found), finite, 0.0, 0.0, 0.0, 1.0, top1, 0.0 if limits.noise else None)
    one, other = (array.astype(np.float64).reshape(len(array), -1) for array in (expected, found))
    if not (np.isfinite(one).all() and np.isfinite(other).all()):
        return Score(name, case, len(one), False, 0.0, 0.0, 0.0, 0.0, 0.0)
    if channels is not None:
        channels.add(expected, found)
    apart, largest = float(np.abs(one - other).max(initial=0)), float(np.abs(one).max(initial=0))
    scale = max(largest, images.largest if images is not None else 0.0)
    relative = apart / scale if scale else float(apart > 0)
    angles = cosines(one, other)
    noise = limits.noise * np.sqrt(np.square(one - other).mean(1)) if one.size else np.zeros(len(one))
    ties = np.maximum(limits.tie * scale, noise).reshape(-1, *[1] * (expected.ndim - 1))
    top1 = top1_of(expected, found, ties)
    low, mean = float(angles.min(initial=1)), float(angles.mean()) if len(angles) else 1.0
    return Score(name, case, len(one), True, apart, largest, relative, low, top1, mean_cosine=mean)


def judged_by_channel(score: Score, channels: Channels, limits: Limits) -> Score:
    """The score on all real images, with how far the channel is that is furthest off."""
    share, at = channels.worst(limits.floor, mean=limits.max_relative is None)
    return replace(score, channel=share, channel_at=at)


def cosines(one: Array, other: Array) -> Array:
    """Of each row ``[samples, numbers]``: 1 where both are zero, 0 where one of them is."""
    lengths = np.linalg.norm(one, axis=1), np.linalg.norm(other, axis=1)
    alike = ((lengths[0] == 0) & (lengths[1] == 0)).astype(np.float64)
    product = lengths[0] * lengths[1]
    return np.asarray(np.divide((one * other).sum(1), product, out=alike, where=product > 0))


def top1_of(expected: Array, found: Array, tie: float | Array) -> float:
    """Share of positions whose largest entry along axis 1 is the same, or as good as the same."""
    if expected.ndim < 2 or expected.shape[1] < 2 or not expected.size or expected.dtype.kind != "f":
        return 1.0
    return agreement(expected, found.argmax(1), tie)


def agreement(scores: Array, classes: Array, tie: float | Array) -> float:
    """Share of positions where the class chosen along axis 1 has the largest score, or as good as that."""
    chosen = np.take_along_axis(scores, np.expand_dims(classes.astype(np.int64), 1), axis=1)
    return float((scores.max(1, keepdims=True) - chosen <= tie).mean())


def worst(scores: list[Score]) -> Score:
    """The worst of each figure over cases or batches of one output; of top-1 the share over all."""
    return Score(
        scores[0].output,
        scores[0].case if len({one.case for one in scores}) == 1 else "all",
        sum(one.samples for one in scores),
        all(one.finite for one in scores),
        max(one.max_absolute for one in scores),
        max(one.largest for one in scores),
        max(one.max_relative for one in scores),
        min(one.cosine for one in scores),
        sum(one.top1 * one.samples for one in scores) / max(1, sum(one.samples for one in scores)),
        scores[0].needed,
        mean_cosine=sum(one.mean_cosine * one.samples for one in scores)
        / max(1, sum(one.samples for one in scores)),
        channel=(furthest := max(scores, key=lambda one: one.channel)).channel,
        channel_at=furthest.channel_at,
    )
