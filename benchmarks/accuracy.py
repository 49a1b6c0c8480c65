"""How sure points are: intervals of a mean over samples, and of the difference of two networks on the same samples."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from jetpress.benchmarks.stats import Interval

Z = 1.959964
"""Of the normal distribution: 95 % lie within so many standard deviations."""
FULL = 100.0
"""Points of a sample that is wholly right."""
LITTLE = 0.1
"""Share of the way from guessing to knowing all; below it, and where chance explains it, nothing was learnt."""
DRAWS = 200
"""Times that samples are drawn anew: enough for the 2.5 % at each end."""


def mean(points: float, samples: int) -> Interval:
    """Mean points of a split, 0 to 100, and where the true mean lies with 95 %: Wilson's score interval.

    Exact for points that are 0 or 100 (Wilson 1927); for graded ones it is too wide rather than too narrow, because
    no other points with the same mean vary more.

    Args:
        points: the mean over the samples.
        samples: how many there are, at least one.
    """
    share = min(max(points / FULL, 0.0), 1.0)
    weight = Z * Z / samples
    centre = (share + weight / 2) / (1 + weight)
    half = Z * math.sqrt(share * (1 - share) / samples + weight / (4 * samples)) / (1 + weight)
    return Interval(points, min(FULL * (centre - half), points), max(FULL * (centre + half), points))


def standard_error(points: float, samples: int) -> float:
    """Of mean points, by Wilson's interval: not zero where all of a few samples are right."""
    known = mean(points, samples)
    return (known.high - known.low) / 2 / Z


def change(before: ArrayLike, after: ArrayLike) -> Interval:
    """How many points ``after`` gains on ``before``, sample by sample, with its 95 % interval.

    Both networks see the same images, so what counts is where they differ. Two samples are added, one without a
    difference and one half each way (Agresti and Min 2005, for paired proportions): without them, two networks that
    agree on a few dozen images would be called equal for certain.

    Args:
        before: points of each sample ``[n]``, 0 to 100.
        after: the same samples in the same order.

    Raises:
        ValueError: not the same number of samples, or none.
    """
    first, second = (np.asarray(points, dtype=np.float64).ravel() for points in (before, after))
    if first.size != second.size or not first.size:
        raise ValueError(f"the same samples, at least one; got {first.size} and {second.size}")
    gained = second - first
    count = gained.size + 2
    middle = float(gained.sum()) / count
    spread = (float(np.square(gained).sum()) + FULL * FULL) / count - middle * middle
    half = Z * math.sqrt(max(spread, 0.0) / count)
    observed = float(gained.mean())
    return Interval(observed, min(middle - half, observed), max(middle + half, observed))


def redrawn(total: Callable[[Sequence[Any]], float], before: Sequence[Any], after: Sequence[Any]) -> Interval:
    """How many points ``after`` gains on ``before``, and its 95 % interval, for figures that are no mean over samples.

    The bootstrap (Efron 1979): as many samples are drawn with replacement, the same ones for both networks, and the
    figures computed anew. The same numbers are drawn each time.

    Args:
        total: what was seen of samples -> points.
        before: what was seen of each sample.
        after: the same samples in the same order.
    """
    gained = total(after) - total(before)
    draws = [
        total([after[i] for i in drawn]) - total([before[i] for i in drawn])
        for drawn in _draws(len(before), DRAWS)
    ]
    low, high = np.percentile(draws, [2.5, 97.5])
    return Interval(gained, min(float(low), gained), max(float(high), gained))


def redrawn_error(total: Callable[[Sequence[Any]], float], seen: Sequence[Any]) -> float:
    """Standard error of a figure that is no mean over samples, by the same; a few draws are enough for that."""
    return float(np.std([total([seen[i] for i in drawn]) for drawn in _draws(len(seen), DRAWS // 8)], ddof=1))


def _draws(count: int, times: int) -> Iterator[list[int]]:
    random = np.random.default_rng(0)
    return (random.integers(0, count, count).tolist() for _ in range(times))


def samples_for(drop: float) -> int:
    """How many samples tell a drop from chance; with fewer, chance alone moves the difference by more.

    Both networks see the same samples, so the standard error of the difference is ``sqrt(d / n)`` at most, where ``d``
    is the share on which they differ (McNemar 1947). With ``d`` twice the drop (one and a half of it lost, a half won),
    1.96 standard errors are no more than the drop from ``n = 2 * 1.96**2 / drop``.

    Args:
        drop: points that may be lost, 0 to 100.
    """
    return math.ceil(2 * Z * Z * FULL / drop) if drop > 0 else 0


def at_chance(points: float, samples: int, guessing: float) -> bool:
    """Whether a network seems to know nothing: guessing lies in its interval, and it is hardly better than that."""
    little = points - guessing < LITTLE * (FULL - guessing)
    return little and mean(points, samples).low <= guessing
