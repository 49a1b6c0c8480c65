"""What a release promises of its engine: outputs for the bundle's samples, and a latency. Boards hold it to that.

The outputs are those of ONNX Runtime on this machine, from the very file that the engine is built of; how far an engine
may be off is what its precision allows (:data:`jetpress.pipeline.graph.tolerance.LIMITS`). The latency is the median
that the run measured, where it measured one.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from statistics import median

import numpy as np
from pydantic import TypeAdapter

from jetpress.benchmarks.report.record import RunReport
from jetpress.deploy.runner.engines.manifest import Bundle
from jetpress.deploy.runner.release.health import CLASSES, DETECTIONS, FORMAT, NUMBERS, PROMISE
from jetpress.deploy.runner.system.files import safe_name
from jetpress.pipeline.engine.sameness import reference
from jetpress.pipeline.graph.session import Array
from jetpress.pipeline.graph.tolerance import LIMITS
from jetpress.pipeline.store.facts.onnx_file import TensorSpec
from jetpress.pipeline.tasks import decoded_by

FOLDER = "promised"
LARGEST = 2**24
"""Bytes of expected outputs that travel with a release; at least those of one batch do."""
SHARE = {"fp32": 0.98, "fp16": 0.9, "int8": 0.9, "fp8": 0.9}
"""Of classes and detections that must be the same: a board has few samples, and one that is nearly a tie decides."""


def write(bundle: Path, report: RunReport, folder: Path) -> None:
    """Leave ``promise.json`` and the arrays that it names in ``folder``; nothing where the bundle has no samples.

    Raises:
        RunnerError: the bundle is not the one that was made.
    """
    read = Bundle(str(bundle))
    inputs = TypeAdapter(tuple[TensorSpec, ...]).validate_python(read.plan["inputs"])
    files = [read.sample(one.name) for one in inputs]
    latency = latency_of(report)
    outputs: Mapping[str, object] = {}
    if all(files):
        samples: list[Array] = [np.load(str(file), allow_pickle=False) for file in files]
        model = read.models[read.chosen()]
        outputs = _outputs(bundle / model.file, inputs, samples, model.precision, folder)
    told = {"format": FORMAT, "latency_ms": latency, "outputs": outputs}
    (folder / PROMISE).write_text(json.dumps(told, indent=1) + "\n")


def latency_of(report: RunReport) -> float | None:
    """The median in ms that may be promised; None where none was measured, or not well enough."""
    measured = [one for one in report.compressed.samples_ms or () if one is not None]
    benchmark = report.benchmark
    return median(measured) if measured and benchmark and benchmark.verdict != "invalid" else None


def _outputs(
    path: Path, inputs: tuple[TensorSpec, ...], samples: list[Array], precision: str, folder: Path
) -> Mapping[str, object]:
    parts, size = dict[str, list[Array]](), 0
    for _, results in reference(path, inputs, samples, precision):
        size += sum(array.nbytes for array in results.values())
        if parts and size > LARGEST:
            break
        for name, array in results.items():
            parts.setdefault(name, []).append(array)
    (folder / FOLDER).mkdir(exist_ok=True)
    limits, told = LIMITS[precision], {}
    decoded = decoded_by(list(parts))
    for place, (name, part) in enumerate(parts.items()):
        array, file = np.concatenate(part), f"{FOLDER}/{place}-{safe_name(name)}.npy"
        np.save(folder / file, array, allow_pickle=False)
        told[name] = {
            "kind": DETECTIONS if decoded else NUMBERS if array.dtype.kind == "f" else CLASSES,
            "file": file,
            "cosine": limits.cosine,
            "off": limits.channel,
            "share": SHARE[precision],
        }
    return told
