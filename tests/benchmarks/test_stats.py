from __future__ import annotations

import numpy as np
import pytest

from jetpress.benchmarks.stats import bootstrap_ratio


@pytest.mark.parametrize("n", [6, 10, 25, 64])
def test_the_interval_holds_the_true_ratio_in_95_of_100(n: int) -> None:
    rng = np.random.default_rng(1)
    series = ((rng.lognormal(0, 0.1, n), rng.lognormal(0, 0.1, n)) for _ in range(200))
    intervals = [bootstrap_ratio(one, other, seed=i) for i, (one, other) in enumerate(series)]
    held = sum(i.low <= 1 <= i.high for i in intervals)
    assert held >= 0.93 * 200
    assert all(i.low <= i.value <= i.high for i in intervals)


def test_the_ratio_of_independent_series() -> None:
    rng = np.random.default_rng(2)
    found = bootstrap_ratio(rng.normal(30, 1, 200), rng.normal(10, 0.2, 100))
    assert found.low < 3 < found.high
    assert found.high - found.low < 0.2


def test_the_same_samples_and_seed_give_the_same_interval() -> None:
    samples = np.random.default_rng(3).normal(5, 1, 50).tolist()
    found = [bootstrap_ratio(samples, samples[::-1], seed=4) for _ in range(2)]
    assert found[0] == found[1]


@pytest.mark.parametrize("samples", [[], [1.0] * 5, [1.0] * 9 + [float("nan")], [1.0] * 9 + [float("inf")]])
def test_no_interval_without_six_finite_samples(samples: list[float]) -> None:
    with pytest.raises(ValueError, match="6 samples"):
        bootstrap_ratio(samples, [1.0] * 9)
    with pytest.raises(ValueError, match="6 samples"):
        bootstrap_ratio([1.0] * 9, samples)
