"""What is said of sparse kernels after a build: no speed-up where TensorRT chose none."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from jetpress.deploy.device.events import Event, Ratio, Result
from jetpress.pipeline.sparse.kernels import TWIN, of_engine

SAID = {"eligible": 5, "eligible_layers": ["a"], "chosen": 2, "chosen_layers": ["a", "b"]}
RATIO = Ratio("compressed", TWIN, 1.2, (1.1, 1.3), 16, "faster", {})
DENSE = Ratio("compressed", "dense", 9.0, (8.0, 9.5), 16, "faster", {})
RESULTS = [Result(name, "valid", (), 1.0, (1.0,), 1, {}, {}) for name in ("compressed", TWIN)]


def test_the_speed_up_is_that_against_the_same_network_without_sparse_kernels() -> None:
    told = of_engine({"findings": {"sparsity": SAID}, "sparse_layers": 7}, [*RESULTS, DENSE, RATIO])
    assert told["speed"] == {"value": 1.2, "low": 1.1, "high": 1.3}
    assert (told["found"], told["chosen"], told["chosen_layers"], told["why"]) == (5, 2, ["a", "b"], "")


@pytest.mark.parametrize(
    ("built", "events", "why"),
    [
        ({"findings": {"sparsity": {**SAID, "chosen": 0}}}, [*RESULTS, RATIO], "for no layer"),
        ({"findings": {"sparsity": None}, "sparse_layers": 0}, [*RESULTS, RATIO], "for no layer"),
        ({"findings": {}, "sparse_layers": None}, [*RESULTS, RATIO], "does not tell"),
        ({"findings": {"sparsity": SAID}}, [*RESULTS, DENSE], "not measured beside"),
        ({"findings": {"sparsity": SAID}}, [], "not measured beside"),
        (
            {"findings": {"sparsity": SAID}},
            [RESULTS[0], replace(RESULTS[1], verdict="invalid"), RATIO],
            "benchmark is invalid",
        ),
    ],
)
def test_no_speed_up_is_told(built: dict[str, Any], events: list[Event], why: str) -> None:
    told = of_engine(built, events)
    assert told["speed"] is None
    assert why in told["why"]
