"""What a bundle holds beside its ONNX files: plan, samples, runner, manifest."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from jetpress.deploy.pack import pack
from jetpress.deploy.runner.system.files import safe_name
from jetpress.pipeline.recipe.configs import BundleConfig
from jetpress.pipeline.recipe.sections.compression import EIGHT_BITS
from jetpress.pipeline.recipe.sections.fields import as_table
from jetpress.pipeline.store.artifact import listing
from jetpress.pipeline.store.facts.onnx_file import DetectionRules, TensorSpec

if TYPE_CHECKING:
    from torch import Tensor

    from jetpress.pipeline.network.models import Network

FORMAT = 1
MOST_GIVEN, LARGEST_GIVEN = 16, 2**26
"""Samples of a file that was given: how many travel with it, and how many bytes."""
MAPPED = "compressed-mapped"
"""What the runner calls the compressed engine in memory that CPU and GPU share (``benchmark.memory``)."""
DLA_FILE, DLA_RANGES = "dla.onnx", "dla-ranges.json"


def precision_of(config: BundleConfig, quantized: bool, given: bool = False) -> dict[str, object]:
    """What an engine runs in, where not all of a bundle run in the same.

    Args:
        quantized: its file has Q/DQ.
        given: the file is somebody's own, and is built as it is.
    """
    precision, target = config.build.precision, config.target
    if given:
        return {"precision": "fp32"}
    if precision not in EIGHT_BITS:
        return {}
    if not quantized:  # the dense twin
        return {"precision": target.default_precision}
    return {"precision": precision, "strongly_typed": target.strongly_typed and not target.flags(precision)}


def for_dla(config: BundleConfig, quantized: bool, made: Path, folder: Path) -> dict[str, object]:
    """What a quantized model's entry has besides where the target's DLA takes INT8 without Q/DQ (TensorRT up to 10.7):
    the float graph and the ranges of its tensors, which are left in ``folder``."""
    target = config.target
    if not (quantized and target.dla and config.build.precision == "int8" and target.flags("int8")):
        return {}
    import onnx
    import onnx_ir as ir

    from jetpress.pipeline.quantization.implicit import implicit

    model, ranges = implicit(onnx.load(made))
    ir.save(model, folder / DLA_FILE)
    (folder / DLA_RANGES).write_text(json.dumps(ranges, indent=1, sort_keys=True))
    return {"implicit": {"file": DLA_FILE, "ranges": DLA_RANGES}}


def complete(
    folder: Path,
    config: BundleConfig,
    models: Mapping[str, Mapping[str, object]],
    inputs: Sequence[TensorSpec],
    detection: DetectionRules | None = None,
    meaning: Mapping[str, object] | None = None,
) -> None:
    """Everything beside the ONNX files and the samples, which lie in ``folder`` already.

    Args:
        detection: the rules by which the runner makes detections of boxes and scores.
        meaning: what inputs and outputs mean, see :mod:`jetpress.pipeline.engine.meaning`.
    """
    plan = {**_plan(config, models, inputs, detection), **(meaning or {})}
    (folder / "plan.json").write_text(json.dumps(plan, indent=1, sort_keys=True))
    pack(folder / "runner.pyz")
    (folder / "README.txt").write_text(
        f"{config.name} for {config.target.title}, made by jetpress.\n"
        "Copy this folder to the device and run there, with the system's Python:  python3 runner.pyz\n"
        "It checks every file, builds the engines, measures them and prints the results (JSON lines).\n"
    )
    (folder / "manifest.json").write_text(json.dumps({"format": FORMAT, "files": listing(folder)}, indent=1))


def _plan(
    config: BundleConfig,
    models: Mapping[str, Mapping[str, object]],
    inputs: Sequence[TensorSpec],
    detection: DetectionRules | None,
) -> Mapping[str, object]:
    capability, runtime = config.target.compute_capability, config.target.runtime
    return {
        "format": FORMAT,
        "name": config.name,
        "target": as_table(config.target),
        "backend": config.target.backend,
        "needs": {"module": runtime.module, "gpu": runtime.needs_gpu},
        "precision": config.build.precision,
        "strongly_typed": config.target.strongly_typed,
        "models": models,
        "inputs": [one.as_json() for one in inputs],
        "detection": as_table(detection),
        "workspace_mb": config.build.workspace_mb,
        "optimization_level": config.build.optimization_level,
        "threads": config.benchmark.threads,
        "provider": config.build.provider,
        "benchmark": as_table(config.benchmark),
        "compute_capabilities": list(config.build.compute_capabilities)
        or ([f"{capability[0]}.{capability[1]}"] if capability else []),
    }


def write_samples(network: Network, told: Sequence[TensorSpec], folder: Path) -> int:
    """Test images as the file takes them, as plain ``.npy`` (never pickled); returns how many."""
    import numpy as np
    import torch

    from jetpress.pipeline.data import loading

    loaded = loading.load(network.data, network.seed, network.task)
    inputs, labels = loading.samples(loaded, network.data.sample_images)
    write_inputs(network, inputs, told, folder)
    if isinstance(labels, torch.Tensor) and labels.ndim == 1 and not labels.is_floating_point():
        np.save(folder / "labels.npy", labels.numpy(), allow_pickle=False)  # the runner counts by itself
    return len(inputs[0])


def write_inputs(
    network: Network, inputs: tuple[Tensor, ...], told: Sequence[TensorSpec], folder: Path
) -> None:
    """The network's inputs ``[n, ...]`` as the file takes them, as plain ``.npy``."""
    import numpy as np

    from jetpress.pipeline.graph.ends import Ends

    folder.mkdir(exist_ok=True)
    inputs = Ends.taking((one.dtype for one in told), network.data).to_file(inputs)
    for one, tensor in zip(network.model.inputs, inputs, strict=True):
        np.save(folder / f"{safe_name(one.name)}.npy", tensor.numpy(), allow_pickle=False)


def write_given(samples: Path, inputs: Sequence[TensorSpec], folder: Path) -> int:
    """As many samples of a file that was given as fit, whole inputs ``[samples, *shape]``; returns how many."""
    import numpy as np

    from jetpress.pipeline.graph.refeed import stored

    feeds = list(islice(stored(samples, inputs), MOST_GIVEN))
    largest = sum(one.nbytes for one in feeds[0].values()) if feeds else 1
    feeds = feeds[: max(1, LARGEST_GIVEN // max(1, largest))]
    folder.mkdir(exist_ok=True)
    for one in inputs:
        whole = np.stack([feed[one.name] for feed in feeds])
        np.save(folder / f"{safe_name(one.name)}.npy", whole, allow_pickle=False)
    return len(feeds)
