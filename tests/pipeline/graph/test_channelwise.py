"""No channel is too small to be seen beside large ones; and honest noise of a precision is not taken for a fault."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jetpress.pipeline.graph.cases import IMAGES
from jetpress.pipeline.graph.channelwise import Channels, axis_of
from jetpress.pipeline.graph.session import Array
from jetpress.pipeline.graph.tolerance import LIMITS, judged_by_channel, score, worst

HONEST = {"fp32": 1e-6, "fp16": 2.0**-10, "int8": 0.05}
"""Noise of a precision, over a value's own size."""


def output(seed: int, last: bool = False, images: int = 4, anchors: int = 40) -> Array:
    """``[n, 4 + classes, anchors]``, or with channels last: boxes in pixels, few objects, one class absent."""
    rng = np.random.default_rng(seed)
    boxes = rng.uniform(8, 640, (images, 4, anchors))
    logits = rng.normal(-5, 1.5, (images, 6, anchors))
    logits[:, 1:, ::9] += 6 * (rng.random((images, 5, len(range(0, anchors, 9)))) < 0.5)
    made = np.concatenate([boxes, 1 / (1 + np.exp(-logits))], 1).astype(np.float32)
    return np.ascontiguousarray(made.swapaxes(1, 2)) if last else made


def allowed(kind: str, expected: Array, found: Array) -> bool:
    """Image by image, as the gate sees them."""
    limits, channels = LIMITS[kind], Channels()
    scores = [
        score("output", IMAGES, one[None], other[None], None, limits, "", channels)
        for one, other in zip(expected, found, strict=True)
    ]
    return limits.allow(judged_by_channel(replace(worst(scores), top1=1.0), channels, limits))


@pytest.mark.parametrize(
    ("shape", "axis"),
    [((2, 84, 900), 1), ((2, 900, 84), 2), ((2, 8, 4, 4), 1), ((2, 5), 1), ((2, 1), None), ((2,), None)],
)
def test_where_the_channels_are(shape: tuple[int, ...], axis: int | None) -> None:
    assert axis_of(shape) == axis


@pytest.mark.parametrize(("kind", "moved"), [("fp32", 0.25), ("fp32", 0.03), ("fp16", 0.9), ("int8", 0.9)])
def test_probabilities_beside_boxes_in_pixels(kind: str, moved: float) -> None:
    expected = output(0)
    found = expected.copy()
    found[:, 4:] = np.abs(found[:, 4:] - moved)
    assert not allowed(kind, expected, found)


@given(st.integers(0, 10_000), st.sampled_from(sorted(HONEST)), st.booleans(), st.integers(0, 9))
def test_a_channel_moved_by_much_more_than_its_noise_is_refused(
    seed: int, kind: str, last: bool, at: int
) -> None:
    """Noise multiplies what it is given: a logit's noise is a probability's, times the probability."""
    expected = output(seed, last)
    noise = np.random.default_rng(seed + 1).normal(0, HONEST[kind], expected.shape)
    found = (expected * (1 + noise)).astype(np.float32)
    assert allowed(kind, expected, found)
    channel = np.moveaxis(found, -1 if last else 1, 0)[at]
    channel += 1.5 * LIMITS[kind].channel * max(float(channel.max()), LIMITS[kind].floor * 640)
    assert not allowed(kind, expected, found)


def test_too_few_values_have_no_size_of_their_own() -> None:
    """Of four images a score that happens to be near zero tells nothing."""
    rng = np.random.default_rng(0)
    expected = rng.normal(size=(4, 100)).astype(np.float32)
    assert allowed("int8", expected, (expected + rng.normal(0, 0.05, (4, 100))).astype(np.float32))
