"""Is one engine faster than another? The ratio of two interleaved series, its interval, and a verdict.

Two engines measured one after the other differ by what the machine did in between. So a session measures
them in *rounds*, first and second side by side, in the order ABBA. What both suffer (heat, clocks, another
process) cancels inside a round; what is left is the spread of the rounds' ratios, and that is resampled.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from benchmarks.stats import Interval, bootstrap_median

Verdict = Literal["faster", "slower", "noise"]

NOISE = 0.01
"""Differences below 1 % are never called, however narrow the interval (criterion's noise threshold)."""


@dataclass(frozen=True)
class Comparison:
    """How many times as fast the second engine is: first / second, with a 95 % interval."""

    ratio: Interval
    rounds: int
    verdict: Verdict


def compare(first: Sequence[Sequence[float]], second: Sequence[Sequence[float]], seed: int = 0) -> Comparison:
    """Compare two interleaved series of latencies by the median of their rounds' ratios.

    Args:
        first: the samples of each round.
        second: the same for the other engine; ``second[i]`` was measured beside ``first[i]``.
        seed: of the bootstrap: the same samples give the same interval.

    Raises:
        ValueError: rounds that do not pair up, fewer than six, or latencies that are not positive and finite.
    """
    if len(first) != len(second):
        raise ValueError(f"rounds must pair up, but there are {len(first)} and {len(second)}")
    above, below = (np.array([np.median(r) for r in rounds]) for rounds in (first, second))
    if not np.all(np.isfinite(above) & np.isfinite(below) & (above > 0) & (below > 0)):
        raise ValueError("latencies must be positive and finite")
    ratio = bootstrap_median(above / below, seed)
    return Comparison(ratio, len(first), verdict(ratio))


def verdict(ratio: Interval) -> Verdict:
    """What may be said about the second engine.

    ``noise`` when the interval holds 1, when the difference is below 1 %, or when a number is not finite.
    """
    if not all(math.isfinite(x) for x in (ratio.value, ratio.low, ratio.high)):
        return "noise"
    if ratio.low <= 1 <= ratio.high or abs(ratio.value - 1) < NOISE:
        return "noise"
    return "faster" if ratio.value > 1 else "slower"
