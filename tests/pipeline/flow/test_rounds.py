"""How much goes in each round, and which network goes on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jetpress.deploy.targets import find
from jetpress.pipeline.flow.rounds import Round, prune_in_rounds
from jetpress.pipeline.pruning.steps import Goal, goal
from jetpress.pipeline.recipe.reading import Recipe
from jetpress.pipeline.recipe.resolve import Plan, resolve
from jetpress.pipeline.recipe.sections.compression import PruneConfig
from jetpress.pipeline.stages import source
from jetpress.pipeline.store.artifact import Artifact, Checkpoint, Sensitivity
from jetpress.pipeline.store.facts.network import CheckpointFacts
from jetpress.pipeline.store.steps import Doing, Step
from jetpress.pipeline.store.store import Store
from tests.pipeline import small

FACTS = CheckpointFacts(parameters=1, macs=1)
DENSE = Checkpoint(Path("dense"), replace(FACTS, validation=90.0))


class Judging:
    """A walk whose fine-tuned networks are as good as ``accuracy`` says of the share that is gone."""

    def __init__(self, accuracy: Callable[[float], float], removes: Callable[[float], bool]) -> None:
        self.steps: list[Step] = []
        self.accuracy, self.removes = accuracy, removes
        self.shares: list[float] = []
        self.starts: list[str] = []
        self.taken: list[str] = []

    def step(self, name: str, stage: Any, config: Any, *inputs: Artifact[object]) -> Any:
        self.taken.append(name)
        if name == "regularize":
            self.config, self.inputs = config, [one.path.name for one in inputs]
            return Checkpoint(Path(name), replace(FACTS, validation=70.0, dense_validation=90.0))
        if name.startswith("prune"):
            self.shares.append(config.ratio)
            self.starts.append(inputs[0].path.name)
            return Checkpoint(Path(name), replace(FACTS, pruned=self.removes(config.ratio)))
        if name.startswith("judge"):
            return Sensitivity(Path(name))
        return Checkpoint(Path(name), replace(FACTS, validation=self.accuracy(self.shares[-1])))

    def skip(self, name: str, why: str) -> None:
        self.steps.append(Step(name, "skipped", why=why))


def plan(**prune: object) -> Plan:
    table = {"name": "r", "prune": prune, "budget": {"accuracy_drop": 1.0}}
    return resolve(Recipe.parse(table), find("host"))


def walked(
    accuracy: Callable[[float], float],
    removes: Callable[[float], bool] = lambda share: True,
    **prune: object,
) -> tuple[Judging, str, list[Round]]:
    walk = Judging(accuracy, removes)
    best, rounds = prune_in_rounds(plan(**prune), DENSE, None, walk)
    return walk, best.path.name, rounds


def test_even_steps_reach_the_goal_and_start_gently() -> None:
    walk, best, _ = walked(lambda share: 90.0, ratio=0.5, rounds=3, steps="even")
    assert walk.shares == pytest.approx([1 / 6, 1 / 3, 1 / 2], abs=1e-6)
    assert best == "finetune 3"
    assert walked(lambda share: 90.0, ratio=0.75, rounds=2, steps="even")[0].shares == [0.3, 0.75]
    assert walked(lambda share: 90.0, ratio=0.5, rounds=1)[0].shares == [0.5]


def test_the_whole_goal_comes_first_and_is_enough_where_it_can_be_borne() -> None:
    walk, best, rounds = walked(lambda share: 89.5, ratio=0.8, rounds=5)
    assert walk.shares == [0.8]
    assert best == "finetune 1"
    assert rounds[0].kept


def test_what_breaks_the_budget_is_tried_smaller_from_the_last_good_network() -> None:
    walk, best, rounds = walked(lambda share: 90.0 - 10 * share**2, ratio=0.6, rounds=4)
    assert walk.shares[0] == 0.6
    assert walk.shares[1] == pytest.approx(0.08**0.5, abs=1e-6)  # lost grows with the square: 0.8 points
    assert [one.kept for one in rounds] == [False, True, False, True]
    assert "points of validation accuracy lost" in rounds[0].why
    assert walk.shares[1] < walk.shares[3] < walk.shares[2] < 0.6
    assert walk.shares[3] == pytest.approx(0.31, abs=0.01)
    assert walk.starts == ["dense", "dense", "finetune 2", "finetune 2"]
    assert best == "finetune 4"


@settings(max_examples=200, deadline=None)
@given(
    goal=st.floats(0.05, 0.95),
    borne=st.floats(0.02, 1.0),
    power=st.floats(0.5, 6.0),
    rounds=st.integers(1, 8),
)
def test_tries_come_nearer_to_what_can_be_borne(goal: float, borne: float, power: float, rounds: int) -> None:
    """Whatever the curve, as long as more lost follows more gone: 1 point is lost at ``borne``."""
    walk, best, found = walked(lambda share: 90.0 - (share / borne) ** power, ratio=goal, rounds=rounds)
    kept, broke = 0.0, goal
    for share, one in zip(walk.shares, found, strict=True):
        assert kept <= share <= broke + 1e-6
        kept, broke = (share, broke) if one.kept else (kept, share)
    assert len(walk.shares) <= rounds
    if goal <= borne * 0.999:
        assert walk.shares == [pytest.approx(goal, abs=1e-6)]
    elif goal > borne * 1.001:
        assert broke - kept <= goal * 0.75 ** (len(walk.shares) - 1) + 1e-6
    last = max((n for n, one in enumerate(found, 1) if one.kept), default=None)
    assert best == (f"finetune {last}" if last else "dense")


def test_even_rounds_end_with_the_first_that_breaks_the_budget() -> None:
    walk, best, rounds = walked(
        lambda share: 90.0 if share < 0.3 else 80.0, ratio=0.6, rounds=4, steps="even"
    )
    assert len(walk.shares) == 2
    assert best == "finetune 1"
    assert not rounds[1].kept


def test_a_round_that_removes_nothing_is_not_trained() -> None:
    walk, best, rounds = walked(
        lambda share: 90.0, lambda share: share > 0.3, ratio=0.5, rounds=3, steps="even"
    )
    assert rounds[0].tuned is None
    assert "nothing was removed" in walk.steps[0].why
    assert best == "finetune 3"


def test_no_round_was_good() -> None:
    _, best, rounds = walked(lambda share: 50.0, ratio=0.5, rounds=3)
    assert best == "dense"
    assert not any(one.kept for one in rounds)


def test_sparse_training_comes_before_the_first_round_where_it_is_asked_for() -> None:
    walk, best, rounds = walked(
        lambda share: 90.0 if share <= 0.2 else 50.0, ratio=0.5, rounds=3, steps="even", regularize_epochs=5
    )
    assert walk.taken[:3] == ["regularize", "judge 1", "prune 1"]
    assert walk.taken.count("regularize") == 1
    assert walk.inputs == ["dense", "dense"]
    assert (walk.config.training.epochs, walk.config.strength) == (5, 0.01)
    assert walk.config.training.learning_rate == pytest.approx(0.01)  # of fine-tuning
    assert walk.starts[0] == "regularize"
    assert [one.start.path.name for one in rounds if one.start][:2] == ["regularize", "finetune 1"]
    assert best == "finetune 1"
    assert "regularize" not in walked(lambda share: 90.0, ratio=0.5, rounds=3)[0].taken


def test_a_network_that_was_trained_towards_pruning_in_vain_is_not_kept() -> None:
    """The accuracy that it lost is measured against the dense network, and the next round begins with it again."""
    walk, best, rounds = walked(lambda share: 50.0, ratio=0.5, rounds=2, regularize_epochs=1)
    assert best == "dense"
    assert walk.starts == ["regularize", "regularize"]
    assert "40.00 points" in rounds[0].why


def test_sensitivity_is_measured_once_for_all_goals(tmp_path: Path) -> None:
    """It depends on the network, the criterion and what may go, and on nothing else."""
    walk = Doing(Store(tmp_path / "store"))
    data = replace(small.DIGITS, batch_size=512)
    sources = [
        walk.step(f"source {seed}", source.source, source.SourceConfig(small.model(tmp_path), data, seed))
        for seed in (0, 1)
    ]

    def states(dense: Checkpoint = sources[0], **prune: object) -> dict[str, str]:
        so_far = len(walk.steps)
        common = {"rounds": 1, "channel_multiple": 4, "sensitivity_images": 8, "scope": "measured"}
        table = {"name": "r", "prune": common | prune, "finetune": {"epochs": 0}}
        prune_in_rounds(resolve(Recipe.parse(table), find("host")), dense, None, walk)
        return {one.name: one.state for one in walk.steps[so_far:]}

    assert states(macs=0.3) == {"judge 1": "ran", "prune 1": "ran", "finetune 1": "ran"}
    assert states(macs=0.6) == {"judge 1": "cached", "prune 1": "ran", "finetune 1": "ran"}
    assert states(params=0.6, limits={"conv1.*": 0.2})["judge 1"] == "cached"
    for other in ({"criterion": "l1"}, {"ignore": ["conv1.*"]}, {"scope": "uniform"}, {"dense": sources[1]}):
        assert states(macs=0.3, **other)["judge 1"] == "ran"  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("prune", "dense_ms", "expected"),
    [
        ({"ratio": 0.4}, None, Goal("ratio", 0.4)),
        ({"macs": 0.6}, None, Goal("macs", 0.6)),
        ({"params": 0.9}, 5.0, Goal("params", 0.9)),
        ({"latency": 0.3}, None, Goal("latency", 0.3)),
        ({"latency_ms": 2.0}, 8.0, Goal("latency", 0.75)),
        ({"latency_ms": 9.0}, 8.0, Goal("latency", 0.0)),
        ({"fps": 500.0}, 16.0, Goal("latency", 0.5)),
        ({"latency_ms": 4.0, "fps": 2000.0, "latency": 0.1}, 8.0, Goal("latency", 0.75)),
        ({"params": 0.6, "latency": 0.5}, None, Goal("latency", 0.5, {"params": 0.6})),
        ({"params": 0.6, "macs": 0.4}, None, Goal("macs", 0.4, {"params": 0.6})),
        ({"params": 0.6, "latency_ms": 9.0}, 8.0, Goal("params", 0.6, {"latency": 0.0})),
    ],
)
def test_goals_are_shares(prune: dict[str, float], dense_ms: float | None, expected: Goal) -> None:
    config = PruneConfig(**prune)  # type: ignore[arg-type]
    assert goal(config, 4, dense_ms) == expected
    assert config.needs_time == ("latency" in (expected.kind, *expected.also))
    at = expected.at(config, expected.share / 2)
    for kind, share in {expected.kind: expected.share, **expected.also}.items():
        assert getattr(at, kind) == share / 2
    assert at.latency_ms is None
    assert at.fps is None
