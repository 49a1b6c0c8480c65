"""From the bundle to the numbers: when a measurement is taken again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from jetpress import Recipe
from jetpress.deploy.targets import find
from jetpress.pipeline.recipe.configs import Place
from jetpress.pipeline.recipe.resolve import resolve
from jetpress.pipeline.run import on_device
from jetpress.pipeline.store.artifact import Bundle, Checkpoint, Inference, Measurement
from jetpress.pipeline.store.facts.network import CheckpointFacts
from jetpress.pipeline.store.steps import Step


class Remembering:
    """A walk whose benchmarks are prepared: each told state, in turn, and whether the store had it."""

    def __init__(self, folder: Path, *told: tuple[str, str]) -> None:
        self.folder, self.told, self.steps, self.asked = folder, list(told), list[Step](), list[int]()

    def step(self, name: str, stage: object, config: Any, *inputs: object) -> Any:
        if name != "benchmark":
            return Inference(self.folder)
        state, ratio = self.told.pop(0)
        self.asked.append(config.attempt)
        self.steps.append(Step(name, state))
        place = self.folder / f"{len(self.asked)}"
        place.mkdir()
        event = {"event": "ratio", "of": "compressed", "against": "dense", "ratio": 1.0, "level": 95}
        told = {
            **event,
            "interval": [0.5, 2.0],
            "verdict": "noise",
            "state": ratio,
            "reasons": ["too wide"],
            "sessions": 5,
        }
        (place / "bench.json").write_text(json.dumps([told]))
        return Measurement(place)


@pytest.mark.parametrize(
    ("told", "asked"),
    [
        ([("cached", "known")], [0]),
        ([("ran", "unknown")], [0]),
        ([("will run", "unknown")], [0]),
        ([("cached", "unknown"), ("ran", "unknown")], [0, 1]),
        ([("cached", "unknown"), ("cached", "unknown"), ("cached", "known")], [0, 1, 2]),
    ],
)
def test_what_did_not_tell_is_measured_again_by_the_next_run(
    told: list[tuple[str, str]], asked: list[int], tmp_path: Path
) -> None:
    walk = Remembering(tmp_path, *told)
    tested = Checkpoint(tmp_path, CheckpointFacts(1, 2))
    made = on_device(
        resolve(Recipe.load("digits"), find("host")), Place(None, {}), Bundle(tmp_path), tested, walk
    )
    assert walk.asked == asked
    assert made.numbers == Measurement(tmp_path / str(len(asked)))
