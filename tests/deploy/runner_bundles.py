"""Small real bundles for the runner's tests: two ONNX networks of different size, samples, a manifest."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

SHAPE = [2, 3, 16, 16]
CLASSES = 5


def network(width: int, *, batch: int | str = 2, seed: int = 0) -> onnx.ModelProto:
    """Conv - ReLU - GlobalAveragePool - Flatten - Gemm, with weights from a seed."""
    draw = np.random.default_rng(seed)
    weights = {
        "w1": draw.normal(size=(width, 3, 3, 3), scale=0.2),
        "w2": draw.normal(size=(width, width, 3, 3), scale=0.1),
        "w3": draw.normal(size=(width, CLASSES)),
        "b3": np.zeros(CLASSES),
    }
    nodes = [
        helper.make_node("Conv", ["images", "w1"], ["a"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("Conv", ["b", "w2"], ["c"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c"], ["d"]),
        helper.make_node("GlobalAveragePool", ["d"], ["e"]),
        helper.make_node("Flatten", ["e"], ["f"]),
        helper.make_node("Gemm", ["f", "w3", "b3"], ["logits"]),
    ]
    graph = helper.make_graph(
        nodes,
        "toy",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, [batch, 3, 16, 16])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [batch, CLASSES])],
        [numpy_helper.from_array(value.astype(np.float32), name) for name, value in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=7)


def slow_to_build(size: int = 1024, steps: int = 12) -> onnx.ModelProto:
    """A small file whose build takes seconds: a chain of constant products, folded before the engine is saved."""
    draw = np.random.default_rng(3)
    start = (draw.normal(size=(size, size)) / size**0.5).astype(np.float32)
    nodes = [helper.make_node("MatMul", [f"m{i}", "m0"], [f"m{i + 1}"]) for i in range(steps)]
    nodes += [
        helper.make_node("ReduceMean", [f"m{steps}"], ["mean"], keepdims=0),
        helper.make_node("Mul", ["images", "mean"], ["scaled"]),
        helper.make_node("GlobalAveragePool", ["scaled"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["logits"]),
    ]
    graph = helper.make_graph(
        nodes,
        "slow",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, SHAPE)],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [SHAPE[0], SHAPE[1]])],
        [numpy_helper.from_array(start, "m0")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=7)


def bundle(folder: Path, *, samples: int = 5, batch: int | str = 2, **changes: Any) -> Path:
    """Write a bundle whose plan is changed by ``changes``; five samples, so that the last batch is short."""
    (folder / "samples").mkdir(parents=True)
    onnx.save(network(8, batch=batch), folder / "model.onnx")
    onnx.save(network(32, batch=batch, seed=1), folder / "dense.onnx")
    if samples:
        draw = np.random.default_rng(2)
        np.save(folder / "samples" / "images.npy", draw.random((samples, 3, 16, 16), dtype=np.float32))
        np.save(folder / "samples" / "labels.npy", np.arange(samples) % CLASSES)
    plan = {
        "format": 1,
        "name": "toy",
        "target": {"name": "host", "title": "this computer", "tensorrt": "", "compute_capability": None},
        "backend": "onnxruntime",
        "precision": "fp32",
        "models": {
            "compressed": {"file": "model.onnx", "sparse": False},
            "dense": {"file": "dense.onnx", "sparse": False},
        },
        "inputs": [{"name": "images", "shape": SHAPE, "dtype": "float32", "profile": None}],
        "outputs": [{"name": "logits", "shape": [SHAPE[0], CLASSES], "dtype": "float32"}],
        "image": {
            "input": "images",
            "layout": "nchw",
            "colour": "rgb",
            "scale": 255,
            "mean": [0.5, 0.5, 0.5],
            "std": [0.5, 0.5, 0.5],
            "fit": "stretch",
            "crop": 1.0,
            "border": 114,
        },
        "task": {"kind": "classification", "output": "scores", "classes": [*"abcde"]},
        "workspace_mb": None,
        "threads": 1,
        "benchmark": {"seconds": 0.3, "runs": 64, "warmup_ms": 50, "warmup_max_ms": 500},
    } | changes
    (folder / "plan.json").write_text(json.dumps(plan))
    seal(folder)
    return folder


def seal(folder: Path) -> None:
    """Write the manifest of what lies in ``folder``."""
    files = [path for path in sorted(folder.rglob("*")) if path.is_file() and path.name != "manifest.json"]
    entries = {
        str(path.relative_to(folder)): {
            "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
            "size": path.stat().st_size,
        }
        for path in files
    }
    (folder / "manifest.json").write_text(json.dumps({"files": entries}))


def start(pyz: Path, *words: object, python: str = sys.executable) -> tuple[int, list[dict[str, Any]], str]:
    """Run the zipapp; its exit code, its events, its prose."""
    done = subprocess.run(
        [python, str(pyz), *map(str, words)],
        capture_output=True,
        text=True,
        timeout=120,
        env=dict(os.environ, OMP_NUM_THREADS="1"),
    )
    return done.returncode, [json.loads(line) for line in done.stdout.splitlines()], done.stderr
