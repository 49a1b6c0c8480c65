"""FP16 in the ONNX file: which layers can, found out on real images and edge inputs, and the rest left in FP32.

TensorRT 8 has a flag for FP16 and keeps layers in FP32 by itself where it thinks best. TensorRT 10 and newer
take types from the graph, so the graph must carry them. The largest number of every tensor is measured by running
the FP32 graph with all tensors as outputs; :mod:`jetpress.pipeline.graph.fp16` decides by these.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import onnx
import onnx_ir as ir

from jetpress.pipeline.graph import fp16, session
from jetpress.pipeline.graph.cases import Case
from jetpress.pipeline.graph.session import Feed
from jetpress.pipeline.store.facts.onnx_file import Fp16


def to_fp16(model: onnx.ModelProto, seen: Iterable[Case], parser: str | None = None) -> tuple[ir.Model, Fp16]:
    """As :func:`fed`, by cases as the file takes them, in its order."""
    return fed(model, feeds(model, seen), parser)


def feeds(model: onnx.ModelProto, seen: Iterable[Case]) -> Iterator[Feed]:
    """Cases as ``model`` takes them."""
    return (feed for _, case in seen for _, feed in session.feeds(model, case, len(case[0])))


def fed(model: onnx.ModelProto, seen: Iterable[Feed], parser: str | None = None) -> tuple[ir.Model, Fp16]:
    """``model`` with FP16 inside.

    Args:
        model: FP32, types and shapes inferred.
        seen: inputs as the file takes them.
        parser: the TensorRT that will read it; None where nobody knows.

    Returns:
        the graph, not checked yet; which nodes are in FP16
    """
    halved = ir.from_proto(model)
    floats = sum(any(one.dtype == fp16.FLOAT for one in node.outputs) for node in halved.graph)
    kept = fp16.halve(halved, largest(model, seen), parser)
    return halved, Fp16(floats, kept)


def largest(model: onnx.ModelProto, seen: Iterable[Feed]) -> dict[str, float]:
    """The largest absolute finite number of every floating-point tensor."""
    run = session.load(model, shown=session.tensors(model), optimise=False)
    found = dict[str, float]()
    for feed in seen:
        for name, array in {**feed, **run(feed)}.items():
            if array.dtype == np.float32 and array.size:
                most = max(float(array.max()), -float(array.min()))
                if not np.isfinite(most):  # an infinite mask is the same in FP16
                    most = float(np.abs(array[np.isfinite(array)]).max(initial=0))
                found[name] = max(found.get(name, 0.0), most)
    return found


def words(found: Fp16) -> str:
    """What became of the nodes."""
    kept, nodes = found.fp32, found.nodes
    if not kept:
        return f"FP16: all {nodes} nodes"
    most = "; ".join(f"{count} x {why}" for why, count in list(found.reasons.items())[:3])
    return f"FP16: {nodes - len(kept)} of {nodes} nodes; in FP32 stay {most}"
