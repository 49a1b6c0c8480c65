"""What the runner says about latencies, on simulated series."""

from __future__ import annotations

import random
from bisect import bisect_right

import pytest

from jetpress.deploy.runner.measure import intervals, latencies


def clean(draw: random.Random, count: int = 300, noise: float = 0.01) -> list[float]:
    return [draw.gauss(1.0, noise) for _ in range(count)]


@pytest.mark.parametrize(
    ("count", "said"),
    [
        (10, set()),
        (11, {"p50"}),
        (63, {"p50"}),
        (64, {"p50", "p90"}),
        (661, {"p50", "p90", "p95"}),
        (662, {"p50", "p90", "p95", "p99"}),
        (6635, {"p50", "p90", "p95", "p99"}),
        (6636, {"p50", "p90", "p95", "p99", "p99.9"}),
    ],
)
def test_percentiles_need_their_runs(count: int, said: set[str]) -> None:
    found = latencies.percentiles([float(value) for value in range(count)])
    assert {name for name in found if not name.endswith("_bound")} == said


def test_least_runs_are_those_of_two_slower_runs() -> None:
    """MLPerf's numbers are the least n at which one run may be above the bound; we derive the same ones."""
    for tenths, least in latencies.LEAST_RUNS.items():
        assert (latencies.bound_rank(least - 1, tenths), latencies.bound_rank(least, tenths)) == (1, 2)


@pytest.mark.parametrize(("tenths", "count"), [(500, 11), (900, 64), (900, 500), (990, 662)])
def test_bound_holds_in_99_of_100_sessions(tenths: int, count: int) -> None:
    """The true percentile of a uniform latency is known; the bound must be above it in 99 % of sessions."""
    draw, trials = random.Random(tenths + count), 10_000 if count < 100 else 2_000
    rank = latencies.bound_rank(count, tenths)
    true = tenths / 1000
    held = 0
    for _ in range(trials):
        above = sum(draw.random() > true for _ in range(count))
        held += above >= rank
    assert held >= 0.985 * trials


def test_percentile_is_trtexecs() -> None:
    values = [float(value) for value in range(1, 101)]
    assert latencies.percentiles(values)["p90"] == sorted(values)[max(100 - 1 - 10, 0)]


def test_drift_is_found_and_clean_series_are_not_flagged() -> None:
    found = sum(
        latencies.drift(
            [value * (1 + 0.05 * place / 300) for place, value in enumerate(clean(random.Random(seed)))]
        )
        is not None
        for seed in range(100)
    )
    false = sum(latencies.drift(clean(random.Random(seed))) is not None for seed in range(100))
    assert found >= 99
    assert false <= 5


def test_two_modes_are_found_and_one_is_not() -> None:
    def two(seed: int) -> list[float]:
        draw = random.Random(seed)
        return [draw.gauss(1.0 if draw.random() < 0.7 else 1.1, 0.01) for _ in range(300)]

    assert sum(latencies.bimodal(two(seed)) is not None for seed in range(100)) >= 99
    assert sum(latencies.bimodal(clean(random.Random(seed))) is not None for seed in range(100)) <= 5
    skewed = [1 + 0.05 * random.Random(seed).expovariate(1) for seed in range(300)]
    assert latencies.bimodal(skewed) is None


def test_an_outlier_is_counted_and_kept() -> None:
    values = clean(random.Random(1))
    values[7] = 10.0
    said = latencies.summary(values)
    assert said["outliers"] == 1
    assert latencies.outliers(values) == [7]
    assert said["max"] == 10.0
    assert said["n"] == 300


def test_a_coarse_clock_makes_no_outliers() -> None:
    assert latencies.outliers([1.0] * 90 + [1.0005] * 10) == []


@pytest.mark.parametrize(
    ("medians", "steady"),
    [
        ([1.0, 1.0], False),
        ([2.0, 1.0, 1.005, 1.009], True),
        ([1.0, 1.0, 1.02], False),
        ([1.5, 1.2, 1.1], False),
    ],
)
def test_steady(medians: list[float], steady: bool) -> None:
    assert latencies.agree(medians) is steady


def judged(values: list[float]) -> tuple[list[str], list[str]]:
    """One session alone."""
    return latencies.judge(values, intervals.of_median([values]).half_width())


def test_judgement() -> None:
    draw = random.Random(3)
    assert judged(clean(draw)) == ([], [])
    invalid, noisy = judged(clean(draw, noise=0.05))
    assert not invalid
    assert "CoV" in noisy[0]
    invalid, noisy = judged(clean(draw, noise=0.15))
    assert not invalid  # it spreads, but its median is well known
    assert any("CoV 1" in reason for reason in noisy)
    disturbed = [value * 2 if start // 20 % 2 else value for start, value in enumerate(clean(draw))]
    assert "known only to within" in judged(disturbed)[0][0]
    spiked = clean(draw)
    spiked[5] = 500.0
    invalid, noisy = judged(spiked)
    assert not invalid
    assert "1 outliers" in noisy[0]


@pytest.mark.parametrize(("share", "stolen"), [(0.3, False), (0.7, True)])
def test_runs_that_others_stole_say_nothing(share: float, stolen: bool) -> None:
    """Of 2.5 ms, with pauses of 40: measured beside twenty programs, as 34 times the time of 1.25 ms."""
    draw = random.Random(0)
    runs = [draw.gauss(2.5, 0.05) + (40.0 if draw.random() < share else 0.0) for _ in range(200)]
    assert bool(latencies.stolen(runs)) is stolen


def test_same_engine_is_noise_and_three_percent_is_found() -> None:
    def verdict(seed: int, gain: float) -> str:
        draw = random.Random(seed)
        heat = [
            draw.gauss(1, 0.02) for _ in range(16)
        ]  # shared by both models of a round: interleaving cancels it
        slow = [draw.gauss(1.0, 0.005) * warm for warm in heat]
        fast = [draw.gauss(1.0 / gain, 0.005) * warm for warm in heat]
        return str(latencies.ratio(slow, fast).verdict)

    assert sum(verdict(seed, 1.0) != "noise" for seed in range(100)) <= 5
    assert sum(verdict(seed, 1.005) != "noise" for seed in range(40)) <= 2
    assert sum(verdict(seed, 1.03) == "faster" for seed in range(40)) >= 38
    assert sum(verdict(seed, 0.97) == "slower" for seed in range(40)) >= 38


def test_ranks_share_ties() -> None:
    values = [3.0, 1.0, 3.0, 2.0] * 20
    ordered = sorted(values)
    assert bisect_right(ordered, 1.0) == 20
    assert latencies.drift(values) is None
