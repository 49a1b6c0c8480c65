"""What several sessions say together: the interval, when it is enough, the verdict."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from jetpress.deploy.runner.measure import intervals
from jetpress.deploy.runner.measure.intervals import Estimate, Rule

positive = st.floats(0.01, 100)


def session(ratio: float, noise: float = 0.001, seed: int = 0) -> intervals.Pairs:
    """Eight pairs of blocks."""
    draw = random.Random(seed)
    return [ratio * draw.gauss(1, noise) for _ in range(8)], [draw.gauss(1, noise) for _ in range(8)]


def test_the_quantiles_are_students() -> None:
    for freedom, quantile in enumerate(intervals.STUDENT, 1):
        assert quantile == pytest.approx(stats.t.ppf(0.9875, freedom), abs=1e-4)


@given(st.lists(positive, min_size=2, max_size=40), positive)
def test_an_interval_holds_its_number_and_scales_with_it(values: list[float], factor: float) -> None:
    known = intervals.over_sessions(values)
    assert min(values) * (1 - 1e-9) <= known.value <= max(values) * (1 + 1e-9)
    assert known.low <= known.value * (1 + 1e-9)
    assert known.value <= known.high * (1 + 1e-9)
    assert known.level == (95 if len(values) >= 3 else None)
    scaled = intervals.over_sessions([factor * value for value in values])
    assert scaled.value == pytest.approx(factor * known.value)
    if known.high < 1e100:
        assert scaled.high == pytest.approx(factor * known.high, rel=1e-6)


def test_one_session_is_no_95_percent() -> None:
    """Its runs may agree ever so well: they do not tell what the next process would give."""
    told = intervals.compare([session(3.0)], ())
    assert (told.level, told.verdict, told.state) == (None, "faster", "known")
    apart = intervals.compare([session(3.0), session(2.0), session(4.0)], ())
    assert apart.level == 95
    assert apart.interval[0] < 2 < 4 < apart.interval[1]


def test_the_median_of_all_runs_lies_in_its_interval() -> None:
    known = intervals.of_median([[1.0] * 100, [1.0] * 10, [3.0] * 10])
    assert known.value == 1.0
    assert known.low <= 1.0 <= known.high


@pytest.mark.parametrize(
    ("known", "enough"),
    [
        (Estimate(1.0, 0.98, 1.02, 95), True),  # narrow
        (Estimate(1.0, 0.97, 1.03, 95), False),
        (Estimate(3.0, 2.8, 3.2, 95), True),  # clear
        (Estimate(0.33, 0.31, 0.35, 95), True),  # slower as clearly
        (Estimate(3.0, 2.5, 3.6, 95), False),  # clear, and no number yet
        (Estimate(1.1, 1.05, 1.16, 95), False),  # no further from 1 than it is wide
        (Estimate(3.0, math.nan, math.nan, 95), False),
    ],
)
def test_enough(known: Estimate, enough: bool) -> None:
    assert intervals.is_enough(known) is enough


def test_when_it_is_over() -> None:
    clear, wide = [session(3.0, seed=seed) for seed in range(5)], [session(1 + 0.2 * n) for n in range(5)]
    rule = Rule(None, 60.0)
    assert not rule.is_over([clear[:4]], 4, 10.0)
    assert rule.is_over([clear], 5, 10.0)
    assert not rule.is_over([clear, wide], 5, 10.0), "every ratio has to be known"
    assert rule.is_over([wide], 5, 51.0), "the next one would end too late"
    assert not rule.is_over([wide[:2]], 2, 500.0), "three at least, however slow they are to begin"
    assert rule.is_over([wide[:3]], 3, 500.0)
    assert not rule.is_over([], 0, 0.0)
    assert rule.is_over([], 5, 10.0), "nothing to compare: five for the latency"
    assert [Rule(2, 60.0).is_over([clear], done, 500.0) for done in (1, 2)] == [False, True]


def test_what_cannot_be_said_is_unknown_with_its_reason() -> None:
    told = intervals.compare([session(1 + 0.3 * n) for n in range(-2, 3)], ())
    assert (told.verdict, told.state) == ("noise", "unknown")
    assert "too wide to say" in told.reasons[0]
    same = intervals.compare([session(1.0, seed=seed) for seed in range(5)], ())
    assert (same.verdict, same.state) == ("noise", "known"), "that there is no difference is an answer"
    throttled = intervals.compare([session(3.0, seed=seed) for seed in range(5)], ["throttled"])
    assert (throttled.verdict, throttled.state, throttled.reasons) == ("faster", "unknown", ["throttled"])
    assert throttled.ratio == pytest.approx(3.0, rel=0.01), "and is shown all the same"
