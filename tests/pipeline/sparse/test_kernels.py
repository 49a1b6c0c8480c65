"""What is said of sparse kernels after a build: no speed-up where TensorRT chose none."""

from __future__ import annotations

from dataclasses import replace

import pytest

from jetpress.deploy.device.events import Event, Ratio, Result
from jetpress.pipeline.sparse.kernels import TWIN, of_engine
from jetpress.pipeline.store.facts.device import BuiltEngine, Findings, SparseTactics

SAID = SparseTactics(5, ("a",), 2, ("a", "b"))
RATIO = Ratio("compressed", TWIN, 1.2, (1.1, 1.3), 16, "faster", {})
DENSE = Ratio("compressed", "dense", 9.0, (8.0, 9.5), 16, "faster", {})
RESULTS = [Result(name, "valid", (), 1.0, (1.0,), 1, {}, {}) for name in ("compressed", TWIN)]


def built(said: SparseTactics | None, counted: int | None = None) -> BuiltEngine:
    """An engine that may have sparse kernels: what the log says, and how many the engine itself counts."""
    return BuiltEngine(1, 1.0, (), True, Findings(said, 0, 0, 0, 0, ()), sparse_layers=counted)


def test_the_speed_up_is_that_against_the_same_network_without_sparse_kernels() -> None:
    told = of_engine(built(SAID, 7), [*RESULTS, DENSE, RATIO])
    assert told["speed"] == {"value": 1.2, "low": 1.1, "high": 1.3}
    assert (told["found"], told["chosen"], told["chosen_layers"], told["why"]) == (5, 2, ["a", "b"], "")


@pytest.mark.parametrize(
    ("engine", "events", "why"),
    [
        (built(replace(SAID, chosen=0)), [*RESULTS, RATIO], "for no layer"),
        (built(None, 0), [*RESULTS, RATIO], "for no layer"),
        (replace(built(None), findings=None), [*RESULTS, RATIO], "does not tell"),
        (built(SAID), [*RESULTS, DENSE], "not measured beside"),
        (built(SAID), [], "not measured beside"),
        (
            built(SAID),
            [RESULTS[0], replace(RESULTS[1], verdict="invalid"), RATIO],
            "benchmark is invalid",
        ),
    ],
)
def test_no_speed_up_is_told(engine: BuiltEngine, events: list[Event], why: str) -> None:
    told = of_engine(engine, events)
    assert told["speed"] is None
    assert why in told["why"]
