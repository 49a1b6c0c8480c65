"""Which range of numbers each tensor is quantized for, from what real images show in it.

Two passes over the images: the first finds the largest absolute value of every tensor, the second counts a histogram
up to it. The range then ends at a threshold:

- ``max``: the largest value seen.
- ``percentile``: that share of the values lies below it.
- ``entropy``: least Kullback-Leibler divergence between the histogram and its 128 levels (S. Migacz, 8-bit Inference
  with TensorRT, GTC 2017).
- ``mse``: least mean squared error of rounding and clipping together.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import onnx
from numpy.typing import NDArray

from jetpress.deploy.console import progress
from jetpress.pipeline.graph import session
from jetpress.pipeline.graph.session import Array, Feed, Run
from jetpress.pipeline.quantization.dialect import FP8, Dialect

BINS = 2048
"""On each side of zero."""
LEVELS = 128
"""Of an absolute value in eight bits with a sign."""
STEPS = 80
"""Thresholds that ``mse`` tries."""


@dataclass
class Seen:
    """What was seen of one tensor."""

    low: float = 0.0
    high: float = 0.0
    counts: NDArray[np.int64] | None = None
    """``[2 BINS]``: from minus to plus the largest absolute value."""
    means: list[Array] = field(default_factory=list)
    """Of each index of axis 1, for each feed: where ``Conv`` has its channels in any rank, and ``Gemm`` its inputs."""
    last_means: list[Array] = field(default_factory=list)
    """Of each index of the last axis: where ``MatMul`` has its inputs."""

    @property
    def mean(self) -> Array:
        """``[channels]``."""
        return np.asarray(np.mean(self.means, axis=0))

    @property
    def last_mean(self) -> Array:
        """``[inputs]``."""
        return np.asarray(np.mean(self.last_means, axis=0))

    @property
    def largest(self) -> float:
        """Largest absolute value."""
        return max(-self.low, self.high)

    @property
    def absolute(self) -> NDArray[np.float64]:
        """The histogram of absolute values, ``[BINS]``."""
        assert self.counts is not None
        return (self.counts[BINS:] + self.counts[:BINS][::-1]).astype(np.float64)


def look(
    model: onnx.ModelProto, names: Collection[str], feeds: Sequence[Feed], counted: bool = True
) -> dict[str, Seen]:
    """What ``names`` hold while ``feeds`` go through the graph; histograms where ``counted``."""
    run = _tensors(model, names)
    found = {name: Seen() for name in names}
    with progress("calibrating", len(feeds) * (2 if counted else 1)) as line:
        for feed in feeds:
            for name, array in run(feed).items():
                one = found[name]
                one.low, one.high = min(one.low, float(array.min())), max(one.high, float(array.max()))
                one.means.append(_means(array, min(1, array.ndim - 1)))
                one.last_means.append(_means(array, array.ndim - 1))
            line.step()
        for feed in feeds if counted else ():
            for name, array in run(feed).items():
                _count(found[name], array)
            line.step()
    return found


def _tensors(model: onnx.ModelProto, names: Collection[str]) -> Run:
    """From inputs to the named tensors; inputs of the graph are their own."""
    given = {one.name for one in model.graph.input}
    run = session.load(model, shown=[name for name in names if name not in given])

    def wanted(feed: Feed) -> dict[str, Array]:
        found = {**feed, **run(feed)}
        return {name: found[name] for name in names}

    return wanted


def _means(array: Array, axis: int) -> Array:
    others = tuple(one for one in range(array.ndim) if one != axis)
    return np.asarray(array.mean(axis=others, dtype=np.float64))


def _count(one: Seen, array: Array) -> None:
    if one.counts is None:
        one.counts = np.zeros(2 * BINS, np.int64)
    if not one.largest:
        return
    places = (array.ravel() * (BINS / one.largest) + BINS).astype(np.int32)
    one.counts += np.bincount(np.clip(places, 0, 2 * BINS - 1), minlength=2 * BINS)


def ranges(
    seen: Mapping[str, Seen], method: str, dialect: Dialect, percentile: float = 99.99
) -> dict[str, tuple[float, float]]:
    """Lowest and highest number that each tensor is quantized for."""
    found = {}
    for name, one in seen.items():
        limit = (
            one.largest if method == "max" or not one.largest else METHODS[method](one, dialect, percentile)
        )
        found[name] = (max(one.low, -limit), min(one.high, limit))
    return found


def methods(dialect: Dialect) -> list[str]:
    """Those that fit: ``entropy`` counts evenly spaced levels, and FP8 has none."""
    return ["max", *(name for name in METHODS if name != "entropy" or dialect.numbers is not FP8)]


def _percentile(one: Seen, _: Dialect, percentile: float) -> float:
    total = np.cumsum(one.absolute)
    place = int(np.searchsorted(total, total[-1] * percentile / 100))
    return one.largest * min(place + 1, BINS) / BINS


def _entropy(one: Seen, _: Dialect, __: float) -> float:
    counts = one.absolute
    counts[0] = counts[1]  # zeros need no level of their own: all quantizations have them
    divergences = {end: _divergence(counts, end) for end in range(LEVELS, BINS + 1, 8)}
    return one.largest * min(divergences, key=divergences.__getitem__) / BINS


def _divergence(counts: NDArray[np.float64], end: int) -> float:
    """Of the histogram cut at ``end`` (what lies beyond is in its last bin) from its own 128 levels."""
    whole = counts[:end].copy()
    inside = whole.copy()
    whole[-1] += counts[end:].sum()
    level = np.minimum(np.arange(end) * LEVELS // end, LEVELS - 1)
    present = inside > 0
    mass = np.bincount(level, inside, LEVELS)
    filled = np.bincount(level, present, LEVELS)
    spread = np.where(present, (mass / np.maximum(filled, 1))[level], 0.0)
    if not spread.sum():
        return float("inf")
    p, q = whole / whole.sum(), spread / spread.sum()
    at = (p > 0) & (q > 0)
    missed = p[(p > 0) & (q <= 0)].sum()
    return float((p[at] * np.log(p[at] / q[at])).sum() + missed * 10)


def _mse(one: Seen, dialect: Dialect, _: float) -> float:
    assert one.counts is not None
    centres = (np.arange(2 * BINS) - BINS + 0.5) * (one.largest / BINS)
    weights = one.counts.astype(np.float64)
    errors = {}
    for step in range(STEPS // 5, STEPS + 1):
        limit = one.largest * step / STEPS
        rounded = dialect.rounded(centres, max(one.low, -limit), min(one.high, limit))
        errors[limit] = float((weights * (rounded - centres) ** 2).sum())
    return min(errors, key=errors.__getitem__)


METHODS: dict[str, Callable[[Seen, Dialect, float], float]] = {
    "percentile": _percentile,
    "entropy": _entropy,
    "mse": _mse,
}
