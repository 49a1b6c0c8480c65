"""The recipes that ship with jetpress, run: shorter, but with every key they set."""

from __future__ import annotations

from pathlib import Path

import pytest

from jetpress.benchmarks.report.record import read
from jetpress.pipeline.recipe.reading import Recipe
from jetpress.pipeline.run import run

RECIPES = Path(__file__).parents[2] / "recipes"
SHORT = (
    "train.epochs=1",
    "finetune.epochs=1",
    "prune.rounds=1",
    "benchmark.seconds=0.2",
    "benchmark.rounds=false",
    "benchmark.runs=11",
)


@pytest.mark.slow
def test_digits_pruned_and_in_int8(tmp_path: Path) -> None:
    recipe = Recipe.load(RECIPES / "digits-int8.toml", SHORT)
    found = run(recipe, "host", home=tmp_path)
    told = found.quantization
    assert told is not None
    assert told.numbers == "INT8"
    assert sum(one.int8 for one in told.layers) >= 15
    assert found.ratios.size is not None
    assert found.ratios.size > 8
    assert found.engine_built
    assert found.folder is not None
    report = read(found.folder / "report.json")
    assert report.compressed.engine_accuracy == pytest.approx(report.compressed.test, abs=5)
