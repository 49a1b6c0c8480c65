"""What a DLA takes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from onnx import helper

from jetpress.deploy.preflight import dla
from jetpress.deploy.preflight.dla import Share
from studies.hard_graphs import SAMPLE
from tests.deploy.preflight.graphs import (
    FLOAT,
    KERNEL,
    conv,
    said,
    verdict,
)


def test_dla(tmp_path: Path) -> None:
    nodes = [conv(), helper.make_node("Softmax", ["y"], ["z"], axis=1, name="net.head/Softmax")]
    constants = {"w": KERNEL, "b": np.zeros(4, np.float32)}
    given = (nodes, [SAMPLE], [("z", FLOAT, [1, 4, 8, 8])], constants)
    on_xavier, on_orin = (verdict(tmp_path, *given, opset=13, target=name) for name in ("xavier", "agx-orin"))
    assert on_xavier.dla == Share(nodes=2, on_dla=1, pieces=1, fallback={"Softmax": 1})
    assert on_orin.dla == Share(nodes=2, on_dla=2, pieces=1, fallback={})
    assert verdict(tmp_path, *given, opset=13, target="nano").dla is None
    assert "(an estimate)" in said(verdict(tmp_path, *given, opset=13, target="agx-orin"), "note")
    assert "list of layers alone" in said(
        verdict(tmp_path, *given, opset=13, target="agx-orin-jp722"), "note"
    )


def test_a_dla_has_limits(tmp_path: Path) -> None:
    """NVIDIA's page: batch 4096, 8192 in each other dimension, four dimensions."""
    on_dla = []
    for shape in ([4096, 1, 1, 8192], [4097, 1, 1, 1], [1, 8193, 1, 1], [1, 2, 3]):
        given = ([helper.make_node("Relu", ["x"], ["y"])], [("x", FLOAT, shape)], [("y", FLOAT, shape)])
        share = verdict(tmp_path, *given, opset=13, target="xavier").dla
        assert share is not None
        on_dla.append(share.on_dla)
    assert on_dla == [1, 0, 0, 0]


def test_a_dla_holds_sixteen_loadables(tmp_path: Path) -> None:
    ops = ["Relu", "Erf"] * 19 + ["Relu", "Relu"]  # twenty stretches, the last of two nodes
    nodes = [helper.make_node(op, [f"v{at}"], [f"v{at + 1}"]) for at, op in enumerate(ops)]
    ends = [[(name, FLOAT, [1, 2, 3, 4])] for name in ("v0", "v40")]
    share = verdict(tmp_path, nodes, *ends, opset=13, target="xavier").dla
    assert share == Share(nodes=40, on_dla=17, pieces=16, fallback={"Erf": 19, "Relu": 4})


def test_operators_of_a_dla_by_version() -> None:
    assert "Softmax" not in dla.taken_by("8.2.1", (7, 2)) | dla.taken_by("10.3.0", (7, 2))
    assert {"Softmax", "Equal"} <= dla.taken_by("10.3.0", (8, 7))
    assert "Equal" not in dla.taken_by("11.4.1", (8, 7))  # in INT8 alone
