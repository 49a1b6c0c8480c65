"""QuantizeLinear and DequantizeLinear as TensorRT reads them: narrower than ONNX means, and at times wrong.

From onnx-tensorrt's importers (builtin_op_importers.cpp 8.0-GA to 8.6-GA, onnxOpImporters.cpp 10.1-GA):
scales are positive, zero points zero; a pair with uint8 zero point 0 builds with one warning on some
versions and is read as int8; up to 8.6 the zero point must be written out; up to 8.4 a convolution whose
weight is dequantized needs its bias as an initializer. TensorRT 8 takes no int8 initializers
(microsoft/onnxruntime #11535). FP8 (float8_e4m3fn) came with 9.0: :mod:`jetpress.deploy.preflight.elements`.
"""

from __future__ import annotations

from collections.abc import Iterator

from jetpress.deploy.preflight.elements import FP8
from jetpress.deploy.preflight.finding import Finding
from jetpress.deploy.preflight.graph import Graph
from jetpress.deploy.preflight.node import Node
from jetpress.deploy.preflight.operators import Version

UINT8, INT8, INT32 = 2, 3, 6
SYMMETRIC = "quantize symmetrically: INT8 with zero point 0, for weights and activations"


def rules(graph: Graph, node: Node, version: Version) -> Iterator[Finding]:
    """What TensorRT ``version`` would refuse or misread in this node."""
    if node.op in ("QuantizeLinear", "DequantizeLinear"):
        yield from _pair(graph, node, version)
    elif node.op in ("Conv", "ConvTranspose") and version < (8, 5):
        bias, weight = node.input(2), graph.through(node.input(1))
        if (
            bias
            and bias not in graph.constants
            and any(between.op == "DequantizeLinear" for between in weight)
        ):
            why = "its weight is dequantized and its bias is not an initializer"
            yield Finding("error", why, "keep the bias as a constant in floating point")


def _pair(graph: Graph, node: Node, version: Version) -> Iterator[Finding]:
    scale, zero = graph.array(node.input(1)), graph.array(node.input(2))
    quantizes = node.op == "QuantizeLinear"
    kind = graph.value(node.input(2)).kind or (0 if quantizes else graph.value(node.input(0)).kind)
    if scale is not None and not (scale > 0).all():
        yield Finding(
            "error", "a scale is not positive", "calibrate again: a channel of zeros needs a scale, too"
        )
    if version < (9, 0) and graph.value(node.input(1)).kind not in (0, 1):
        yield Finding(
            "error", "its scale is not FP32, and TensorRT 8 reads it as FP32", "write scales in FP32"
        )
    if not node.input(2) and (
        version < (9, 0) or (node.op[0] == "Q" and not node.attributes.get("output_dtype"))
    ):
        yield Finding(
            "error", "its zero point is left out: ONNX then means uint8", "write the INT8 zero point 0 out"
        )
    if kind == FP8 and version < (9, 0):
        yield Finding("error", "it is FP8, which came with TensorRT 9.0", SYMMETRIC)
    elif kind == UINT8:
        yield Finding("error", "it quantizes to uint8, which TensorRT refuses or reads as int8", SYMMETRIC)
    elif zero is not None and zero.any():
        yield Finding("error", "its zero point is not 0", SYMMETRIC)
    if node.op == "DequantizeLinear":
        yield from _stored(graph, node, version)


def _stored(graph: Graph, node: Node, version: Version) -> Iterator[Finding]:
    kind, stored = graph.value(node.input(0)).kind, node.input(0) in graph.constants
    if kind == INT32:
        yield Finding(
            "error", "it dequantizes an INT32 bias", "keep biases in floating point (QuantizeBias = False)"
        )
    elif kind == INT8 and stored and version < (9, 0):
        remedy = "store the weight in FP32 and put QuantizeLinear before it: q * scale is exact"
        yield Finding("error", "its weight is stored as INT8, which TensorRT 8 does not take", remedy)
