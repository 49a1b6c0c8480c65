"""Pairs of QuantizeLinear and DequantizeLinear."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from studies.hard_graphs import SAMPLE, node
from tests.deploy.preflight.graphs import (
    SAME,
    quantized,
    said,
    verdict,
)


def test_symmetric_pairs_pass_everywhere(tmp_path: Path) -> None:
    for target in ("nano", "xavier", "orin-nano", "thor"):
        found = verdict(tmp_path, *quantized(), opset=13, target=target)
        assert found.ok, said(found)


@pytest.mark.parametrize(
    ("how", "target", "expected"),
    [
        ({"zero": np.zeros((), np.uint8)}, "thor", "uint8"),
        ({"zero": np.zeros((), np.uint8)}, "nano", "uint8"),
        ({"zero": np.int8(3)}, "xavier", "zero point is not 0"),
        ({"scale": 0.0}, "orin-nano", "not positive"),
        ({"stored": True}, "xavier", "stored as INT8"),
        ({"bias": "dequantized"}, "orin-nano", "INT32 bias"),
        ({"bias": "identity"}, "nano", "bias is not an initializer"),
    ],
)
def test_pairs_that_tensorrt_refuses_or_misreads(
    tmp_path: Path, how: dict[str, Any], target: str, expected: str
) -> None:
    assert expected in said(verdict(tmp_path, *quantized(**how), opset=13, target=target))


def test_what_only_old_versions_refuse(tmp_path: Path) -> None:
    assert verdict(tmp_path, *quantized(stored=True), opset=13, target="orin-nano").ok
    assert verdict(tmp_path, *quantized(bias="identity"), opset=13, target="xavier").ok


def test_a_zero_point_left_out_means_uint8(tmp_path: Path) -> None:
    nodes = [node("QuantizeLinear", ["x", "s"], ["q"]), node("DequantizeLinear", ["q", "s"], ["y"])]
    found = verdict(tmp_path, nodes, [SAMPLE], [SAME], {"s": np.float32(0.1)}, opset=13, target="orin-nano")
    assert "left out" in said(found)
