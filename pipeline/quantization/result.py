"""What comes of quantizing: the file, checked and written, and what is told of its layers and tensors."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import onnx
import onnx_ir as ir
from onnx_ir.passes import common

from jetpress.pipeline.graph import fp16_layers
from jetpress.pipeline.graph.cases import Case
from jetpress.pipeline.graph.session import Feed
from jetpress.pipeline.quantization import qdq
from jetpress.pipeline.quantization.calibrate import Seen
from jetpress.pipeline.quantization.mixed import Search
from jetpress.pipeline.quantization.subject import Subject
from jetpress.pipeline.store.facts.onnx_file import TOO_SENSITIVE, QuantizedLayer


def layers(subject: Subject, alone: Mapping[str, float], search: Search) -> list[QuantizedLayer]:
    """Every layer with weights: whether it is in eight bits, what that costs alone, and why not."""
    out = dict.fromkeys(search.without, TOO_SENSITIVE) | subject.always
    return [
        QuantizedLayer(
            name=one.name,
            weight=one.weight.name or "",
            weights=one.weight.const_value.size if one.weight.const_value else 0,
            error=alone.get(one.name),
            int8=one.name not in out,
            why=out.get(one.name, ""),
        )
        for one in subject.layers
    ]


def tensors(seen: Mapping[str, Seen], ranges: qdq.Ranges) -> list[dict[str, object]]:
    """What was seen of each tensor, coarsely enough for a plot."""
    return [
        {
            "name": name,
            "low": one.low,
            "high": one.high,
            "range": list(ranges[name]),
            "counts": [] if one.counts is None else one.counts.reshape(64, -1).sum(1).tolist(),
        }
        for name, one in seen.items()
    ]


def rest_in_fp16(made: onnx.ModelProto, seen: Iterable[Case]) -> onnx.ModelProto:
    """What is not in eight bits in FP16, Q/DQ included, where FP16 can hold it."""
    return _tidied(fp16_layers.to_fp16(onnx.shape_inference.infer_shapes(made), seen)[0])


def rest_in_fp16_fed(made: onnx.ModelProto, seen: Iterable[Feed]) -> onnx.ModelProto:
    """The same by feeds."""
    return _tidied(fp16_layers.fed(onnx.shape_inference.infer_shapes(made), seen)[0])


def _tidied(halved: ir.Model) -> onnx.ModelProto:
    common.RemoveUnusedNodesPass()(halved)
    common.NameFixPass()(halved)
    return onnx.shape_inference.infer_shapes(ir.to_proto(halved))


def checked(made: onnx.ModelProto, path: Path) -> int:
    """Held against ONNX's rules, then written; its bytes.

    Without the shapes between nodes: every parser infers them, and with Q/DQ they are 3 % of a small network's file.
    """
    onnx.checker.check_model(made, full_check=True)
    del made.graph.value_info[:]
    return path.write_bytes(made.SerializeToString(deterministic=True))
