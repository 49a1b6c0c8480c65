"""Stage: the final figures, where what is shipped is a quantized file."""

from __future__ import annotations

from pathlib import Path

import onnx

from jetpress.pipeline.graph.ends import Ends
from jetpress.pipeline.quantization.judge import Judge
from jetpress.pipeline.store.artifact import Assessment, Checkpoint, OnnxModel
from jetpress.pipeline.training.assessment import Look, Scored, opened, scored, written


def assess_file(
    config: None, dense: Checkpoint, compressed: Checkpoint, onnx_model: OnnxModel, draft: Path
) -> Assessment:
    """As :func:`assess`; the compressed network as its quantized file, which ONNX Runtime computes."""
    del config
    network, data = opened(compressed)
    judge = Judge(network, Ends.of(onnx_model.facts, network.data), onnx_model.facts.max_batch)
    proto = onnx.load(onnx_model.path / "model.onnx")
    look = Look(network, data)
    validation = judge.judged(proto, data.validation, "quantized, validation")
    found = Scored(validation, judge.judged(proto, data.test, "quantized, test", look), look)
    return written(network, scored(*opened(dense), "dense"), found, data, draft)
