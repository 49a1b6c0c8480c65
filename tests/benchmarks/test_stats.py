from __future__ import annotations

import numpy as np
import pytest

from jetpress.benchmarks.stats import _medians, bootstrap_median, bootstrap_ratio


@pytest.mark.parametrize("n", [7, 8, 31, 64])
def test_one_beta_draw_stands_for_one_resampled_series(n: int) -> None:
    rng = np.random.default_rng(n)
    series = np.sort(rng.lognormal(0, 0.3, n))
    drawn, ours = np.sort(np.median(rng.choice(series, (10_000, n)), axis=1)), np.sort(_medians(series, rng))
    ours, drawn = np.round(ours, 9), np.round(drawn, 9)
    grid = np.unique(drawn)
    shares = [np.searchsorted(found, grid, side="right") / found.size for found in (ours, drawn)]
    assert np.abs(shares[0] - shares[1]).max() < 0.025


@pytest.mark.parametrize("n", [6, 10, 25, 64])
def test_the_interval_holds_the_true_median_in_95_of_100(n: int) -> None:
    rng = np.random.default_rng(1)
    intervals = [bootstrap_median(rng.lognormal(0, 0.1, n), seed=i) for i in range(400)]
    held = sum(i.low <= 1 <= i.high for i in intervals)
    assert held >= 0.93 * 400
    assert all(i.low <= i.value <= i.high for i in intervals)


def test_the_ratio_of_independent_series() -> None:
    rng = np.random.default_rng(2)
    found = bootstrap_ratio(rng.normal(30, 1, 200), rng.normal(10, 0.2, 100))
    assert found.low < 3 < found.high
    assert found.high - found.low < 0.2


def test_the_same_samples_and_seed_give_the_same_interval() -> None:
    samples = np.random.default_rng(3).normal(5, 1, 50).tolist()
    assert bootstrap_median(samples, seed=4) == bootstrap_median(samples, seed=4)


def test_a_long_series_is_no_burden() -> None:
    found = bootstrap_median(np.random.default_rng(0).normal(5, 1, 1_000_000))
    assert found.high - found.low < 0.01


@pytest.mark.parametrize("samples", [[], [1.0] * 5, [1.0] * 9 + [float("nan")], [1.0] * 9 + [float("inf")]])
def test_no_interval_without_six_finite_samples(samples: list[float]) -> None:
    with pytest.raises(ValueError, match="6 samples"):
        bootstrap_median(samples)
