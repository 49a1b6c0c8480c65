"""What may be said about a list of latencies. Pure functions, standard library only; the host uses them too.

Sources: MLPerf Inference early stopping (least number of runs per percentile, and the bound that holds with
99 % confidence), hyperfine (outliers by the median absolute deviation), trtexec (rank, CoV),
criterion (1 %).
"""

import math
import random
from statistics import median
from typing import Dict, List, NamedTuple, Optional, Sequence, Tuple

# Percentile in tenths of a percent -> the least n. Two or more runs must lie above it with 99 % confidence.
LEAST_RUNS = {500: 11, 900: 64, 950: 130, 990: 662, 999: 6636}
AGREE = 0.01  # medians closer than this are the same; smaller differences are never called
OUTLIER = 14.826  # ten standard deviations, measured by the median absolute deviation
NOISY_COV = 0.025
INVALID = 0.10  # of the median: half its 95 % interval
STOLEN = 3.0  # the median over the fastest run: then most of it is the time of somebody else
BLOCKS = 16
LEAST_PAIRS = 6  # of an interval: of five, all lie on one side of the true median once in 16 times
SPREAD_FLOOR = (
    1e-4  # of the median: a coarse clock repeats values, and then every other value would be an outlier
)


def name_of(tenths: int) -> str:
    """990 -> "p99"."""
    return "p%g" % (tenths / 10.0)


def percentiles(values: Sequence[float]) -> Dict[str, float]:
    """p50 ... p99.9, each only if there are enough runs for it, each with its upper bound (`p90_bound`)."""
    ordered, count = sorted(values), len(values)
    known: Dict[str, float] = {}
    for tenths, least in sorted(LEAST_RUNS.items()):
        if count >= least:
            above = count * (1000 - tenths) // 1000
            known[name_of(tenths)] = ordered[max(count - 1 - above, 0)]
            known[name_of(tenths) + "_bound"] = ordered[count - bound_rank(count, tenths)]
    return known


def bound_rank(count: int, tenths: int) -> int:
    """The largest k such that the k-th slowest of `count` runs is above the true percentile 99 times in 100.

    The number of runs above the true percentile is binomial; the k-th slowest is below when fewer than k are.
    Zero when even the slowest run cannot promise that.
    """
    above = 1.0 - tenths / 1000.0
    odds, total, rank = count * math.log1p(-above), 0.0, 0
    while rank < count:
        total += math.exp(odds)
        if total > 0.01:
            return rank
        odds += math.log((count - rank) / (rank + 1.0)) + math.log(above / (1.0 - above))
        rank += 1
    return rank


def cov(values: Sequence[float]) -> float:
    """Standard deviation over mean, with every outlier in it."""
    mean = sum(values) / len(values)
    variance = sum((value - mean) ** 2 for value in values) / max(len(values) - 1, 1)
    return math.sqrt(variance) / mean if mean > 0 else math.inf


def robust_cov(values: Sequence[float]) -> float:
    """The same from the median absolute deviation: how much the bulk of the runs varies."""
    middle = median(values)
    return 1.4826 * median([abs(value - middle) for value in values]) / middle if middle > 0 else math.inf


def agree(medians: Sequence[float]) -> bool:
    """Steady: the last three windows have the same median, within 1 %."""
    last = medians[-3:]
    return len(last) == 3 and max(last) - min(last) <= AGREE * median(last)


def outliers(values: Sequence[float]) -> List[int]:
    """Where the runs are that no steady machine explains. They are counted and shown, never dropped."""
    middle = median(values)
    spread = max(median([abs(value - middle) for value in values]), SPREAD_FLOOR * middle)
    return [place for place, value in enumerate(values) if abs(value - middle) > OUTLIER * spread]


def drift(values: Sequence[float]) -> Optional[float]:
    """The relative change from the first third to the last, when it is over 1 % and not chance; else None.

    Chance is judged by Spearman's rank correlation with time (p < 0.01), which one slow run cannot sway.
    """
    count = len(values)
    if count < 30:
        return None
    third = count // 3
    start, end = median(values[:third]), median(values[-third:])
    change = (end - start) / start
    return (
        change
        if abs(change) > AGREE and abs(_rank_correlation(values)) * math.sqrt(count - 1) > 2.576
        else None
    )


def _rank_correlation(values: Sequence[float]) -> float:
    """Spearman's rho between the values and their order; equal values share their mean rank."""
    count = len(values)
    order = sorted(range(count), key=lambda place: values[place])
    ranks, start = [0.0] * count, 0
    while start < count:
        stop = start
        while stop < count and values[order[stop]] == values[order[start]]:
            stop += 1
        for place in order[start:stop]:
            ranks[place] = (start + stop - 1) / 2.0
        start = stop
    middle = (count - 1) / 2.0
    shared = sum((place - middle) * (rank - middle) for place, rank in enumerate(ranks))
    mine = sum((rank - middle) ** 2 for rank in ranks)
    time = count * (count * count - 1) / 12.0
    return shared / math.sqrt(mine * time) if mine > 0 else 0.0


def bimodal(values: Sequence[float]) -> Optional[Tuple[float, float]]:
    """The centres of two modes, if the runs fall into two: Ashman's D over 4.5, each with 10 % of the runs.

    One Gaussian cut in the middle has D = 2.7, a uniform distribution 3.5: neither is called two modes.
    """
    strange = set(outliers(values))
    ordered = sorted(value for place, value in enumerate(values) if place not in strange)
    count, least = len(ordered), max(len(ordered) // 10, 3)
    if count < 30:
        return None
    base = ordered[0]  # shifted, so that the squares keep their digits
    sums, squares = [0.0], [0.0]
    for value in ordered:
        sums.append(sums[-1] + value - base)
        squares.append(squares[-1] + (value - base) ** 2)

    def between(cut: int) -> float:
        low, high = sums[cut] / cut, (sums[-1] - sums[cut]) / (count - cut)
        return cut * (count - cut) * (high - low) ** 2

    cut = max(range(least, count - least), key=between)
    low, high = sums[cut] / cut, (sums[-1] - sums[cut]) / (count - cut)
    inside = max(squares[cut] / cut - low * low, 0.0) + max(
        (squares[-1] - squares[cut]) / (count - cut) - high * high, 0.0
    )
    apart = (high - low) * math.sqrt(2.0) > 4.5 * math.sqrt(inside)
    return (base + low, base + high) if apart and high - low > AGREE * (base + low) else None


def summary(values: Sequence[float]) -> Dict[str, object]:
    """Everything that is said about one series of latencies, in its own unit."""
    facts: Dict[str, object] = {
        "n": len(values),
        "min": min(values),
        "max": max(values),
        "median": median(values),
        "mean": sum(values) / len(values),
        "cov": cov(values),
        "robust_cov": robust_cov(values),
        "drift": drift(values),
        "outliers": len(outliers(values)),
        "bimodal": bimodal(values),
    }
    facts.update(percentiles(values))
    return facts


def median_interval(values: Sequence[float], seed: int = 0) -> Tuple[float, float]:
    """The interval of the median as far as one session tells it, at 95 % of what happens inside the session.

    Bootstrap over consecutive blocks, not over single runs: what disturbs a measurement (a neighbour, a clock)
    lasts longer than one run, and single runs would be counted as if each were news.
    """
    size = max(len(values) // BLOCKS, 1)
    medians = [median(values[start : start + size]) for start in range(0, len(values) - size + 1, size)]
    draw = random.Random(seed)  # noqa: S311 - no secret
    drawn = sorted(median(draw.choices(medians, k=len(medians))) for _ in range(1000))
    return drawn[25], drawn[974]


def judge(values: Sequence[float], unsure: float) -> Tuple[List[str], List[str]]:
    """Why the median of these runs may not be quoted, and why it is only noisy.

    Not to be quoted is a median whose interval reaches 10 % to either side (`unsure`, a share). Single runs may
    spread further on a shared CPU and still have a well-known median: that is noisy, said beside the number, and
    no run is ever dropped.
    """
    invalid, noisy = [], []
    bulk, spread = robust_cov(values), cov(values)
    moved, modes = drift(values), bimodal(values)
    known = "the median is known only to within %.1f %%" % (100 * unsure)
    if not unsure < INVALID:
        invalid.append("%s (limit 10 %%)" % known)
    elif unsure > NOISY_COV:
        noisy.append(known)
    if spread > NOISY_COV:
        noisy.append(
            "CoV %.1f %% is above 2.5 %% (of the bulk: %.1f %%), %d outliers"
            % (100 * spread, 100 * bulk, len(outliers(values)))
        )
    if moved is not None:
        noisy.append("drift of %+.1f %%: clocks, heat or neighbours change while measuring" % (100 * moved))
    if modes is not None:
        noisy.append("two modes, %.4g and %.4g: a clock or a core changes while measuring" % modes)
    return invalid, noisy


def stolen(values: Sequence[float]) -> List[str]:
    """Why these runs say nothing, not even beside others: most of them stood still while others had the processor.

    It strikes the longer of two the more often: the ratio is then that of their odds, not of their work.
    """
    times = median(values) / min(values) if min(values) > 0 else 1.0
    if times < STOLEN:
        return []
    return [
        "half of the runs took at least %.1f times as long as the fastest: others had the processor" % times
    ]


class Ratio(NamedTuple):
    """How many times as fast one thing is as another in one session, with the interval of that session."""

    ratio: float
    interval: Tuple[float, float]
    pairs: int
    verdict: str


def ratio(first: Sequence[float], second: Sequence[float], seed: int = 0) -> Ratio:
    """How many times as fast the second is, from paired medians of interleaved blocks: the one rule of the house.

    The median of the pairs' ratios first / second, and its 95 % interval by bootstrap over the pairs. What both
    suffered (heat, clocks, another process) cancels inside a pair.
    """
    ratios = [above / below for above, below in zip(first, second)]  # noqa: B905 - Python 3.6
    draw = random.Random(seed)  # noqa: S311 - no secret
    drawn = sorted(median(draw.choices(ratios, k=len(ratios))) for _ in range(1000))
    value, low, high = median(ratios), drawn[25], drawn[974]
    word = verdict(low, value, high) if len(ratios) >= LEAST_PAIRS else "noise"
    return Ratio(value, (low, high), len(ratios), word)


def verdict(low: float, value: float, high: float) -> str:
    """`faster` or `slower` only when the whole interval is more than 1 % away from equal; else `noise`."""
    if not all(math.isfinite(number) for number in (low, value, high)):
        return "noise"
    return "faster" if low > 1 + AGREE else "slower" if high < 1 - AGREE else "noise"
