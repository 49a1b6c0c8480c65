"""Is one engine faster than another? The ratio of two interleaved series, its interval, and a verdict.

Two engines measured one after the other differ by what the machine did in between. So a session measures
them in *rounds*, first and second side by side, in the order ABBA. What both suffer (heat, clocks, another
process) cancels inside a round; what is left is the spread of the rounds' ratios, and that is resampled.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, cast

import numpy as np

from jetpress.benchmarks.stats import Interval
from jetpress.deploy.runner.measure import latencies as runner

Verdict = Literal["faster", "slower", "noise"]


@dataclass(frozen=True)
class Comparison:
    """How many times as fast the second engine is: first / second, with a 95 % interval."""

    ratio: Interval
    rounds: int
    verdict: Verdict


def compare(first: Sequence[Sequence[float]], second: Sequence[Sequence[float]], seed: int = 0) -> Comparison:
    """Compare two interleaved series of latencies by the median of their rounds' ratios.

    The rule is the runner's (:func:`jetpress.deploy.runner.measure.latencies.ratio`), so board and host say the same.

    Args:
        first: the samples of each round.
        second: the same for the other engine; ``second[i]`` was measured beside ``first[i]``.
        seed: of the bootstrap: the same samples give the same interval.

    Raises:
        ValueError: rounds that do not pair up, fewer than six, or latencies that are not positive and finite.
    """
    if len(first) != len(second):
        raise ValueError(f"rounds must pair up, but there are {len(first)} and {len(second)}")
    if len(first) < runner.LEAST_PAIRS:
        raise ValueError(f"an interval needs at least {runner.LEAST_PAIRS} samples; got {len(first)} rounds")
    above, below = ([float(np.median(r)) for r in rounds] for rounds in (first, second))
    if not all(np.isfinite(x) and x > 0 for x in (*above, *below)):
        raise ValueError("latencies must be positive and finite")
    found = runner.ratio(above, below, seed)
    ratio = Interval(found.ratio, *found.interval)
    return Comparison(ratio, len(first), verdict(ratio))


def verdict(ratio: Interval) -> Verdict:
    """What may be said about the second engine; ``noise`` also where a number is not finite."""
    return cast("Verdict", runner.verdict(ratio.low, ratio.value, ratio.high))
