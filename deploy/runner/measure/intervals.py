"""How well a ratio and a median are known, and when enough sessions were measured. Pure functions, standard library.

What disturbs a session differs from one process to the next: where its threads run, where its memory lies, who the
neighbours are. No number of runs inside one session shows that. So sessions are repeated in fresh processes, each
gives one number, and the interval is Student's t on the logarithms of these numbers. Sessions go on until the
interval is narrow, or the difference is clear. Whoever stops as soon as the numbers look good enough stops too often
on good luck; each look is therefore taken at 97.5 %, which keeps the interval that is shown at 95 % or more
(`python -m studies.calibration` counts it, for the rule as a whole).
"""

import math
from statistics import median
from typing import List, NamedTuple, Optional, Sequence, Tuple

from . import latencies

LEVEL = 95
LEAST_SESSIONS = 5
FEWEST_SESSIONS = 3  # where sessions are so slow to begin that there is no time for five
NARROW = 0.025  # half the interval, as a share
CLEAR = 0.10  # a clear difference is still no number as long as it is not known to within this
TELLS = 0.10  # an interval that wide around "equal" says nothing
# Two-sided 97.5 % quantiles of Student's t with 1 to 30 degrees of freedom; beyond, the last one is a little wide.
STUDENT = (
    (25.4517, 6.2053, 4.1765, 3.4954, 3.1634, 2.9687, 2.8412, 2.7515, 2.6850, 2.6338)
    + (2.5931, 2.5600, 2.5326, 2.5096, 2.4899, 2.4729, 2.4581, 2.4450, 2.4334, 2.4231)
    + (2.4138, 2.4055, 2.3979, 2.3909, 2.3846, 2.3788, 2.3734, 2.3685, 2.3638, 2.3596)
)

Pairs = Tuple[Sequence[float], Sequence[float]]  # medians of blocks side by side: the slower one's first


class Estimate(NamedTuple):
    """A number and its interval."""

    value: float
    low: float
    high: float
    level: Optional[int]  # 95, where it covers what differs between sessions; None: of one session alone

    def half_width(self) -> float:
        """Half the interval as a share of the number."""
        return (self.high - self.low) / 2 / self.value if self.value > 0 else math.inf


class Compared(NamedTuple):
    """How many times as fast one engine is as another."""

    ratio: float
    interval: Tuple[float, float]
    level: Optional[int]
    pairs: int
    verdict: str  # faster, slower, noise
    state: str  # known; unknown: nothing may be claimed
    reasons: List[str]  # why it is unknown
    session_ratios: List[float]


def over_sessions(values: Sequence[float]) -> Estimate:
    """The geometric mean of positive numbers, one of each session, and its interval.

    Student's t on their logarithms: at least two are needed, three for an interval that is called 95 %.
    """
    logs = [math.log(value) for value in values]
    count, mean = len(logs), sum(logs) / len(logs)
    spread = math.sqrt(sum((value - mean) ** 2 for value in logs) / (count - 1))
    reach = STUDENT[min(count - 1, len(STUDENT)) - 1] * spread / math.sqrt(count)
    level = LEVEL if count >= FEWEST_SESSIONS else None
    return Estimate(math.exp(mean), math.exp(mean - reach), math.exp(mean + reach), level)


def of_median(sessions: Sequence[Sequence[float]]) -> Estimate:
    """The median of all runs, and how well it is known from the medians of the sessions."""
    every = [value for session in sessions for value in session]
    middle = median(every)
    if len(sessions) < FEWEST_SESSIONS:
        low, high = latencies.median_interval(every)
        return Estimate(middle, low, high, None)
    known = over_sessions([median(session) for session in sessions])
    return Estimate(middle, min(known.low, middle), max(known.high, middle), known.level)


def of_ratio(sessions: Sequence[Pairs]) -> Estimate:
    """How many times as fast the second one is: of each session the median of its pairs' ratios."""
    if len(sessions) < FEWEST_SESSIONS:
        slow, fast = ([value for pairs in sessions for value in pairs[side]] for side in (0, 1))
        pooled = latencies.ratio(slow, fast)
        return Estimate(pooled.ratio, pooled.interval[0], pooled.interval[1], None)
    return over_sessions([session_ratio(pairs) for pairs in sessions])


def session_ratio(pairs: Pairs) -> float:
    """The median of the ratios of blocks that ran side by side: what both suffered cancels in each."""
    return median([slow / fast for slow, fast in zip(*pairs)])  # noqa: B905 - Python 3.6


def is_enough(known: Estimate) -> bool:
    """Narrow, or clear: further away from equal than the interval is wide. More sessions would tell nothing new."""
    half, away = known.half_width(), max(known.low - 1, 1 - known.high)
    return half <= NARROW or (half <= CLEAR and away > known.high - known.low)


class Rule(NamedTuple):
    """When there are enough sessions."""

    sessions: Optional[int]  # exactly so many; None: until it is known
    max_seconds: float  # none is begun that would end later

    def is_over(self, ratios: Sequence[Sequence[Pairs]], done: int, taken: float) -> bool:
        """`ratios`: of each ratio that is asked for the pairs of every session; `taken`: seconds of all of them."""
        if self.sessions is not None:
            return done >= self.sessions
        if done >= FEWEST_SESSIONS and taken * (done + 1) / done > self.max_seconds:
            return True
        return done >= LEAST_SESSIONS and all(is_enough(of_ratio(each)) for each in ratios)


def compare(sessions: Sequence[Pairs], faults: Sequence[str]) -> Compared:
    """The verdict on a ratio; `faults` are what went wrong with the measuring itself."""
    known, pairs = of_ratio(sessions), sum(len(slow) for slow, _ in sessions)
    word = (
        latencies.verdict(known.low, known.value, known.high) if pairs >= latencies.LEAST_PAIRS else "noise"
    )
    reasons = list(faults)
    if word == "noise" and not known.half_width() <= TELLS:
        reasons.append(
            "the ratio is known only as %.3g to %.3g: too wide to say which one is faster"
            % (known.low, known.high)
        )
    return Compared(
        ratio=known.value,
        interval=(known.low, known.high),
        level=known.level,
        pairs=pairs,
        verdict=word,
        state="unknown" if reasons else "known",
        reasons=reasons,
        session_ratios=[session_ratio(pairs) for pairs in sessions],
    )
