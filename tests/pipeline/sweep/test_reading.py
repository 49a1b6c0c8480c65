"""SWEEP.toml and its cells: what is refused, what is one cell, what shares work."""

from __future__ import annotations

from pathlib import Path

import pytest

from jetpress.deploy.errors import RecipeError
from jetpress.pipeline.recipe.reading import Recipe
from jetpress.pipeline.sweep.cells import apart, cells
from jetpress.pipeline.sweep.pareto import best, front
from jetpress.pipeline.sweep.reading import Range, asked, load

HEAD = 'recipes = ["digits"]\ntargets = ["host", "orin-nano", "nano"]\n'


def written(folder: Path, text: str) -> Path:
    path = folder / "boards.toml"
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('recipes = ["digits"]', "targets"),
        (HEAD + "workers = 3", "there is no key 'workers'"),
        ('recipes = ["digits"]\ntargets = ["orin-nono"]', "did you mean"),
        (HEAD + '[devices]\norin = "a@b"', "devices.orin is for no target"),
        (HEAD + '[grid]\n"prune.ratio" = []', "has no values"),
        (HEAD + '[grid]\n"prune.ratio" = { from = 0, to = 1, steps = 3, log = true }', "no logarithms"),
        (HEAD + '[grid]\n"seed" = { from = 0, to = 1, steps = 50000 }', "100,000 are the most"),
        (HEAD + '[search.space]\n"prune.ratio" = { from = 0.1, to = 0.5 }', "one target"),
        (
            'recipes = ["digits"]\ntargets = ["host"]\n[search.space]\nseed = [1]',
            "no key of a recipe's table",
        ),
        ("recipes = [", "not valid TOML"),
    ],
)
def test_what_cannot_be_is_refused(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(RecipeError) as raised:
        load(written(tmp_path, text))
    assert said in str(raised.value)


def test_every_combination_is_a_cell(tmp_path: Path) -> None:
    text = (
        HEAD
        + '[set]\n"train.epochs" = 1\n[grid]\n"prune.ratio" = [0.25, 0.5]\n"build.precision" = ["auto", "int8"]\n'
    )
    path = written(
        tmp_path,
        text + '[models.net]\nbuilder = "net.py:build"\n[models.big]\nbuilder = "torchvision:resnet34"',
    )
    able, refused = cells(asked(load(path), tmp_path))
    assert len(able) + len(refused) == 2 * 2 * 2 * 3
    assert {one.asked.target for one in refused} == {"nano"}  # it has no INT8
    assert len({one.id for one in able}) == len(able)
    assert {one.recipe.model.builder for one in able} == {f"{tmp_path}/net.py:build", "torchvision:resnet34"}
    assert {one.recipe.train.epochs for one in able} == {1}
    first = able[0]
    assert first.name == "digits net ratio=0.25 precision=auto host"
    assert {one.recipe.prune.channel_multiple for one in able if one.recipe.build.precision == "auto"} == {16}
    # What it runs is what the command that is shown runs.
    (tmp_path / "again.toml").write_text(first.recipe.to_toml())
    assert Recipe.load(tmp_path / "again.toml") == first.recipe


def test_cells_that_would_wait_for_one_another_are_begun_apart(tmp_path: Path) -> None:
    text = (
        HEAD + '[set]\n"sparsify.mode" = "off"\n[grid]\n"prune.ratio" = [0.25, 0.5]\n"train.epochs" = [1, 2]'
    )
    able, _ = cells(asked(load(written(tmp_path, text)), tmp_path))
    by = {(one.recipe.prune.ratio, one.recipe.train.epochs, one.target.name): one for one in able}
    running = [by[0.25, 1, "host"]]
    assert apart(by[0.25, 1, "nano"], running) == 2
    assert apart(by[0.5, 1, "host"], running) == 1
    assert apart(by[0.25, 2, "host"], running) == 0


def test_a_range_has_both_ends() -> None:
    assert Range(0.1, 0.5, 3).values() == [0.1, 0.3, 0.5]
    assert Range(0.001, 0.1, 3, log=True).values() == [0.001, 0.01, 0.1]


def test_the_front_is_what_nothing_beats() -> None:
    points = [(90.0, 2.0), (90.0, 2.0), (89.0, 2.0), (80.0, 1.0), (95.0, 9.0)]
    assert front(points, ("maximize", "minimize")) == [0, 1, 3, 4]
    rows = [
        {"target": t, "accuracy": a, "latency_ms": ms}
        for t, a, ms in (("a", 9.0, 1.0), ("a", 8.0, 2.0), ("b", 8.0, 2.0))
    ]
    assert best([*rows, {"target": "a"}], ["accuracy", "latency"]) == [0, 2]
