"""Stage: one directory that holds all a device needs, ready to copy.

::

    model.onnx  dense.onnx     the compressed network and its dense twin, measured in one session
    plan.json                  what to build, and how to measure it
    samples/                   real inputs (``<input>.npy``) and ``labels.npy``: the engine's own accuracy
    runner.pyz                 builds, infers and benchmarks; needs only the board's own Python and TensorRT
    manifest.json              SHA-256 and size of every file
    README.txt                 three lines
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deploy.pack import pack
from deploy.runner.files import safe_name
from deploy.targets import Target
from pipeline.artifact import Bundle, Checkpoint, OnnxModel, listing
from pipeline.sections import BenchmarkConfig, BuildConfig, as_table

FORMAT = 1


@dataclass(frozen=True)
class BundleConfig:
    """What the device must know besides the networks."""

    name: str
    target: Target
    build: BuildConfig
    benchmark: BenchmarkConfig
    seed: int


def bundle(
    config: BundleConfig, model: Checkpoint, compressed: OnnxModel, dense: OnnxModel, draft: Path
) -> Bundle:
    """Put the ONNX files, the plan, samples of the test split and the runner into one directory."""
    shutil.copyfile(compressed.path / "model.onnx", draft / "model.onnx")
    shutil.copyfile(dense.path / "model.onnx", draft / "dense.onnx")
    samples = _write_samples(model, draft / "samples", config.seed)
    plan = _plan(config, model, compressed)
    (draft / "plan.json").write_text(json.dumps(plan, indent=1, sort_keys=True))
    pack(draft / "runner.pyz")
    (draft / "README.txt").write_text(
        f"{config.name} for {config.target.title}, made by jetpress.\n"
        "Copy this folder to the device and run there, with the system's Python:  python3 runner.pyz\n"
        "It checks every file, builds the engines, measures them and prints the results (JSON lines).\n"
    )
    (draft / "manifest.json").write_text(json.dumps({"format": FORMAT, "files": listing(draft)}, indent=1))
    return Bundle(
        draft, {"target": config.target.name, "opset": compressed.facts["opset"], "samples": samples}
    )


def _plan(config: BundleConfig, model: Checkpoint, compressed: OnnxModel) -> Mapping[str, Any]:
    sparse = bool(model.facts.get("sparsity", {}).get("eligible"))
    capability = config.target.compute_capability
    return {
        "format": FORMAT,
        "name": config.name,
        "target": as_table(config.target),
        "backend": config.target.backend,
        "precision": config.build.precision,
        "models": {
            "compressed": {"file": "model.onnx", "sparse": sparse},
            "dense": {"file": "dense.onnx", "sparse": False},
        },
        "inputs": compressed.facts["inputs"],
        "workspace_mb": config.build.workspace_mb,
        "threads": config.benchmark.threads,
        "benchmark": as_table(config.benchmark),
        "compute_capabilities": [f"{capability[0]}.{capability[1]}"] if capability else [],
    }


def _write_samples(model: Checkpoint, folder: Path, seed: int) -> int:
    """Preprocessed test images as plain ``.npy`` (never pickled); returns how many."""
    import numpy as np

    from pipeline import data, models

    network = models.load(model)
    loaded = data.load(network.data, network.seed)
    inputs, labels = data.samples(loaded, network.data.sample_images)
    folder.mkdir(exist_ok=True)
    for one, tensor in zip(network.model.inputs, inputs, strict=True):
        np.save(folder / f"{safe_name(one.name)}.npy", tensor.numpy(), allow_pickle=False)
    np.save(folder / "labels.npy", labels.numpy(), allow_pickle=False)
    return len(labels)
