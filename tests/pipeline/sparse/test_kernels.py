"""What is said of sparse kernels after a build: no speed-up where TensorRT chose none."""

from __future__ import annotations

from typing import Any

import pytest

from jetpress.benchmarks.report.record.networks import Ratio
from jetpress.pipeline.sparse.kernels import of_engine

SAID = {"eligible": 5, "eligible_layers": ["a"], "chosen": 2, "chosen_layers": ["a", "b"]}
RATIO = Ratio(value=1.2, low=1.1, high=1.3)


def test_the_speed_up_is_that_against_the_same_network_without_sparse_kernels() -> None:
    told = of_engine({"findings": {"sparsity": SAID}, "sparse_layers": 7}, RATIO)
    assert told.speed == RATIO
    assert (told.found, told.chosen, told.chosen_layers, told.why) == (5, 2, ("a", "b"), "")


@pytest.mark.parametrize(
    ("built", "speed", "invalid", "why"),
    [
        ({"findings": {"sparsity": {**SAID, "chosen": 0}}}, RATIO, False, "for no layer"),
        ({"findings": {"sparsity": None}, "sparse_layers": 0}, RATIO, False, "for no layer"),
        ({"findings": {}, "sparse_layers": None}, RATIO, False, "does not tell"),
        ({"findings": {"sparsity": SAID}}, None, False, "not measured beside"),
        ({"findings": {"sparsity": SAID}}, RATIO, True, "benchmark is invalid"),
    ],
)
def test_no_speed_up_is_told(built: dict[str, Any], speed: Ratio | None, invalid: bool, why: str) -> None:
    told = of_engine(built, speed, invalid)
    assert told.speed is None
    assert why in told.why
