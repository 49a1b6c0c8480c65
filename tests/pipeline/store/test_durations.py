from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from jetpress.deploy.targets import find
from jetpress.pipeline.recipe.reading import Recipe
from jetpress.pipeline.recipe.resolve import resolve
from jetpress.pipeline.recipe.sections.training import TrainConfig
from jetpress.pipeline.store.artifact import Checkpoint
from jetpress.pipeline.store.durations import Durations
from jetpress.pipeline.store.facts.network import CheckpointFacts, Epoch, Training
from jetpress.pipeline.store.runs import alike
from jetpress.pipeline.store.steps import Doing, Looking, Step
from jetpress.pipeline.store.store import Store


@dataclass(frozen=True)
class Config:
    text: str


def trained(epochs: int) -> Checkpoint:
    curve = tuple(Epoch(number, 1.0, 0.1, 50.0) for number in range(1, epochs + 1))
    return Checkpoint(Path("x"), CheckpointFacts(1, 1, training=Training(1, curve, "", "")))


def test_a_training_is_known_by_its_epochs(tmp_path: Path) -> None:
    durations = Durations(tmp_path, "a")
    assert durations.expected("train", "train", TrainConfig(epochs=4)) is None
    durations.note("train", "train", TrainConfig(epochs=9), trained(5), 10.0)  # stopped early
    assert durations.expected("train", "train", TrainConfig(epochs=4)) == pytest.approx(8.0)
    assert durations.expected("finetune 1", "finetune", TrainConfig(epochs=3)) == pytest.approx(6.0)
    assert durations.expected("train", "train", TrainConfig(epochs=0)) is None
    assert durations.expected("export", "export", Config("x")) is None


def test_a_step_is_known_by_itself_and_then_by_its_stage(tmp_path: Path) -> None:
    durations = Durations(tmp_path, "a")
    durations.note("prune 1", "prune", Config("x"), trained(5), 7.0)
    durations.note("prune 2", "prune", Config("y"), trained(5), 3.0)
    found = [durations.expected(name, "prune", Config("z")) for name in ("prune 1", "prune 2", "prune 3")]
    assert found == [7.0, 3.0, 3.0]


def test_another_run_tells_nothing(tmp_path: Path) -> None:
    Durations(tmp_path, "a").note("prune 1", "prune", Config("x"), trained(5), 7.0)
    assert Durations(tmp_path, "b").expected("prune 1", "prune", Config("x")) is None


@pytest.mark.parametrize("damage", ["", "{half", "[]", '{"seconds": "x", "epochs": false}', "[" * 100_000])
def test_a_damaged_note_is_none(tmp_path: Path, damage: str) -> None:
    durations = Durations(tmp_path, "a")
    durations.note("prune 1", "prune", Config("x"), trained(5), 7.0)
    for file in tmp_path.iterdir():
        file.write_text(damage)
    assert durations.expected("prune 1", "prune", Config("x")) is None


def test_alike_are_runs_of_one_recipe_network_data_and_target() -> None:
    def of(*sets: str, target: str = "host", device: str | None = None) -> str:
        return alike(resolve(Recipe.load("digits", sets), find(target)), device)

    assert of() == of("train.epochs=3", "prune.ratio=0.3")
    others = [of("data.size=48"), of("name=x"), of(target="xavier"), of(device="user@host")]
    assert len({of(), *others}) == 5


def stage(config: Config, draft: Path) -> Checkpoint:
    (draft / "text").write_text(config.text)
    return Checkpoint(draft, CheckpointFacts(1, 1))


def test_each_step_is_placed_among_those_that_are_known_now(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = Store(tmp_path / "s")

    def walk(walker: Doing | Looking) -> list[Step]:
        for name in ("one", "two", "three"):
            walker.step(name, stage, Config(name))
        return walker.steps

    durations = Durations(store.durations, "a")
    walk(Doing(store, durations=durations, outlook=lambda: walk(Looking(store, durations))))
    said = capsys.readouterr().err
    assert [line.strip() for line in said.splitlines() if "..." in line] == [
        "one ... (1 of 3)",
        "two ... (2 of 3)",
        "three ... (3 of 3)",
    ]
    again = walk(Doing(store, durations=durations, outlook=lambda: walk(Looking(store, durations))))
    assert [step.state for step in again] == ["cached"] * 3
    assert "..." not in capsys.readouterr().err
