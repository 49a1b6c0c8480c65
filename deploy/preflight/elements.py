"""Element types: what TensorRT makes of ONNX's, and whether an operator takes them.

TensorRT before 9.0 reads INT64 as INT32, and all read DOUBLE as FLOAT (onnx-tensorrt, ``convertDtype``).
"""

from __future__ import annotations

from collections.abc import Iterator

from onnx import TensorProto

from jetpress.deploy.preflight.finding import Finding
from jetpress.deploy.preflight.graph import Graph
from jetpress.deploy.preflight.node import Node
from jetpress.deploy.preflight.operators import Row, Version

INT64, DOUBLE, UINT8, FP8 = 7, 11, 2, 17
NAMES = {
    1: "FP32", 2: "UINT8", 3: "INT8", 6: "INT32", 7: "INT64", 9: "BOOL", 10: "FP16", 11: "FP32", 16: "BF16",
    17: "FP8", 22: "INT4", 23: "FP4",
}  # fmt: skip
SINCE: dict[str, Version] = {"UINT8": (8, 5), "BF16": (9, 0), "FP8": (9, 0), "INT4": (10, 0), "FP4": (10, 8)}
"""Types that came with a version; the others were always there."""
# These TensorRT takes more often than its tables say: as shapes, as masks, between Q and DQ.
OFTEN_TAKEN = ("INT32", "INT64", "BOOL", "INT8")
# The input whose type is meant, where it is not the first. -1: the output. None: any type.
MEANT: dict[str, tuple[int, ...] | None] = {
    "Where": (1,), "OneHot": (2,), "ConstantOfShape": (-1,), "Cast": (0, -1), "EyeLike": (-1,), "If": None,
    "Loop": None, "Scan": None, "Constant": None, "QuantizeLinear": (0,), "DequantizeLinear": None,
}  # fmt: skip


def name(kind: int, version: Version) -> str:
    """As TensorRT ``version`` calls it; empty where it has no such type."""
    known = "INT32" if kind == INT64 and version < (9, 0) else NAMES.get(kind, "")
    return known if version >= SINCE.get(known, (0, 0)) else ""


def spelt(kind: int) -> str:
    """As ONNX calls it."""
    return TensorProto.DataType.Name(kind) if kind in TensorProto.DataType.values() else f"type {kind}"


def node_types(graph: Graph, node: Node, row: Row, version: Version) -> Iterator[Finding]:
    """What speaks against the types that a node works on."""
    for place in MEANT.get(node.op, (0,)) or ():
        value = graph.value(node.outputs[0] if place < 0 and node.outputs else node.input(max(place, 0)))
        called = name(value.kind, version)
        if value.kind == 0 or called in row.types:
            continue
        taken = f"TensorRT takes {', '.join(sorted(row.types))}"
        remedy = "cast before it, e.g. `.to(torch.float32)` or `.to(torch.int32)` in the network"
        if called in OFTEN_TAKEN:
            yield Finding("warning", f"it works on {spelt(value.kind)}; of its types {taken}", remedy)
        else:
            yield Finding("error", f"it works on {spelt(value.kind)}, and {taken}", remedy)


def io_type(kind: int, version: Version) -> Finding | None:
    """What is to be said about the type of a model's input or output."""
    if kind == INT64 and version < (9, 0):
        what = "it is INT64: TensorRT 8 makes it INT32, and a buffer of INT64 holds nonsense"
        return Finding(
            "warning", what, "cast it in the network: `.to(torch.int32)`; jetpress's runner asks the engine"
        )
    if kind == DOUBLE:
        return Finding(
            "warning", "it is DOUBLE: TensorRT makes it FLOAT", "cast it in the network: `.float()`"
        )
    if not name(kind, version):
        what = f"it is {spelt(kind)}, which this TensorRT has not" if kind else "it is not a tensor"
        return Finding("error", what, "cast it in the network, or leave it to the code around the engine")
    return None
