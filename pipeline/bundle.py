"""Stage: one directory that holds all a device needs, ready to copy.

::

    model.onnx  dense.onnx     the compressed network and its dense twin, measured in one session; a 2:4 network
                               is measured a third time, without sparse kernels
    throughout.onnx            where layers stay in higher precision: the same with all of them in eight bits,
                               measured beside it
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
from typing import TYPE_CHECKING, Any

from deploy.pack import pack
from deploy.runner.files import safe_name
from deploy.targets import Target
from pipeline.artifact import Bundle, Checkpoint, OnnxModel, listing
from pipeline.quantization import NOT_MIXED, THROUGHOUT
from pipeline.sections import EIGHT_BITS, BenchmarkConfig, BuildConfig, as_table
from pipeline.sparse.outcome import TWIN

if TYPE_CHECKING:
    from pipeline.models import Network

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
    from pipeline.models import load

    sparse = {"compressed"} if model.facts.get("sparsity", {}).get("eligible") else set()
    files = {"compressed": ("model.onnx", compressed), "dense": ("dense.onnx", dense)}
    models = {
        name: {
            "file": _copy(made, draft, name, file),
            "sparse": name in sparse,
            **precision_of(config, "quantization" in made.facts),
        }
        for name, (file, made) in files.items()
    }
    if sparse and config.target.sparse_tensor_cores:  # what sparse kernels are worth: the same without them
        models[TWIN] = {**models["compressed"], "sparse": False, "twin_of": "compressed"}
    if (compressed.path / THROUGHOUT).exists():
        shutil.copyfile(compressed.path / THROUGHOUT, draft / THROUGHOUT)
        models[NOT_MIXED] = {**models["compressed"], "file": THROUGHOUT, "twin_of": "compressed"}
    searched = compressed.facts.get("ends", {}).get("output") == "detections"  # in the graph already
    detection = None if searched else compressed.facts.get("detection")
    samples = complete(draft, config, models, compressed.facts["inputs"], load(model), detection)
    return Bundle(
        draft, {"target": config.target.name, "opset": compressed.facts["opset"], "samples": samples}
    )


def precision_of(config: BundleConfig, quantized: bool) -> dict[str, Any]:
    """What an engine runs in, where not all of a bundle run in the same; ``quantized``: its file has Q/DQ."""
    precision, target = config.build.precision, config.target
    if precision not in EIGHT_BITS:
        return {}
    if not quantized:  # the dense twin
        return {"precision": target.default_precision}
    return {"precision": precision, "strongly_typed": target.strongly_typed and not target.flags(precision)}


def _copy(made: OnnxModel, draft: Path, name: str, file: str) -> str:
    """The ONNX file; in a folder of its own where its weights lie beside it, by a name that it holds itself."""
    whole = sorted(made.path.glob("model.onnx*"))
    if len(whole) > 1:
        (draft / name).mkdir()
        file = f"{name}/model.onnx"
    for one in whole:
        shutil.copyfile(one, draft / file if one.name == "model.onnx" else draft / name / one.name)
    return file


def complete(
    folder: Path,
    config: BundleConfig,
    models: Mapping[str, Mapping[str, Any]],
    inputs: list[dict[str, Any]],
    network: Network,
    detection: Mapping[str, Any] | None = None,
) -> int:
    """Everything beside the ONNX files, which lie in ``folder`` already; returns the number of samples.

    Args:
        detection: the rules by which the runner makes detections of boxes and scores.
    """
    samples = _write_samples(network, inputs, folder / "samples")
    plan = _plan(config, models, inputs, detection)
    (folder / "plan.json").write_text(json.dumps(plan, indent=1, sort_keys=True))
    pack(folder / "runner.pyz")
    (folder / "README.txt").write_text(
        f"{config.name} for {config.target.title}, made by jetpress.\n"
        "Copy this folder to the device and run there, with the system's Python:  python3 runner.pyz\n"
        "It checks every file, builds the engines, measures them and prints the results (JSON lines).\n"
    )
    (folder / "manifest.json").write_text(json.dumps({"format": FORMAT, "files": listing(folder)}, indent=1))
    return samples


def _plan(
    config: BundleConfig,
    models: Mapping[str, Mapping[str, Any]],
    inputs: list[dict[str, Any]],
    detection: Mapping[str, Any] | None,
) -> Mapping[str, Any]:
    capability = config.target.compute_capability
    return {
        "format": FORMAT,
        "name": config.name,
        "target": as_table(config.target),
        "backend": config.target.backend,
        "precision": config.build.precision,
        "strongly_typed": config.target.strongly_typed,
        "models": models,
        "inputs": inputs,
        "detection": detection,
        "workspace_mb": config.build.workspace_mb,
        "optimization_level": config.build.optimization_level,
        "threads": config.benchmark.threads,
        "benchmark": as_table(config.benchmark),
        "compute_capabilities": list(config.build.compute_capabilities)
        or ([f"{capability[0]}.{capability[1]}"] if capability else []),
    }


def _write_samples(network: Network, told: list[dict[str, Any]], folder: Path) -> int:
    """Test images as the file takes them, as plain ``.npy`` (never pickled); returns how many."""
    import numpy as np

    from pipeline import data
    from pipeline.lowering.ends import Ends

    loaded = data.load(network.data, network.seed)
    inputs, labels = data.samples(loaded, network.data.sample_images)
    folder.mkdir(exist_ok=True)
    inputs = Ends.taking((one["dtype"] for one in told), network.data).to_file(inputs)
    for one, tensor in zip(network.model.inputs, inputs, strict=True):
        np.save(folder / f"{safe_name(one.name)}.npy", tensor.numpy(), allow_pickle=False)
    np.save(folder / "labels.npy", labels.numpy(), allow_pickle=False)
    return len(labels)
