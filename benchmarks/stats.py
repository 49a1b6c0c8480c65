"""Statistics that only the host needs: the interval of a ratio."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

LEAST_SAMPLES = 6
"""Of an interval: of five samples, all lie on one side of the true median once in 16 times, more than 5 %."""


@dataclass(frozen=True)
class Interval:
    """An estimate, and the interval that holds the true value in 95 of 100 measurements."""

    value: float
    low: float
    high: float


def bootstrap_ratio(first: ArrayLike, second: ArrayLike, seed: int = 0) -> Interval:
    """Median of ``first`` over median of ``second``, two positive series measured independently.

    For series that were interleaved, ``jetpress.benchmarks.ratio`` is better: what both suffered cancels there. The
    same samples and seed give the same interval.

    Raises:
        ValueError: fewer than six samples, or one that is not finite.
    """
    from scipy.stats import bootstrap  # type: ignore[import-untyped]  # takes longer to import than a report to read

    series = [np.asarray(one, dtype=np.float64).ravel() for one in (first, second)]
    for one in series:
        if one.size < LEAST_SAMPLES or not np.all(np.isfinite(one)):
            raise ValueError(
                f"an interval needs at least {LEAST_SAMPLES} samples, all finite; got {one.size}"
            )
    drawn = bootstrap(series, _ratio, method="percentile", rng=np.random.default_rng(seed))
    return Interval(float(_ratio(*series)), *map(float, drawn.confidence_interval))


def _ratio(above: NDArray[np.float64], below: NDArray[np.float64], *, axis: int = -1) -> NDArray[np.float64]:
    return np.asarray(np.median(above, axis=axis) / np.median(below, axis=axis))
