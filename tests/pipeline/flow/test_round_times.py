"""Where the networks of the rounds are timed, and why not elsewhere."""

from __future__ import annotations

from pathlib import Path

import pytest

from jetpress.deploy.targets import find
from jetpress.pipeline.flow.round_times import Rounds, why_not
from jetpress.pipeline.flow.rounds import Round
from jetpress.pipeline.recipe.configs import Place
from jetpress.pipeline.recipe.reading import Recipe
from jetpress.pipeline.recipe.resolve import resolve
from jetpress.pipeline.store.artifact import Checkpoint, OnnxModel

NETWORK, FILE = Checkpoint(Path("network")), OnnxModel(Path("file"))
HERE = Place(None, {})


def rounds(*kept: bool) -> Rounds:
    return Rounds([Round(0.5, NETWORK, NETWORK, one) for one in kept], FILE, FILE)


@pytest.mark.parametrize(
    ("target", "asked", "place", "kept", "why"),
    [
        ("host", None, HERE, (True, False), ""),
        ("host", False, HERE, (True,), "benchmark.rounds = false"),
        ("host", None, HERE, (False, False), "no round was kept"),
        ("orin-nano", None, HERE, (True,), "benchmark.rounds = true asks for it"),
        ("orin-nano", True, HERE, (True,), ""),
        ("orin-nano", True, None, (True,), "no device"),
    ],
)
def test_where_it_takes_seconds_or_is_asked_for(
    target: str, asked: bool | None, place: Place | None, kept: tuple[bool, ...], why: str
) -> None:
    table = {"name": "r", **({} if asked is None else {"benchmark": {"rounds": asked}})}
    plan = resolve(Recipe.parse(table), find(target))
    found = why_not(plan, place, rounds(*kept))
    assert why in found
    assert bool(why) == bool(found)


def test_a_round_without_a_network_has_no_number_to_time() -> None:
    without = Round(0.1, NETWORK, None, False)
    found = Rounds([without, *rounds(True, False).all], FILE, FILE)
    assert [number for number, _ in found.trained] == [2, 3]
