"""The budget's verdict, and what several rounds of pruning come to."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from jetpress.benchmarks.report import record
from jetpress.benchmarks.report.latency import summary
from jetpress.benchmarks.report.record.changes import Layer
from jetpress.pipeline.flow.reporting import _layers, _unpruned, _verdict
from jetpress.pipeline.flow.rounds import Round
from jetpress.pipeline.recipe.sections.device import BudgetConfig
from jetpress.pipeline.store.artifact import Checkpoint
from jetpress.pipeline.store.facts.network import CheckpointFacts, Pruning, Width
from tests.benchmarks.runs import bare

EMPTY = record.of(bare()).dense
percents = st.none() | st.floats(0, 100)
times = st.none() | st.lists(st.floats(0.1, 10), min_size=11, max_size=11)


@given(percents, percents, times, st.floats(0, 5), st.floats(0.1, 10))
def test_a_limit_is_met_broken_or_open(
    before: float | None, after: float | None, samples: list[float] | None, drop: float, limit: float
) -> None:
    compressed = replace(EMPTY, test=after, latency=summary(samples, 1) if samples else None)
    budget = BudgetConfig(accuracy_drop=drop, latency_ms=limit, fps=100.0)
    found = _verdict(budget, "accuracy", replace(EMPTY, test=before), compressed)
    accuracy, latency, speed = (check.met for check in found.checks)
    assert (accuracy is None) == (before is None or after is None)
    if before is not None and after is not None:
        assert accuracy == (round(before - after, 4) <= drop)
    assert latency == (sorted(samples)[5] <= limit if samples else None)
    fps = compressed.latency.fps if compressed.latency else None
    assert speed == (None if fps is None else fps >= 100)
    broken, open_ = False in (accuracy, latency, speed), None in (accuracy, latency, speed)
    assert found.met == (False if broken else None if open_ else True)


def test_a_budget_of_accuracy_alone_has_one_check_named_after_what_is_measured() -> None:
    (check,) = _verdict(BudgetConfig(), "share of right labels", EMPTY, EMPTY).checks
    assert check.what == "share of right labels drop on the test split"


def one_round(kept: bool, *layers: Width, **found: Any) -> Round:
    cut = CheckpointFacts(parameters=1, macs=1, pruning=Pruning(layers=layers, **found))
    return Round(0.5, Checkpoint(Path("x"), cut), None, kept)


def test_layers_are_told_from_the_first_to_the_last_kept_round() -> None:
    rounds = [
        one_round(True, Width("a", 32, 24), Width("b", 8, 4)),
        one_round(True, Width("a", 24, 16), Width("c", 6, 5)),
        one_round(False, Width("a", 16, 1)),
    ]
    found = {layer.name: layer for layer in _layers(rounds)}
    assert found["a"] == Layer(name="a", before=32, after=16)
    assert found["c"] == Layer(name="c", before=6, after=5)
    assert list(found) == ["a", "b", "c"]


def test_what_stays_whole_is_that_of_the_last_kept_round() -> None:
    kept = one_round(
        True, left={"a": "too small"}, fixed={"b": "Concat"}, refused=("c",), as_graph=True, why="loop"
    )
    found = _unpruned([kept, one_round(False, fixed={"z": "Add"})])
    assert found is not None
    assert found.fixed == {"a": "too small", "b": "Concat", "c": "the cut changed the function"}
    assert found.as_graph == "loop"
    assert _unpruned([]) is None
