"""What is printed, and what damaged files end in."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import helper

from jetpress.deploy.errors import JetpressError
from jetpress.deploy.preflight import graph
from jetpress.deploy.preflight.compatibility import preflight, report_lines
from jetpress.deploy.preflight.verdict import explain
from jetpress.deploy.targets import find
from studies.hard_graphs import SAMPLE, node, small
from tests.deploy.preflight.graphs import (
    HARD,
    SAME,
    quantized,
    verdict,
)


def test_explain_says_the_verdict_first(tmp_path: Path) -> None:
    HARD["LayerNormalization (opset 17)"].write(tmp_path / "model.onnx")
    lines, found, ok = report_lines(tmp_path / "model.onnx", "xavier", trial=False)
    assert not ok
    assert lines[0] == "NO   model.onnx will not run on xavier: 1 reason"
    assert "1 not supported" in lines[1]
    assert "TensorRT 8.5" in lines[1]
    assert "error:   LayerNormalization: TensorRT 8.5 does not take it, 8.6 is the first that does" in lines
    assert any("in net.layernormalization" in line for line in lines)
    assert any("export.lower" in line for line in lines)
    assert json.loads(json.dumps(found))["ok"] is False
    lines, found, ok = report_lines(tmp_path / "model.onnx", "orin-nano", trial=False)
    assert ok
    assert lines[0] == "ok   model.onnx should run on orin-nano"
    assert "derived" in lines[1]
    assert found["derived"] is True


def test_many_nodes_are_one_problem(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("HardSwish", [f"v{i}"], [f"v{i + 1}"], name=f"net.{i}/HardSwish") for i in range(150)
    ]
    ends = [("v0", *SAMPLE[1:])], [("v150", *SAMPLE[1:])]
    found = verdict(tmp_path, nodes, *ends, opset=14, target="nano")
    problem = next(one for one in found.problems if one.op == "HardSwish")
    assert problem.count == 150
    assert len(problem.nodes) == 100
    text = "\n".join(explain(found))
    assert "(150 times)" in text
    assert "net.0, net.1, net.2 and 97 more" in text


@given(st.data())
@settings(max_examples=100, deadline=None, derandomize=True)
def test_damaged_models_end_in_a_verdict_or_a_refusal(
    tmp_path_factory: pytest.TempPathFactory, data: Any
) -> None:
    path = tmp_path_factory.mktemp("damaged") / "model.onnx"
    nodes, inputs, outputs, constants = quantized()
    small(nodes, inputs, outputs, constants, opset=13)(path)
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(bytes(content))
    read = lambda skeleton: graph.Graph(graph._parse(skeleton), skeleton.path)  # noqa: E731
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            "jetpress.deploy.preflight.compatibility.inferred", read
        )  # without a process for each example
        with suppress(JetpressError):
            assert explain(preflight(path, find("xavier")))


def test_a_verdict_is_plain_data(tmp_path: Path) -> None:
    found = verdict(tmp_path, [node("Relu", ["x"], ["y"])], [SAMPLE], [SAME])
    assert json.loads(json.dumps(asdict(found)))["nodes"] == {
        "supported": 1,
        "restricted": 0,
        "not supported": 0,
    }
