"""The checks that importers.json names: what is wrong with a node in words, or nothing.

Each takes the graph, the node and what the rule is written with (``version`` besides).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from jetpress.deploy.preflight import elements
from jetpress.deploy.preflight.finding import rank_of
from jetpress.deploy.preflight.graph import Graph
from jetpress.deploy.preflight.node import Node

With = Mapping[str, Any]
Check = Callable[[Graph, Node, With], str]
UINT8, FP8S = 2, frozenset({17, 18, 19, 20})


# -- attributes ----------------------------------------------------------------------------------------------


def _value(_: Graph, node: Node, given: With) -> str:
    """An attribute, where it is written, has one of some values."""
    name = given["attribute"]
    value = node.attributes.get(name)
    other = any(node.attributes.get(key) != asked for key, asked in given.get("when", {}).items())
    if (
        value is None
        or value in given["takes"]
        or other
        or any(map(node.input, given.get("unless_inputs", ())))
    ):
        return ""
    return f"it has {name} = {value}"


def _absent(_: Graph, node: Node, given: With) -> str:
    there = [name for name in given["attributes"] if name in node.attributes]
    return f"it has the attribute {there[0]}" if there else ""


def _written(graph: Graph, node: Node, given: With) -> str:
    """An attribute must be written out: what its absence means differs."""
    name = given["attribute"]
    if name in node.attributes or (given.get("per_channel") and not _per_channel(graph, node)):
        return ""
    return f"its attribute {name} is left out, which ONNX reads as {given['means']} and TensorRT as {given['reads']}"


def _per_channel(graph: Graph, node: Node) -> bool:
    scale = graph.value(node.input(1)).shape
    return scale is not None and len(scale) == 1 and scale[0] != 1 and rank_of(graph, node) != 1


def _all_ones(_: Graph, node: Node, given: With) -> str:
    name = given["attribute"]
    return f"it has {name} {node.integers(name)}" if any(one != 1 for one in node.integers(name)) else ""


def _opset_before(graph: Graph, _: Node, given: With) -> str:
    """Its meaning changed with an opset although it looks the same."""
    if graph.opset < given["opset"]:
        return ""
    return f"its meaning changed with opset {given['opset']}, and the graph has {graph.opset}"


# -- inputs that must be known -------------------------------------------------------------------------------


def _initializer(graph: Graph, node: Node, given: With) -> str:
    """Inputs are initializers or Constant nodes: what an Identity or a Cast hands on is a tensor to the parser."""
    if any(map(node.input, given.get("unless_inputs", ()))):
        return ""
    for at in given["inputs"]:
        if node.input(at) and node.input(at) not in graph.constants:
            return f"its input {_formal(node, at)} is computed and must be an initializer"
    return ""


def _no_initializer(graph: Graph, node: Node, given: With) -> str:
    at = given["inputs"][0]
    return f"its input {_formal(node, at)} is an initializer" if node.input(at) in graph.constants else ""


def _known(graph: Graph, node: Node, given: With) -> str:
    """Inputs follow from constants, by whatever way the builder can fold."""
    for at in given["inputs"]:
        if node.input(at) and not graph.is_constant(node.input(at)):
            return f"its input {_formal(node, at)} is computed at run time"
    return ""


def _given(_: Graph, node: Node, given: With) -> str:
    missing = [at for at in given["inputs"] if not node.input(at)]
    return f"its input {_formal(node, missing[0])} is left out" if missing else ""


def _kernel_shape(graph: Graph, node: Node, given: With) -> str:
    """Where weight or bias is a tensor to the parser, the size of the kernel is taken from the attribute alone."""
    looked_at = (1, 2) if given["version"] >= (8, 5) else (1,)
    tensors = [at for at in looked_at if node.input(at) and node.input(at) not in graph.constants]
    if "kernel_shape" in node.attributes or not tensors:
        return ""
    return f"it has no kernel_shape, and its input {_formal(node, tensors[0])} is no initializer"


def _false(graph: Graph, node: Node, given: With) -> str:
    flag = graph.array(node.input(given["input"]))
    return "it is in training mode" if flag is not None and flag.any() else ""


def _input_never_read(_: Graph, node: Node, given: With) -> str:
    at = given["input"]
    return f"its input {_formal(node, at)} is never read" if node.input(at) else ""


def _empty_axes(graph: Graph, node: Node, _: With) -> str:
    axes = graph.array(node.input(1)) if node.input(1) else None
    if axes is None or axes.size or node.attributes.get("noop_with_empty_axes"):
        return ""
    return "its axes are empty, which ONNX reads as all of them and TensorRT as none"


# -- types ---------------------------------------------------------------------------------------------------


def _type(graph: Graph, node: Node, given: With) -> str:
    excused = given.get("unless_initializers")
    if excused and all(not node.input(at) or node.input(at) in graph.constants for at in excused):
        return ""
    for at in given["inputs"]:
        kind = graph.value(node.input(at)).kind if node.input(at) else 0
        if kind and elements.name(kind, given["version"]) in given["refuses"]:
            return f"its input {_formal(node, at)} is {elements.spelt(kind)}"
    return ""


def _uint8_between(graph: Graph, node: Node, _: With) -> str:
    between = any(
        graph.value(name).kind == UINT8 and name not in graph.outputs for name in node.outputs if name
    )
    return "it gives UINT8 to other nodes" if between and node.op != "Constant" else ""


# -- shapes and values ---------------------------------------------------------------------------------------


def _no_negative(graph: Graph, node: Node, given: With) -> str:
    array = graph.array(node.input(given["input"]))
    if array is None:
        array = np.array(node.integers("pads"))
    return f"it has a negative {_formal(node, given['input'])} entry" if (array < 0).any() else ""


def _at_most(graph: Graph, node: Node, given: With) -> str:
    array = graph.array(node.input(given["input"]))
    if array is None or not (array > given["most"]).any():
        return ""
    return (
        f"its {_formal(node, given['input'])} is {int(array.max())}, and TensorRT takes up to {given['most']}"
    )


def _inputs_at_most(_: Graph, node: Node, given: With) -> str:
    count = sum(map(bool, node.inputs))
    return f"it has {count} operands, and TensorRT takes {given['most']}" if count > given["most"] else ""


def _outputs(_: Graph, node: Node, given: With) -> str:
    return f"it has {len(node.outputs)} outputs" if len(node.outputs) > given["most"] else ""


def _rank(graph: Graph, node: Node, given: With) -> str:
    rank = rank_of(graph, node, given["input"])
    if rank is None or rank in given["takes"]:
        return ""
    return f"its input has {rank} dimensions, and TensorRT takes {' or '.join(map(str, given['takes']))}"


def _closed(graph: Graph, node: Node, given: With) -> str:
    shape = graph.value(node.input(given["input"])).shape
    return "its input has open dimensions" if shape is not None and None in shape else ""


def _squeeze_open(graph: Graph, node: Node, _: With) -> str:
    shape = graph.value(node.input(0)).shape
    axes = graph.array(node.input(1)) if node.input(1) else np.array(node.integers("axes"))
    if shape is None or None not in shape or axes is None or axes.size:
        return ""
    return f"it has no axes, and its input {[size or '?' for size in shape]} is open"


def _slice_starts(graph: Graph, node: Node, _: With) -> str:
    """Without axes the importer takes all of them, and asserts as many starts."""
    starts, rank = graph.value(node.input(1)).shape, rank_of(graph, node)
    if graph.opset < 10 or node.input(3) or not starts or starts[0] is None or rank in (None, starts[0]):
        return ""
    return f"it has no axes and {starts[0]} starts for {rank} dimensions"


def _resized_axes(graph: Graph, node: Node, given: With) -> str:
    mode, scales = (
        node.attributes.get("mode", "nearest"),
        graph.array(node.input(2 if graph.opset > 10 else 1)),
    )
    if mode != given["mode"] or scales is None or (scales[: -given["most"]] == 1).all():
        return ""
    return f"it resizes other than the last {given['most']} dimensions by mode = {mode}"


def _output_padding_1d(graph: Graph, node: Node, _: With) -> str:
    padded = rank_of(graph, node) == 3 and any(node.integers("output_padding"))
    return "it pads its one-dimensional output (output_padding)" if padded else ""


def _symmetric_3d(graph: Graph, node: Node, _: With) -> str:
    pads, extra = node.integers("pads"), node.integers("output_padding") or [0] * 3
    if rank_of(graph, node) != 5 or len(pads) != 6:
        return ""
    ends = [max(end - more, 0) for end, more in zip(pads[3:], extra, strict=False)]
    return (
        f"it pads three dimensions differently at both ends: {pads[:3]} and {ends}"
        if pads[:3] != ends
        else ""
    )


def _output_shape(graph: Graph, node: Node, _: With) -> str:
    """Padding before the output may not come out negative (onnx-tensorrt, generatePadding)."""
    wanted, shape, kernel = (
        node.integers("output_shape"),
        *(graph.value(node.input(at)).shape for at in (0, 1)),
    )
    auto = node.attributes.get("auto_pad", "NOTSET")
    if not wanted or shape is None or kernel is None or None in (*shape[2:], *kernel[2:]) or auto != "NOTSET":
        return ""
    spatial = len(shape) - 2
    ones, zeros = [1] * spatial, [0] * spatial
    strides, dilations = node.integers("strides") or ones, node.integers("dilations") or ones
    extra = node.integers("output_padding") or zeros
    for at in range(spatial):
        size, taps = shape[2 + at] or 0, kernel[2 + at] or 0
        total = strides[at] * (size - 1) + extra[at] + (taps - 1) * dilations[at] + 1 - wanted[at - spatial]
        if total <= -2:  # halved towards zero
            return f"its output_shape {wanted} asks for padding before the output"
    return ""


def _branches(graph: Graph, node: Node, _: With) -> str:
    if node.input(0) in graph.constants:
        return ""
    for ours, theirs in zip(*graph.branches.get(node.outputs[0], ((), ())), strict=False):
        one, other = ours.shape, theirs.shape
        if one is None or other is None:
            continue
        if len(one) != len(other) or any(a != b for a, b in zip(one, other, strict=True) if a and b):
            shown = [[size or "?" for size in shape] for shape in (one, other)]
            return f"its branches give {shown[0]} and {shown[1]}"
    return ""


def _formal(node: Node, at: int) -> str:
    return next((f"`{name}`" for name, place in node.positions.items() if place == at), str(at))


CHECKS: dict[str, Check] = {
    "value": _value,
    "absent": _absent,
    "written": _written,
    "all_ones": _all_ones,
    "opset_before": _opset_before,
    "initializer": _initializer,
    "no_initializer": _no_initializer,
    "known": _known,
    "given": _given,
    "kernel_shape": _kernel_shape,
    "false": _false,
    "input_never_read": _input_never_read,
    "empty_axes": _empty_axes,
    "type": _type,
    "uint8_between": _uint8_between,
    "no_negative": _no_negative,
    "at_most": _at_most,
    "inputs_at_most": _inputs_at_most,
    "outputs": _outputs,
    "rank": _rank,
    "closed": _closed,
    "squeeze_open": _squeeze_open,
    "slice_starts": _slice_starts,
    "resized_axes": _resized_axes,
    "output_padding_1d": _output_padding_1d,
    "symmetric_3d": _symmetric_3d,
    "output_shape": _output_shape,
    "branches": _branches,
}


# -- what a newer opset has and an older importer takes all the same ---------------------------------------------


def _even_split(graph: Graph, node: Node) -> bool:
    shape, axis = graph.value(node.input(0)).shape, node.integer("axis", 0)
    size = shape[axis] if shape and -len(shape) <= axis < len(shape) else None
    return size is not None and size % max(len(node.outputs), 1) == 0


def _enlarges(graph: Graph, node: Node) -> bool:
    scales = graph.array(node.input(2)) if node.input(2) else None
    sizes = graph.array(node.input(3)) if node.input(3) else None
    shape = graph.value(node.input(0)).shape
    if scales is not None and scales.size:
        return bool((scales >= 1).all())
    if sizes is None or shape is None or len(sizes) != len(shape):
        return False
    return all(size is not None and new >= size for new, size in zip(sizes.tolist(), shape, strict=True))


TAKEN: dict[str, Callable[[Graph, Node], bool]] = {
    "attribute": lambda _, __: True,
    "inputs": lambda _, __: True,
    "even_split": _even_split,
    "enlarges": _enlarges,
    "not_fp8": lambda _, node: node.integer("to", 0) not in FP8S,
}
