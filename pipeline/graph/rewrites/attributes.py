"""What a node is set to, so that TensorRT's importers read it: attributes written out, dropped, or as inputs."""

from __future__ import annotations

from typing import Literal

import numpy as np
import onnx_ir as ir

from jetpress.pipeline.graph.rewrites.site import Site

LAST = np.iinfo(np.int64).max


def constant(at: Site) -> bool:
    """``value_int`` is read as 0 and ``value_ints`` as nothing by TensorRT 8: ``value`` says the same."""
    for name in ("value_int", "value_ints"):
        if name in at.node.attributes:
            numbers = np.array(at.node.attributes.pop(name).value, np.int64)
            at.node.attributes["value"] = ir.AttrTensor("value", ir.tensor(numbers))
            return True
    return False


def kernel_shape(at: Site) -> bool:
    """The importers look for it where the weight is no initializer; ONNX takes it from the weight."""
    shape = at.shape(1)
    if "kernel_shape" in at.node.attributes or shape is None or None in shape[2:]:
        return False
    at.node.attributes["kernel_shape"] = ir.AttrInt64s("kernel_shape", [size or 0 for size in shape[2:]])
    return True


def no_reduction(at: Site) -> bool:
    """ScatterND: up to 10.8 the attribute must not be there, not even as ``none``."""
    return at.attribute("reduction") == "none" and at.node.attributes.pop("reduction") is not None


def upper(at: Site) -> bool:
    """Left out it means 1 to ONNX and 0 to TensorRT."""
    return _write(at, "upper", 1)


def sampling_ratio(at: Site) -> bool:
    """Left out it means 0 (as many as fit) to ONNX and 1 to TensorRT."""
    return _write(at, "sampling_ratio", 0)


def axis(at: Site) -> bool:
    """Left out it means 1 to ONNX and 0 to TensorRT, where there is a scale for each channel."""
    scale = at.shape(1)
    return scale not in (None, [], [1]) and _write(at, "axis", 1)


def mode(at: Site) -> bool:
    """GridSample calls ``linear`` since opset 20 what was ``bilinear``; both are the default of their reader."""
    return at.attribute("mode") == "linear" and at.node.attributes.pop("mode") is not None


def condition(at: Site) -> bool:
    """A Loop without condition goes on: so does one whose condition is true."""
    if at.input(1) is not None:
        return False
    at.node.replace_input_with(1, at.constant(np.array(True)))
    return True


def one_output(at: Site) -> bool:
    """Some importers give the first output alone, and refuse a node that names more."""
    more = at.node.outputs[1:]
    if not more or any(output.uses() or output.is_graph_output() for output in more):
        return False
    at.node.resize_outputs(1)
    return True


def slice_axes(at: Site) -> bool:
    """Without axes TensorRT asks for as many starts as dimensions."""
    starts, blank = at.shape(1), len(at.node.inputs) > 3  # an empty name is an input to the importers
    if at.input(3) is not None or starts is None or starts[0] is None:
        return False
    if starts[0] == at.rank() and not blank:
        return False
    at.node.resize_inputs(max(len(at.node.inputs), 4))
    at.node.replace_input_with(3, at.constant(np.arange(starts[0])))
    return True


def no_blank(at: Site) -> bool:
    """Importers that count inputs take an empty name at the end for one."""
    given = [place for place, value in enumerate(at.node.inputs, 1) if value is not None]
    if len(at.node.inputs) == max(given, default=0):
        return False
    at.node.resize_inputs(max(given, default=0))
    return True


def valid_pads(at: Site) -> bool:
    """With auto_pad = VALID ONNX pads nothing, and TensorRT what ``pads`` says."""
    return at.attribute("auto_pad") == "VALID" and at.node.attributes.pop("pads", None) is not None


def shape(at: Site) -> ir.Value | Literal[False]:
    """``start`` and ``end`` are not read: a Slice of the whole shape says the same."""
    start, end = at.attribute("start", 0), at.attribute("end")
    if start == 0 and end is None:
        return False
    bounds = (start, LAST if end is None else end)
    begin, stop = (at.constant(np.array([bound], np.int64)) for bound in bounds)
    return at.op("Slice", at.op("Shape", at.x()), begin, stop, at.constant(np.array([0], np.int64)))


def reduce_sum(at: Site) -> ir.Value | bool:
    """TensorRT 8 takes no axes for all of them, and empty ones for none, whatever ``noop_with_empty_axes`` says."""
    axes = at.constant_of(1)
    if at.input(1) is not None and (axes is None or axes.size):
        return False
    if at.attribute("noop_with_empty_axes", 0):
        return at.op("Identity", at.x())
    if at.input(1) is None:
        return False
    at.node.resize_inputs(1)
    return True


def _write(at: Site, name: str, value: int) -> bool:
    if name in at.node.attributes:
        return False
    at.node.attributes[name] = ir.AttrInt64(name, value)
    return True
