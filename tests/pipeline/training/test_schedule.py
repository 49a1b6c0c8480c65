from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from jetpress.pipeline.recipe.sections.training import TrainConfig
from jetpress.pipeline.store.facts.network import Epoch
from jetpress.pipeline.training.schedule import enough, factor


def curve(*points: float) -> list[Epoch]:
    return [Epoch(number, 1.0, 0.1, each) for number, each in enumerate(points, 1)]


@pytest.mark.parametrize("kind", ["cosine", "step", "constant"])
def test_warm_up_then_down(kind: Any) -> None:
    config = TrainConfig(epochs=8, schedule=kind, warmup_epochs=1.0)
    rates = [factor(config, step, 10) for step in range(80)]
    assert rates[:10] == sorted(rates[:10])
    assert 0 < rates[0] < 0.2
    assert max(rates) == rates[10] == 1.0
    assert all(a >= b for a, b in itertools.pairwise(rates[10:]))
    last = {"cosine": pytest.approx(0.0, abs=0.01), "step": pytest.approx(0.01), "constant": 1.0}[kind]
    assert rates[-1] == last


def test_a_short_training_warms_up_for_a_quarter() -> None:
    config = TrainConfig(epochs=1)
    short = [factor(config, step, 10) for step in range(10)]
    assert short.index(max(short)) == 2


@pytest.mark.parametrize("steps", [5, 40, 333])
def test_one_cycle_is_torchs(steps: int) -> None:
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    theirs = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1.0, total_steps=steps, cycle_momentum=False)
    expected = []
    for _ in range(steps):
        expected.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        theirs.step() if len(expected) < steps else None
    config = TrainConfig(epochs=1, schedule="one-cycle")
    assert [factor(config, step, steps) for step in range(steps)] == pytest.approx(expected, abs=1e-9)


def test_without_a_target_every_epoch_is_trained() -> None:
    assert not enough(curve(99, 99, 99), TrainConfig(epochs=9))


def test_the_target_must_hold_for_two_epochs() -> None:
    config = TrainConfig(epochs=9, stop_at=90)
    assert not enough(curve(91), config)
    assert not enough(curve(91, 89, 91), config)
    assert "2 epochs in a row" in enough(curve(50, 90, 91), config)
    assert not enough(curve(*[91] * 9), config)  # it is over anyhow


def test_hopeless_is_said_only_from_the_middle_on() -> None:
    config = TrainConfig(epochs=10, stop_at=90)
    flat = [20, 21, 21, 21, 21, 21]
    assert not enough(curve(*flat[:4]), config)
    assert "out of reach" in enough(curve(*flat), config)
    assert not enough(curve(20, 35, 50, 60, 68, 75), config)


@given(st.lists(st.floats(0, 100), min_size=1, max_size=12), st.floats(0, 100), st.integers(1, 12))
def test_what_is_judged_hopeless_is_far_below(points: list[float], target: float, epochs: int) -> None:
    why = enough(curve(*points), TrainConfig(epochs=epochs, stop_at=target))
    if "hopeless" in why:
        assert max(points) + 2 < target
        assert 2 * len(points) >= epochs
