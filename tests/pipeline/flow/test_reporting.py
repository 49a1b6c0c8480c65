"""What several rounds of pruning come to."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from jetpress.benchmarks.report.record.changes import Layer
from jetpress.pipeline.flow.reporting import _layers, _unpruned
from jetpress.pipeline.flow.rounds import Round
from jetpress.pipeline.store.artifact import Checkpoint
from jetpress.pipeline.store.facts.network import CheckpointFacts, Pruning, Width


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
        True,
        left={"a": "too small"},
        fixed={"b": "Concat"},
        refused={"c": "changed"},
        as_graph=True,
        why="loop",
    )
    found = _unpruned([kept, one_round(False, fixed={"z": "Add"})])
    assert found is not None
    assert found.fixed == {"a": "too small", "b": "Concat", "c": "changed"}
    assert found.as_graph == "loop"
    assert _unpruned([]) is None
