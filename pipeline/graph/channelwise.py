"""How far each channel of an output is off, by its own size: what is small is not hidden beside what is large.

A detector's output ``[n, 4 + classes, anchors]`` holds boxes in pixels beside probabilities. A cosine over all of it,
or a difference over its largest value, sees the boxes alone: every probability may be another one. So each channel is
also judged by itself, over all real images together.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from jetpress.pipeline.graph.session import Array

FEWEST = 64
"""Values of a channel from which its own size is known."""


def axis_of(shape: tuple[int, ...]) -> int | None:
    """Where the channels of ``[n, ...]`` are: axis 1, of three axes the shorter one; None where there is one value."""
    if len(shape) < 2 or (len(shape) == 2 and shape[1] < 2):
        return None
    return 2 if len(shape) == 3 and 1 < shape[2] < shape[1] else 1


@dataclass
class Channels:
    """What was seen of one output. All figures are ``[channels]``."""

    largest: Array | None = None
    """Largest absolute value expected."""
    apart: Array | float = 0.0
    """Largest absolute difference."""
    squares: Array | float = 0.0
    """Sum of squared differences."""
    count: int = 0
    """Values of each channel."""

    def add(self, expected: Array, found: Array) -> None:
        """Take in some more samples ``[n, ...]``. An output whose channels change in number is not followed."""
        axis = axis_of(expected.shape) if expected.dtype.kind == "f" and expected.size else None
        if axis is None:
            return
        one, other = (np.moveaxis(array.astype(np.float64), axis, 0) for array in (expected, found))
        one, other = one.reshape(len(one), -1), other.reshape(len(other), -1)
        if self.largest is None:
            self.largest = np.zeros(len(one))
        if len(self.largest) != len(one):
            return
        off = np.abs(one - other)
        self.largest = np.maximum(self.largest, np.abs(one).max(1))
        self.apart = np.maximum(self.apart, off.max(1))
        self.squares = self.squares + np.square(off).sum(1)
        self.count += one.shape[1]

    def worst(self, floor: float, mean: bool) -> tuple[float, int]:
        """How far the channel furthest off is, over its own largest value; and which one that is.

        Args:
            floor: no channel counts as smaller than this share of the largest.
            mean: the difference is the root of the mean square, else the largest.
        """
        if self.largest is None or self.count < FEWEST:
            return 0.0, 0
        off = np.sqrt(self.squares / self.count) if mean else np.asarray(self.apart)
        size = np.maximum(self.largest, floor * self.largest.max())
        share = np.divide(off, size, out=np.where(off > 0, np.inf, 0.0), where=size > 0)
        at = int(share.argmax())
        return float(share[at]), at
