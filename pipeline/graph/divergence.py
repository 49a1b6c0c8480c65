"""Where does an ONNX graph first give other numbers? Names the node and the PyTorch module.

The idea: PyTorch's exporter names every intermediate tensor, and the passes after it keep the names. So the
graph is held against a fresh export of the same network with nothing done to it: both run with every tensor
as an output, and the first tensor of the same name that differs is where the two part.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort
from numpy.typing import NDArray
from onnx_ir.passes import common

from jetpress.pipeline.graph.ends import MARK
from jetpress.pipeline.graph.trace import quiet, trace
from jetpress.pipeline.network.models import Network

Array = NDArray[Any]
OPSET = 18


def session(model: onnx.ModelProto | Path, optimise: bool = True) -> ort.InferenceSession:
    """An ONNX Runtime session on the CPU; of a file where its weights lie beside it."""
    options = ort.SessionOptions()
    options.log_severity_level = 3
    # Its threads would wait by spinning, and PyTorch's need the cores in between.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    # What ONNX Runtime 1.31 does to INT8's Q/DQ it does to FP8's, too: it then refuses them or computes nonsense.
    if not optimise or _has_fp8(model):
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    source = str(model) if isinstance(model, Path) else model.SerializeToString()
    return ort.InferenceSession(source, options, providers=["CPUExecutionProvider"])


def _has_fp8(model: onnx.ModelProto | Path) -> bool:
    proto = onnx.load(model, load_external_data=False) if isinstance(model, Path) else model
    return any(one.data_type == onnx.TensorProto.FLOAT8E4M3FN for one in proto.graph.initializer)


def first_difference(
    network: Network,
    model: onnx.ModelProto,
    feed: Mapping[str, Array],
    given: Sequence[Array],
    tolerance: float,
) -> str:
    """Where ``model`` and a fresh export of ``network`` part, in words.

    Args:
        feed: input of ``model`` -> array, at its batch size.
        given: the same as the network takes it, in the order of ``forward``.
        tolerance: largest absolute difference over the largest absolute value of the tensor.
    """
    batch = len(given[0])
    # The same kind of batch and opset as the model has, or the exporter would number its tensors otherwise.
    is_open = not model.graph.input[0].type.tensor_type.shape.dim[0].dim_value
    opset = max(OPSET, *(one.version for one in model.opset_import if one.domain == ""))
    with quiet():
        inputs, outputs = network.model.inputs, network.model.outputs
        plain = trace(network.module, inputs, outputs, opset, batch, max(2, batch) if is_open else None)
        common.InlinePass()(plain)
    names = [one.name for one in inputs]
    expected = every_tensor(ir.to_proto(plain))(dict(zip(names, given, strict=True)))
    found = every_tensor(model)(feed)
    last = ""
    for node in model.graph.node:
        for name in node.output if not node.name.startswith(f"{MARK}/") else ():
            if name not in expected or name not in found or expected[name].dtype.kind not in "fiub":
                continue
            if not close(expected[name], found[name], tolerance):
                module = node.name.rpartition("/")[0]
                where = f"PyTorch module {module!r}" if module else "the network's own forward"
                after = f"; all is equal up to {last!r}" if last else ""
                return f"the first node that differs is {node.name!r} ({node.op_type}), from {where}{after}"
            last = node.name
    return "no single node differs from a fresh export: PyTorch's exporter itself changes the function"


def every_tensor(model: onnx.ModelProto) -> Callable[[Mapping[str, Array]], dict[str, Array]]:
    """From inputs to the values of all tensors of the main graph, by name."""
    marked = onnx.ModelProto()
    marked.CopyFrom(model)
    names = [name for node in model.graph.node for name in node.output if name]
    present = {output.name for output in model.graph.output}
    marked.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names if name not in present)
    # Without ONNX Runtime's own fusions every tensor is really computed.
    runner = session(marked, optimise=False)
    wanted = [output.name for output in runner.get_outputs()]

    def run(feed: Mapping[str, Array]) -> dict[str, Array]:
        return dict(zip(wanted, runner.run(wanted, dict(feed)), strict=True))

    return run


def close(expected: Array, found: Array, tolerance: float) -> bool:
    """Whether two tensors are the same within ``tolerance`` of their largest value. NaN is never close."""
    if expected.shape != found.shape:
        return False
    if not expected.size:
        return True
    scale = float(np.abs(expected.astype(np.float64)).max())
    difference = np.abs(expected.astype(np.float64) - found.astype(np.float64)).max()
    return bool(difference <= tolerance * scale)
