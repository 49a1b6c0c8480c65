"""Dynamic quantization for ONNX Runtime: INT8 weights, and each activation's range found while it runs.

For what is mostly products with large weights and few pixels: recurrent and linear layers. Nothing is calibrated. The
graph is made by ONNX Runtime itself (``onnxruntime.quantization.quantize_dynamic``); its LSTM is one operator in INT8.
TensorRT has nothing of the kind: its INT8 ranges are constants of the engine.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Collection, Sequence
from fnmatch import fnmatchcase
from pathlib import Path

import onnx
from onnxruntime.quantization import QuantType, quantize_dynamic

from jetpress.deploy.errors import StageError
from jetpress.pipeline.graph.trace import quiet
from jetpress.pipeline.quantization.subject import KEPT
from jetpress.pipeline.store.facts.onnx_file import QuantizedLayer

WEIGHTS = {"MatMul": (1,), "Gemm": (1,), "LSTM": (1, 2)}
"""Operator that has a dynamic form -> which inputs are its weights."""


def layers(proto: onnx.ModelProto, keep: Collection[str] = ()) -> list[QuantizedLayer]:
    """Every recurrent and linear layer with constant weights; ``keep``: shell patterns of those that stay in FP32.

    Raises:
        StageError: there is none to quantize.
    """
    sizes = {one.name: math.prod(one.dims) for one in proto.graph.initializer}
    found = []
    for node in proto.graph.node:
        names = [node.input[at] for at in WEIGHTS.get(node.op_type, ())]
        factors = {one.name: onnx.helper.get_attribute_value(one) for one in node.attribute}
        plain = factors.get("alpha", 1.0) == factors.get("beta", 1.0) == 1.0 and not factors.get("transA", 0)
        if names and plain and all(name in sizes for name in names):
            out = any(fnmatchcase(name, pattern) for pattern in keep for name in (names[0], node.name))
            count = sum(sizes[name] for name in names)
            found.append(QuantizedLayer(node.name, names[0], count, int8=not out, why=KEPT if out else ""))
    if not any(one.int8 for one in found):
        raise StageError(
            f"there is no layer to quantize dynamically: {', '.join(WEIGHTS)} with constant weights have that form",
            'take quantize.method = "auto": convolutions need calibrated ranges',
        )
    return found


def quantized(proto: onnx.ModelProto, found: Sequence[QuantizedLayer]) -> onnx.ModelProto:
    """``proto`` with those of its recurrent and linear layers in INT8 that are to be so; a weight has one scale."""
    names = [one.name for one in found if one.int8]
    wanted = [name for one in names for name in (one, f"{one}_MatMul")]  # what it makes of a Gemm
    plain = onnx.ModelProto()
    plain.CopyFrom(proto)
    del plain.graph.value_info[:]  # it infers shapes itself, and finds turned weights at odds with these
    with tempfile.TemporaryDirectory() as folder, quiet():
        path = Path(folder) / "model.onnx"
        quantize_dynamic(plain, path, list(WEIGHTS), nodes_to_quantize=wanted, weight_type=QuantType.QInt8)
        made = onnx.load(path)
    done = sum(node.op_type in ("MatMulInteger", "DynamicQuantizeLSTM") for node in made.graph.node)
    if done != len(names):
        raise StageError(
            f"ONNX Runtime quantized {done} of {len(names)} layers", "please report this network"
        )
    made.producer_name, made.producer_version = proto.producer_name, proto.producer_version
    return made
