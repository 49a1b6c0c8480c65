"""A loss or a metric of the user's own that cannot work is one message, before anything is trained."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from jetpress.deploy.errors import RecipeError
from jetpress.pipeline.recipe.configs import SourceConfig
from jetpress.pipeline.stages.source import source
from tests.pipeline import small

FUNCTIONS = """
import torch

def raises(outputs, target):
    return outputs["logits"]

def nan(outputs, target):
    return outputs.sum() * float("nan")

def each(outputs, target):
    return outputs.sum(1)

def no_gradients(outputs, target):
    return torch.zeros(())

def nothing(outputs, target):
    pass

def one(outputs, target):
    return (outputs.argmax(1) == target).float().mean()

def nan_points(outputs, target):
    return torch.full((len(target),), float("nan"))

class Ratio:
    def __init__(self):
        self.seen = []
    def update(self, outputs, target):
        self.seen += (outputs.argmax(1) == target).float().tolist()
    def compute(self):
        return 100 * sum(self.seen) / len(self.seen)
"""


def given(folder: Path, **keys: str) -> SourceConfig:
    (folder / "own.py").write_text(FUNCTIONS)
    functions = {key: f"{folder / 'own.py'}:{name}" for key, name in keys.items()}
    return SourceConfig(small.model(folder), replace(small.DIGITS, **functions))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("raises", r"own\.py:raises failed on a batch: IndexError"),
        ("nan", "is nan on the first batch"),
        ("each", r"gave a tensor \[8\], no scalar with gradients"),
        ("no_gradients", r"gave a tensor \[\], no scalar with gradients"),
        ("nothing", "gave a NoneType, no scalar"),
    ],
)
def test_a_loss(tmp_path: Path, name: str, told: str) -> None:
    with pytest.raises(RecipeError, match=told):
        source(given(tmp_path, loss=name), small.draft(tmp_path, "source"))


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("raises", r"own\.py:raises failed on a batch: IndexError"),
        ("nan_points", r"own\.py:nan_points gave nan for 8 of the 8 samples of a batch"),
        ("one", r"own\.py:one gave a tensor \[\] for 8 samples"),
        ("nothing", r"own\.py:nothing gave a NoneType for 8 samples"),
    ],
)
def test_a_metric(tmp_path: Path, name: str, told: str) -> None:
    with pytest.raises(RecipeError, match=told):
        source(given(tmp_path, metric=name), small.draft(tmp_path, "source"))


def test_a_figure_over_the_whole_data_set(tmp_path: Path) -> None:
    made = source(given(tmp_path, metric="Ratio"), small.draft(tmp_path, "source"))
    assert (made.facts.measured, made.facts.mean) == ("Ratio", False)
