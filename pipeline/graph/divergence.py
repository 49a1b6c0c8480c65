"""Where does an ONNX graph first give other numbers? Names the node and the PyTorch module.

The idea: PyTorch's exporter names every intermediate tensor, and the passes after it keep the names. So the
graph is held against a fresh export of the same network with nothing done to it: both run with every tensor
as an output, and the first tensor of the same name that differs is where the two part.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import onnx
import onnx_ir as ir
from onnx_ir.passes import common

from jetpress.pipeline.graph import session
from jetpress.pipeline.graph.ends import MARK
from jetpress.pipeline.graph.session import Array
from jetpress.pipeline.graph.trace import quiet, trace
from jetpress.pipeline.network.models import Network

OPSET = 18


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
    expected = _every_tensor(ir.to_proto(plain), dict(zip(names, given, strict=True)))
    found = _every_tensor(model, feed)
    node, last = first_of(model, expected, found, tolerance)
    if node is None:
        return "no single node differs from a fresh export: PyTorch's exporter itself changes the function"
    module = node.name.rpartition("/")[0]
    where = f"PyTorch module {module!r}" if module else "the network's own forward"
    after = f"; all is equal up to {last!r}" if last else ""
    return f"the first node that differs is {node.name!r} ({node.op_type}), from {where}{after}"


def first_of(
    model: onnx.ModelProto, expected: Mapping[str, Array], found: Mapping[str, Array], tolerance: float
) -> tuple[onnx.NodeProto | None, str]:
    """The first node of ``model`` whose output is another than the tensor ``expected`` by that name, and the name of
    the last one before it that was equal. None: there is no such node."""
    last = ""
    for node in model.graph.node:
        for name in node.output if not node.name.startswith(f"{MARK}/") else ():
            if name not in expected or name not in found or expected[name].dtype.kind not in "fiub":
                continue
            if not close(expected[name], found[name], tolerance):
                return node, last
            last = node.name
    return None, last


def _every_tensor(model: onnx.ModelProto, feed: Mapping[str, Array]) -> dict[str, Array]:
    return session.load(model, shown=session.tensors(model), optimise=False)(feed)


def close(expected: Array, found: Array, tolerance: float) -> bool:
    """Whether two tensors are the same within ``tolerance`` of their largest value. NaN is never close."""
    if expected.shape != found.shape:
        return False
    if not expected.size:
        return True
    scale = float(np.abs(expected.astype(np.float64)).max())
    difference = np.abs(expected.astype(np.float64) - found.astype(np.float64)).max()
    return bool(difference <= tolerance * scale)
