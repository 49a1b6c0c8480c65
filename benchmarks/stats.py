"""Statistics that only the host needs: the interval of a ratio, and the summary of a series of latencies.

Percentiles, outliers and whether a series is steady are the runner's own (``deploy/runner/latencies.py``): the
host uses the same code, so that both print the same numbers.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from jetpress.deploy.runner import latencies as runner

LEAST_SAMPLES = 6
"""Of an interval: of five samples, all lie on one side of the true median once in 16 times, more than 5 %."""


@dataclass(frozen=True)
class Interval:
    """An estimate, and the interval that holds the true value in 95 of 100 measurements."""

    value: float
    low: float
    high: float


def summary(samples_ms: Sequence[float], batch: int) -> dict[str, Any]:
    """The latency of an engine as the report shows it: milliseconds, CoV in percent, samples per second.

    A percentile is there only if there are enough samples for it.
    """
    if not samples_ms:
        raise ValueError("no samples")
    mean = math.fsum(samples_ms) / len(samples_ms)
    shown = {k: v for k, v in runner.percentiles(samples_ms).items() if not k.endswith("_bound")}
    return {
        "n": len(samples_ms),
        "mean": mean,
        "min": min(samples_ms),
        "max": max(samples_ms),
        **shown,
        "cov": 100 * runner.cov(samples_ms),
        "outliers": len(runner.outliers(samples_ms)),
        "fps": 1000 * batch / mean,
    }


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
