"""What the runner is told in tests of TensorRT, and what it says."""

from __future__ import annotations

import json
from typing import Any

import pytest

PROFILE = {"min": [1, 3, 16, 16], "opt": [2, 3, 16, 16], "max": [4, 3, 16, 16]}
INPUTS = [{"name": "images", "shape": [2, 3, 16, 16], "dtype": "float32", "profile": PROFILE}]
PLAN: dict[str, Any] = {
    "backend": "tensorrt",
    "precision": "int8",
    "inputs": INPUTS,
    "workspace_mb": 256,
    "optimization_level": 4,
    "benchmark": {"warmup_ms": 0, "warmup_max_ms": 30, "sessions": 1},
    "models": {
        "compressed": {"file": "model.onnx", "sparse": True},
        "dense": {"file": "dense.onnx", "sparse": False},
    },
}
TWIN = {"file": "model.onnx", "sparse": False, "twin_of": "compressed"}


def events(capsys: pytest.CaptureFixture[str]) -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = {}
    for line in capsys.readouterr().out.splitlines():
        event = json.loads(line)
        found.setdefault(event["event"], []).append(event)
    return found
