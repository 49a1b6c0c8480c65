"""Verdicts of a comparison: an engine against itself, a true difference of 3 %, differences below 1 %."""

from __future__ import annotations

import numpy as np
import pytest

from jetpress.benchmarks.ratio import Verdict, compare, verdict
from jetpress.benchmarks.stats import Interval

Rounds = list[list[float]]


def session(
    rng: np.random.Generator, ratio: float, noise: float = 0.025
) -> tuple[list[list[float]], list[list[float]]]:
    """64 rounds of ABBA, while the machine warms up and another program comes and goes."""
    machine = np.exp(np.linspace(0, 0.05, 64) + 0.04 * (np.arange(64) // 16 % 2))[:, None]
    first, second = (machine * rng.lognormal(0, noise, (64, 2)) for _ in range(2))
    return (10 * ratio * first).tolist(), (10 * second).tolist()


def verdicts(ratio: float, times: int, noise: float = 0.025) -> list[Verdict]:
    rng = np.random.default_rng(24)
    return [compare(*session(rng, ratio, noise), seed=i).verdict for i in range(times)]


def test_an_engine_against_itself_is_noise() -> None:
    called = verdicts(1.0, 200)
    assert len(called) - called.count("noise") <= 10


@pytest.mark.parametrize(("ratio", "word"), [(1.03, "faster"), (1 / 1.03, "slower")])
def test_three_percent_are_found(ratio: float, word: Verdict) -> None:
    assert verdicts(ratio, 200).count(word) >= 190


def test_less_than_one_percent_is_never_called_however_quiet_the_machine() -> None:
    assert set(verdicts(1.009, 50, noise=0.0005)) == {"noise"}


def test_what_both_engines_suffer_cancels() -> None:
    rng = np.random.default_rng(0)
    heat = np.linspace(1, 3, 40)[:, None]
    first, second = (heat * rng.lognormal(0, 0.01, (40, 4)) for _ in range(2))
    found = compare((2 * first).tolist(), second.tolist())
    assert found.verdict == "faster"
    assert found.rounds == 40
    assert 1.98 < found.ratio.low < 2 < found.ratio.high < 2.02


def test_one_hiccup_does_not_change_the_verdict() -> None:
    first, second = session(np.random.default_rng(5), 1.2)
    calm = compare(first, second)
    first[7] = [900.0, 1200.0]
    assert compare(first, second).verdict == calm.verdict == "faster"
    assert compare(first, second).ratio.value == pytest.approx(calm.ratio.value, rel=0.01)


@pytest.mark.parametrize(
    ("first", "second", "why"),
    [
        ([[1.0]] * 8, [[1.0]] * 7, "pair up"),
        ([[1.0]] * 5, [[1.0]] * 5, "6 samples"),
        ([[0.0]] * 8, [[1.0]] * 8, "positive"),
        ([[1.0]] * 8, [[float("nan")]] * 8, "positive"),
    ],
)
def test_series_that_cannot_be_compared_are_refused(
    first: list[list[float]], second: list[list[float]], why: str
) -> None:
    with pytest.raises(ValueError, match=why):
        compare(first, second)


@pytest.mark.parametrize(
    ("value", "low", "high", "word"),
    [
        (3.1, 2.9, 3.3, "faster"),
        (0.8, 0.7, 0.9, "slower"),
        (1.2, 0.99, 1.5, "noise"),
        (1.009, 1.008, 1.0095, "noise"),
        (0.991, 0.990, 0.992, "noise"),
        (float("nan"), 2.0, 3.0, "noise"),
        (2.0, 1.5, float("inf"), "noise"),
    ],
)
def test_verdict(value: float, low: float, high: float, word: str) -> None:
    assert verdict(Interval(value, low, high)) == word
