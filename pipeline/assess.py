"""Stage: the final figures. The test split is looked at here, once, and by nothing before."""

from __future__ import annotations

import json
from pathlib import Path

import onnx

from pipeline import models
from pipeline.artifact import Assessment, Checkpoint, OnnxModel
from pipeline.data import Data, load
from pipeline.lowering.ends import Ends
from pipeline.models import Network
from pipeline.quantization.judge import Judge
from pipeline.training.evaluate import evaluate


def assess(config: None, dense: Checkpoint, compressed: Checkpoint, draft: Path) -> Assessment:
    """Points of both networks on the validation and the test split, as facts and as ``accuracy.json``."""
    del config
    facts = {
        name: _points(*_opened(one), name) for name, one in (("dense", dense), ("compressed", compressed))
    }
    return _written(facts, _opened(compressed)[1], draft)


def assess_file(
    config: None, dense: Checkpoint, compressed: Checkpoint, onnx_model: OnnxModel, draft: Path
) -> Assessment:
    """As :func:`assess`; the compressed network as its quantized file, which ONNX Runtime computes."""
    del config
    network, data = _opened(compressed)
    judge = Judge(network, Ends.of(onnx_model.facts, network.data), onnx_model.facts.get("max_batch", 1))
    proto = onnx.load(onnx_model.path / "model.onnx")
    splits = {"validation": data.validation, "test": data.test}
    found = {name: judge.points(proto, split, f"quantized, {name}") for name, split in splits.items()}
    return _written({"dense": _points(*_opened(dense), "dense"), "compressed": found}, data, draft)


def _opened(made: Checkpoint) -> tuple[Network, Data]:
    network = models.load(made)
    return network, load(network.data, network.seed)


def _points(network: Network, data: Data, name: str) -> dict[str, float]:
    splits = {"validation": data.validation, "test": data.test}
    return {split: evaluate(network, part, f"{name}, {split}") for split, part in splits.items()}


def _written(points: dict[str, dict[str, float]], data: Data, draft: Path) -> Assessment:
    counts = {"validation_images": len(data.validation), "test_images": len(data.test)}
    facts = {**points, **counts}
    (draft / "accuracy.json").write_text(json.dumps(facts, indent=1))
    return Assessment(draft, facts)
