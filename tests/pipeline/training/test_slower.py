"""How often, and at which rates, a training is begun."""

from __future__ import annotations

from dataclasses import replace

import pytest

from jetpress.deploy.errors import StageError
from jetpress.pipeline.recipe.sections.training import TrainConfig
from jetpress.pipeline.store.facts.network import Training
from jetpress.pipeline.training.fit import Fit
from jetpress.pipeline.training.slower import at_a_rate_it_bears
from tests.equivalence.networks import network

ASKED = TrainConfig(learning_rate=0.02)


def rates(asked: TrainConfig, *best_epochs: int | None, worth: bool = True) -> list[tuple[float, str]]:
    """Of the trainings that are begun where each ends with this best epoch; None: it diverges."""
    begun = list[tuple[float, str]]()

    def train(how: TrainConfig, name: str) -> Fit:
        begun.append((how.learning_rate, name))
        best = best_epochs[len(begun) - 1]
        if best is None:
            raise StageError("the training diverged")
        return Fit(90.0, Training(best, (), "float32", ""))

    try:
        _, rate = at_a_rate_it_bears(network("cnn"), asked, train, worth=worth)
        assert rate == begun[-1][0]
    except StageError:
        begun.append((0.0, "error"))
    return begun


@pytest.mark.parametrize(
    ("best_epochs", "worth", "expected"),
    [
        ((2,), True, [0.02]),
        ((0, 1), True, [0.02, 0.002]),
        ((0, 0), True, [0.02, 0.002]),
        ((0,), False, [0.02]),
        ((None, 1), False, [0.02, 0.002]),
        ((None, None), True, [0.02, 0.002, 0.0]),
    ],
)
def test_the_second_is_at_a_tenth(
    best_epochs: tuple[int | None, ...], worth: bool, expected: list[float]
) -> None:
    begun = rates(ASKED, *best_epochs, worth=worth)
    assert [rate for rate, _ in begun] == pytest.approx(expected)
    assert [name for _, name in begun][:2] == ["first", "second"][: len(expected)]


@pytest.mark.parametrize("best_epoch", [0, None])
def test_a_trainer_of_ones_own_is_called_once(best_epoch: int | None) -> None:
    begun = rates(replace(ASKED, trainer="my.py:train"), best_epoch)
    assert [name for _, name in begun] == ["first", "error"][: 1 + (best_epoch is None)]
