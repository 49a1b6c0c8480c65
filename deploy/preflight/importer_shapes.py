"""Checks of importers.json on the sizes and values that a node works on, and on the branches of an If."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from jetpress.deploy.preflight.finding import rank_of
from jetpress.deploy.preflight.graph import Given, Graph
from jetpress.deploy.preflight.node import Node

With = Mapping[str, Any]
EMPTY_OUTPUTS_SINCE = (10, 6)
"""An output without a name is none (onnx-tensorrt 10.6, ModelImporter.cpp:226)."""


def no_negative(graph: Graph, node: Node, given: With) -> str:
    """No entry of a constant is below 0."""
    array = graph.array(node.input(given["input"]))
    if array is None:
        array = np.array(node.integers("pads"))
    return f"it has a negative {node.formal(given['input'])} entry" if (array < 0).any() else ""


def at_most(graph: Graph, node: Node, given: With) -> str:
    """No entry of a constant is above a number."""
    array = graph.array(node.input(given["input"]))
    if array is None or not (array > given["most"]).any():
        return ""
    return (
        f"its {node.formal(given['input'])} is {int(array.max())}, and TensorRT takes up to {given['most']}"
    )


def inputs_at_most(_: Graph, node: Node, given: With) -> str:
    """No more operands than a number."""
    count = sum(map(bool, node.inputs))
    return f"it has {count} operands, and TensorRT takes {given['most']}" if count > given["most"] else ""


def outputs(_: Graph, node: Node, given: With) -> str:
    """No more outputs than a number, used or not."""
    named = [name for name in node.outputs if name or given["version"] < EMPTY_OUTPUTS_SINCE]
    return f"it has {len(named)} outputs" if len(named) > given["most"] else ""


def rank(graph: Graph, node: Node, given: With) -> str:
    """An input has one of some numbers of dimensions."""
    rank = rank_of(graph, node, given["input"])
    if rank is None or rank in given["takes"]:
        return ""
    return f"its input has {rank} dimensions, and TensorRT takes {' or '.join(map(str, given['takes']))}"


def closed(graph: Graph, node: Node, given: With) -> str:
    """An input has no open dimension."""
    shape = graph.value(node.input(given["input"])).shape
    return "its input has open dimensions" if shape is not None and None in shape else ""


def old_broadcast(graph: Graph, node: Node, _: With) -> str:
    """Before opset 7 an attribute said along which axis; TensorRT takes one rank there."""
    if graph.opset >= 7:
        return ""
    ranks = [2, rank_of(graph, node, 2)] if node.op == "Gemm" else [rank_of(graph, node, at) for at in (0, 1)]
    if None in ranks or ranks[0] == ranks[1]:
        return ""
    return f"it broadcasts {ranks[1]} to {ranks[0]} dimensions as opset {graph.opset} does"


def uneven_pool(_: Graph, node: Node, __: With) -> str:
    """The first two dimensions are padded alike, or by one more at the end."""
    pads, auto = node.integers("pads"), node.attributes.get("auto_pad", "NOTSET")
    half = len(pads) // 2
    more = [end - begin for begin, end in zip(pads[:half][:2], pads[half:], strict=False)]
    if auto in ("SAME_UPPER", "SAME_LOWER") or all(one in (0, 1) for one in more):
        return ""
    return f"it pads {pads[:half]} before and {pads[half:]} behind"


def squeeze_open(graph: Graph, node: Node, _: With) -> str:
    """Which dimensions are 1 is known without axes."""
    shape = graph.value(node.input(0)).shape
    axes = graph.array(node.input(1)) if node.input(1) else np.array(node.integers("axes"))
    if shape is None or None not in shape or axes is None or axes.size:
        return ""
    return f"it has no axes, and its input {[size or '?' for size in shape]} is open"


def slice_starts(graph: Graph, node: Node, _: With) -> str:
    """Without axes the importer takes all of them, and asserts as many starts."""
    starts, rank = graph.value(node.input(1)).shape, rank_of(graph, node)
    if graph.opset < 10 or node.input(3) or not starts or starts[0] is None or rank in (None, starts[0]):
        return ""
    return f"it has no axes and {starts[0]} starts for {rank} dimensions"


def resized_axes(graph: Graph, node: Node, given: With) -> str:
    """What a mode resizes are the last dimensions."""
    mode, scales = (
        node.attributes.get("mode", "nearest"),
        graph.array(node.input(2 if graph.opset > 10 else 1)),
    )
    if mode != given["mode"] or scales is None or (scales[: -given["most"]] == 1).all():
        return ""
    return f"it resizes other than the last {given['most']} dimensions by mode = {mode}"


def output_padding_1d(graph: Graph, node: Node, _: With) -> str:
    """One-dimensional output is not padded."""
    padded = rank_of(graph, node) == 3 and any(node.integers("output_padding"))
    return "it pads its one-dimensional output (output_padding)" if padded else ""


def symmetric_3d(graph: Graph, node: Node, _: With) -> str:
    """Three dimensions are padded alike at both ends."""
    pads, extra = node.integers("pads"), node.integers("output_padding") or [0] * 3
    if rank_of(graph, node) != 5 or len(pads) != 6:
        return ""
    ends = [max(end - more, 0) for end, more in zip(pads[3:], extra, strict=False)]
    return (
        f"it pads three dimensions differently at both ends: {pads[:3]} and {ends}"
        if pads[:3] != ends
        else ""
    )


def output_shape(graph: Graph, node: Node, _: With) -> str:
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


def branches(graph: Graph, node: Node, _: With) -> str:
    """Both branches give one shape."""
    for ours, theirs in _pairs(graph, node):
        one, other = (given.value.shape or graph.value(given.name).shape for given in (ours, theirs))
        if one is None or other is None:
            continue
        if len(one) != len(other) or any(a != b for a, b in zip(one, other, strict=True) if a and b):
            shown = [[size or "?" for size in shape] for shape in (one, other)]
            return f"its branches give {shown[0]} and {shown[1]}"
    return ""


def branch_names(graph: Graph, node: Node, _: With) -> str:
    """TensorRT 8.2 keeps both branches' outputs by their names."""
    for ours, theirs in _pairs(graph, node):
        if ours.name == theirs.name:
            return f"both branches call an output {ours.name!r}"
    return ""


def branch_order(graph: Graph, node: Node, _: With) -> str:
    """TensorRT 8.5 takes a branch's outputs in the order in which its layers give them."""
    if node.input(0) in graph.constants:
        return ""
    for given in graph.branches.get(node.outputs[0], ()):
        places = [one.place for one in given if one.place is not None]
        if len(given) > 1 and (len(places) < len(given) or places != sorted(places)):
            return f"a branch gives {', '.join(one.name for one in given)} in another order than it computes them"
    return ""


def branch_outputs(graph: Graph, node: Node, _: With) -> str:
    """TensorRT 8.6 takes a branch's outputs out of a hash map by their addresses: in any order."""
    if node.input(0) in graph.constants or len(node.outputs) < 2:
        return ""
    return f"its branches give {len(node.outputs)} outputs, which are paired in no fixed order"


def _pairs(graph: Graph, node: Node) -> Iterator[tuple[Given, Given]]:
    """The outputs of both branches, where it is not known which is taken."""
    if node.input(0) not in graph.constants:
        yield from zip(*graph.branches.get(node.outputs[0], ((), ())), strict=False)


def even_split(graph: Graph, node: Node) -> bool:
    """All parts are equal."""
    shape, axis = graph.value(node.input(0)).shape, node.integer("axis", 0)
    size = shape[axis] if shape and -len(shape) <= axis < len(shape) else None
    return size is not None and size % max(len(node.outputs), 1) == 0


def enlarges(graph: Graph, node: Node) -> bool:
    """Nothing gets smaller, so that there is nothing to filter."""
    scales = graph.array(node.input(2)) if node.input(2) else None
    sizes = graph.array(node.input(3)) if node.input(3) else None
    shape = graph.value(node.input(0)).shape
    if scales is not None and scales.size:
        return bool((scales >= 1).all())
    if sizes is None or shape is None or len(sizes) != len(shape):
        return False
    return all(size is not None and new >= size for new, size in zip(sizes.tolist(), shape, strict=True))
