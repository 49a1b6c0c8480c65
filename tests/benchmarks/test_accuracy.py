from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jetpress.benchmarks import accuracy

points = st.sampled_from([0.0, 100.0])


@pytest.mark.parametrize(("share", "samples"), [(0.5, 36), (0.9, 36), (0.97, 269), (0.1, 1000)])
def test_the_interval_holds_the_true_accuracy_in_95_of_100(share: float, samples: int) -> None:
    rng = np.random.default_rng(1)
    means = 100 * rng.binomial(samples, share, 2000) / samples
    held = np.mean([(i := accuracy.mean(m, samples)).low <= 100 * share <= i.high for m in means])
    assert held >= 0.93


@pytest.mark.parametrize("samples", [36, 269, 2000])
@pytest.mark.parametrize(("worse", "better"), [(0.0, 0.0), (0.02, 0.02), (0.05, 0.01)])
def test_the_interval_holds_the_true_change_in_95_of_100(samples: int, worse: float, better: float) -> None:
    rng = np.random.default_rng(2)
    held = 0
    for _ in range(500):
        drawn = rng.random(samples)
        before = np.where(drawn < better, 0.0, 100.0)
        after = np.where(drawn > 1 - worse, 0.0, 100.0)
        change = accuracy.change(before, after)
        held += change.low <= 100 * (better - worse) <= change.high
    assert held >= 0.94 * 500


@given(st.lists(points, min_size=1, max_size=40), st.randoms())
def test_a_change_is_inside_its_interval_and_turns_with_its_sides(
    before: list[float], random: object
) -> None:
    after = list(before)
    random.shuffle(after)  # type: ignore[attr-defined]
    one, other = accuracy.change(before, after), accuracy.change(after, before)
    assert one.low <= one.value <= one.high
    assert one.low == pytest.approx(-other.high)
    assert one.high > one.low  # equal on a few images is not equal for certain


@given(st.floats(0, 100), st.integers(1, 10**6))
def test_an_accuracy_lies_in_its_interval_within_0_and_100(mean: float, samples: int) -> None:
    found = accuracy.mean(mean, samples)
    assert -1e-9 <= found.low <= mean <= found.high <= 100 + 1e-9


def test_known_values() -> None:
    found = accuracy.mean(90.0, 10)  # Wilson's interval of 9 of 10, as statsmodels gives it
    assert (round(found.low, 2), round(found.high, 2)) == (59.58, 98.21)


def test_one_network_against_itself_needs_the_same_images() -> None:
    with pytest.raises(ValueError, match="same samples"):
        accuracy.change([100.0], [100.0, 0.0])


def test_how_many_images_a_budget_needs() -> None:
    assert accuracy.samples_for(1.0) == 769
    assert accuracy.samples_for(3.0) == 257
    change = accuracy.change(*_differing(accuracy.samples_for(1.0), 0.02))
    assert change.high - change.value == pytest.approx(1.0, rel=0.05)


def _differing(samples: int, share: float) -> tuple[list[float], list[float]]:
    """As many samples won as lost, on a share of all."""
    each = round(samples * share / 2)
    same = [100.0] * (samples - 2 * each)
    return [0.0] * each + [100.0] * each + same, [100.0] * each + [0.0] * each + same


def test_chance_is_known_by_the_interval() -> None:
    assert accuracy.at_chance(12.0, 269, guessing=11.0)
    assert not accuracy.at_chance(97.0, 269, guessing=11.0)
    assert accuracy.at_chance(52.0, 36, guessing=50.0)
    assert not accuracy.at_chance(52.0, 36_000, guessing=50.0)
    assert not accuracy.at_chance(97.0, 36, guessing=95.0)  # few images cannot tell, but most is learnt
