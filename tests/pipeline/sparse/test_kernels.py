"""What is said of sparse kernels after a build: no speed-up where TensorRT chose none."""

from __future__ import annotations

from dataclasses import replace

import pytest

from jetpress.benchmarks.report.record.networks import Ratio
from jetpress.pipeline.sparse.kernels import of_engine
from jetpress.pipeline.store.facts.device import BuiltEngine, Findings, SparseTactics

SAID = SparseTactics(5, ("a",), 2, ("a", "b"))
RATIO = Ratio(value=1.2, low=1.1, high=1.3)


def built(said: SparseTactics | None, counted: int | None = None) -> BuiltEngine:
    """An engine that may have sparse kernels: what the log says, and how many the engine itself counts."""
    return BuiltEngine(1, 1.0, (), True, Findings(0, 0, 0, 0, (), said), sparse_layers=counted)


def test_the_speed_up_is_that_against_the_same_network_without_sparse_kernels() -> None:
    told = of_engine(built(SAID, 7), RATIO)
    assert told.speed == RATIO
    assert (told.found, told.chosen, told.chosen_layers, told.why) == (5, 2, ("a", "b"), "")


@pytest.mark.parametrize(
    ("engine", "speed", "why"),
    [
        (built(replace(SAID, chosen=0)), RATIO, "for no layer"),
        (built(None, 0), RATIO, "for no layer"),
        (replace(built(None), findings=None), RATIO, "does not tell"),
        (built(SAID), None, "not measured beside"),
        (built(SAID), replace(RATIO, state="unknown", reasons=("too wide",)), "too wide"),
    ],
)
def test_no_speed_up_is_told(engine: BuiltEngine, speed: Ratio | None, why: str) -> None:
    told = of_engine(engine, speed)
    assert told.speed is None
    assert why in told.why
