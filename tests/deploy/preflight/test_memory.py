"""Memory of activations."""

from __future__ import annotations

from pathlib import Path

from onnx import helper

from studies.hard_graphs import SAMPLE
from tests.deploy.preflight.graphs import (
    SAME,
    verdict,
)


def test_memory_is_the_most_that_lives_at_one_time(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Relu", ["x"], ["a"], name="a"),
        helper.make_node("Relu", ["a"], ["b"], name="b"),
        helper.make_node("Add", ["x", "b"], ["y"], name="y"),
    ]
    found = verdict(tmp_path, nodes, [SAMPLE], [SAME])
    assert found.memory.activations == 3 * 4 * 8 * 8 * 4  # x with a and b, later with b and y
