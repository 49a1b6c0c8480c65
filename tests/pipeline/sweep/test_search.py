"""A search with Optuna itself: what it learnt survives, hopeless trials end, earlier runs count."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from jetpress.pipeline.store.store import write_atomically
from jetpress.pipeline.sweep import records
from jetpress.pipeline.sweep.cells import Cell, cells
from jetpress.pipeline.sweep.reading import asked, load
from jetpress.pipeline.sweep.search import Search
from jetpress.pipeline.sweep.sweep import listed

optuna = pytest.importorskip("optuna", reason="the extra search")
TEXT = """
recipes = ["digits"]
targets = ["host"]
[search]
trials = 8
objectives = ["accuracy", "size"]
[search.space]
"prune.ratio" = { from = 0.1, to = 0.8 }
"prune.criterion" = ["l2", "fpgm"]
"prune.rounds" = { from = 1, to = 3, whole = true }
"""


def search(folder: Path) -> Search:
    path = folder / "s.toml"
    path.write_text(TEXT)
    place = folder / "runs" / "s-sweep-1"
    place.mkdir(parents=True, exist_ok=True)
    made = Search(load(path), place, folder)
    made.take_up()
    return made


def ended(one: Search, cell: Cell, **more: object) -> records.Record:
    """A cell's record, as if its network were the smaller and the worse the more was pruned."""
    ratio = cell.recipe.prune.ratio
    figures = {"accuracy": 99 - 20 * ratio, "size_bytes": int(1e6 * (1 - ratio))}
    record = replace(listed(cell, one.folder), state="done", figures=figures)
    return replace(record, **more)  # type: ignore[arg-type]


def next_one(of: Search) -> Cell:
    cell = of.propose()
    assert cell is not None
    return cell


def test_what_was_learnt_survives_a_kill_and_what_ran_is_proposed_again(tmp_path: Path) -> None:
    first = search(tmp_path)
    for _ in range(3):
        cell = next_one(first)
        first.tell(cell.id, ended(first, cell))
    running = next_one(first)
    again = search(tmp_path)  # another process, after the first was killed
    assert again.left() == 5
    assert next_one(again).id == running.id
    assert next_one(again).recipe.prune.rounds in (1, 2, 3)
    assert len({canonical["prune.ratio"] for t in again.study.trials if (canonical := t.params)}) == 5


def test_a_trial_below_the_median_of_those_that_remove_as_much_is_ended(tmp_path: Path) -> None:
    one = search(tmp_path)
    for ratio in (0.5, 0.6, 0.7, 0.8):
        one.study.enqueue_trial({"prune.ratio": ratio, "prune.criterion": '"l2"', "prune.rounds": 1})
        cell = next_one(one)
        assert not one.hopeless(cell.id, "fine-tuning-1", 90.0)
        one.tell(cell.id, ended(one, cell))
    for ratio, points, over in ((0.3, 80.0, True), (0.3, 95.0, False), (0.79, 80.0, False)):
        params = {"prune.ratio": ratio, "prune.criterion": '"fpgm"', "prune.rounds": 2 + over}
        one.study.enqueue_trial(params)
        cell = next_one(one)
        assert not one.hopeless(cell.id, "training-1", points)
        why = one.hopeless(cell.id, "fine-tuning-1", points)
        assert bool(why) == over
        told = one.tell(cell.id, replace(listed(cell, one.folder), state="failed", why=why))
        assert told.state == ("pruned" if over else "failed")
    states = [trial.state.name for trial in one.study.trials]
    assert states == ["COMPLETE"] * 4 + ["PRUNED", "FAIL", "FAIL"]


def test_cells_of_earlier_sweeps_are_learnt_from(tmp_path: Path) -> None:
    text = 'recipes = ["digits"]\ntargets = ["host"]\n[grid]\n"prune.ratio" = [0.3, 0.5, 0.9]\n"train.epochs" = [6, 1]'
    (tmp_path / "g.toml").write_text(text)
    able, _ = cells(asked(load(tmp_path / "g.toml"), tmp_path))
    grid = tmp_path / "runs" / "g-sweep-1"
    one = search(tmp_path)
    for cell in able:
        write_atomically(grid / "cells" / cell.id / "recipe.toml", cell.recipe.to_toml())
        records.write(grid, ended(one, cell))
    again = search(tmp_path)
    learnt = {trial.params["prune.ratio"]: trial.values for trial in again.study.trials}
    # 0.9 lies outside of the space; another training is another network
    assert learnt == {0.3: [93.0, 700000.0], 0.5: [89.0, 500000.0]}
    assert again.left() == 8


def test_trials_that_fail_count_and_the_search_comes_to_an_end(tmp_path: Path) -> None:
    one = search(tmp_path)
    for left in range(8, 0, -1):
        assert one.left() == left
        cell = next_one(one)
        one.tell(cell.id, replace(listed(cell, one.folder), state="failed", why="no such layer"))
    assert one.left() == search(tmp_path).left() == 0


def test_an_objective_that_nothing_measures_ends_the_search_at_once(tmp_path: Path) -> None:
    one = search(tmp_path)
    cell = next_one(one)
    known = ended(one, cell)
    told = one.tell(cell.id, replace(known, figures={**known.figures, "size_bytes": None}))
    assert (told.state, told.why) == ("failed", "not measured: size")
    assert one.left() == 0


def test_energy_is_an_objective(tmp_path: Path) -> None:
    (tmp_path / "e.toml").write_text(TEXT.replace('"size"', '"latency", "energy"'))
    made = Search(load(tmp_path / "e.toml"), tmp_path, tmp_path)
    figures = {"accuracy": 99.0, "latency_ms": 1.5, "energy_mj": 4.0}
    assert made._costs(figures) == [99.0, 1.5, 4.0]
    assert [one.name for one in made.study.directions] == ["MAXIMIZE", "MINIMIZE", "MINIMIZE"]
