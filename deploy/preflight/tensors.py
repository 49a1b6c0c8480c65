"""Conditions on what a node works on, its inputs and outputs: constants, ranks, sizes, values."""

from __future__ import annotations

import re

from jetpress.deploy.preflight.finding import Finding, quoted, rank_of
from jetpress.deploy.preflight.graph import Graph
from jetpress.deploy.preflight.node import Node

FLOATS = (1, 10, 11, 16)
FOLD = (
    "fix the shapes that it is computed from and fold constants, as `jetpress engine` and `jetpress run` do"
)


def constant(graph: Graph, node: Node, sentence: re.Match[str]) -> Finding | None:
    """The inputs that the sentence names are known when the engine is built."""
    for name in quoted(sentence[0]):
        if node.input(name) and not graph.is_constant(node.input(name)):
            return Finding(
                "error", f"its input `{name}` is computed at run time and must be a constant", FOLD
            )
    return None


def constant_where_float(graph: Graph, node: Node, sentence: re.Match[str]) -> Finding | None:
    """The same, of floating-point operands alone."""
    return constant(graph, node, sentence) if graph.value(node.input(0)).kind in FLOATS else None


def spatial(graph: Graph, node: Node, _: re.Match[str]) -> Finding | None:
    """One to three spatial dimensions."""
    rank = rank_of(graph, node)
    # The tables say 2 or 3; the importers also take 1 and add a second (onnx-tensorrt, poolingHelper).
    if rank is None or 3 <= rank <= 5:
        return None
    return Finding(
        "error", f"it works on {rank - 2} spatial dimensions, and TensorRT on 1 to 3", "split or reshape"
    )


def rank_3_to_5(graph: Graph, node: Node, _: re.Match[str]) -> Finding | None:
    """Three to five dimensions."""
    rank = rank_of(graph, node)
    if rank is None or 3 <= rank <= 5:
        return None
    return Finding(
        "error", f"its input has {rank} dimensions, and TensorRT takes 3 to 5", "reshape before and after"
    )


def must_be_4d(graph: Graph, node: Node, sentence: re.Match[str]) -> Finding | None:
    """Four dimensions, of the inputs that the sentence names or of the first."""
    names: list[int | str] = [*quoted(sentence[0])] or [0]
    for name in names:
        rank = rank_of(graph, node, name)
        if rank not in (None, 4):
            shown = f"`{name}`" if name else ""
            return Finding(
                "error", f"its input {shown} has {rank} dimensions, and TensorRT takes 4", "reshape to 4"
            )
    return None


def later_outputs(graph: Graph, node: Node, _: re.Match[str]) -> Finding | None:
    """Outputs behind the first are not used."""
    used = [name for name in node.outputs[1:] if name in graph.used]
    if not used:
        return None
    return Finding(
        "error", "its second output is used, and TensorRT gives the first only", "compute it another way"
    )


def no_inputs(_: Graph, node: Node, sentence: re.Match[str]) -> Finding | None:
    """The inputs that the sentence names are left out."""
    there = [name for name in quoted(sentence[0]) if node.input(name)]
    return (
        Finding("error", f"TensorRT does not take its input {there[0]}", "compute it another way")
        if there
        else None
    )


def static(graph: Graph, node: Node, _: re.Match[str]) -> Finding | None:
    """No open dimension."""
    if not graph.value(node.input(0)).open:
        return None
    return Finding(
        "error",
        "its input has open dimensions",
        "fix its shape: `jetpress engine --shape INPUT=1x3x640x640` (in a recipe export.dynamic_batch = false)",
    )


def static_axis(graph: Graph, node: Node, _: re.Match[str]) -> Finding | None:
    """The dimension of `axis` is fixed."""
    shape, axis = graph.value(node.input(0)).shape, node.integer("axis", -1)
    if shape is None or not -len(shape) <= axis < len(shape) or shape[axis] is not None:
        return None
    return Finding("error", f"the dimension of its axis {axis} is open", "export with this dimension fixed")


def padded(_: Graph, __: Node, ___: re.Match[str]) -> Finding | None:
    """Nothing can be wrong: the reader of the output must know it."""
    return Finding(
        "warning",
        "its output has a fixed length: what is not found is filled up",
        "read as many rows as there are detections, or leave it to the post-processing",
    )


def negative_indices(graph: Graph, node: Node, _: re.Match[str]) -> Finding | None:
    """Constant indices count from the start."""
    indices = graph.array(node.input("indices"))
    if indices is None or (indices >= 0).all():
        return None
    return Finding("error", "it gathers at negative indices", "count them from the start")


def two_zero_pads(graph: Graph, node: Node, _: re.Match[str]) -> Finding | None:
    """Zeros, in two dimensions at most."""
    pads, value = graph.array(node.input("pads")), graph.array(node.input("constant_value"))
    if node.attributes.get("mode", "constant") != "constant" or (value is not None and value.any()):
        return Finding("error", "it pads with something else than zeros", "pad with zeros")
    if pads is not None and int(pads.reshape(2, -1).any(0).sum()) > 2:
        return Finding("error", "it pads more than two dimensions", "pad one after the other")
    return None


def less_than(graph: Graph, node: Node, sentence: re.Match[str]) -> Finding | None:
    """A constant input up to a limit."""
    array = graph.array(node.input(sentence[1]))
    if array is None or (array <= int(sentence[2])).all():  # ITopKLayer's header says "up to"
        return None
    return Finding(
        "error",
        f"`{sentence[1]}` is {int(array.max())}, and TensorRT takes up to {sentence[2]}",
        "take fewer",
    )


def not_training(graph: Graph, node: Node, _: re.Match[str]) -> Finding | None:
    """A Dropout or BatchNormalization in evaluation mode."""
    flag = graph.array(node.input(2)) if node.input(2) else None
    if not node.input(2) or (flag is not None and not flag.any()):
        return None
    return Finding("error", "it is in training mode", "export the network in evaluation mode: model.eval()")


def deformable(graph: Graph, node: Node, _: re.Match[str]) -> Finding | None:
    """A deformable convolution in one or two dimensions, padded alike at both ends."""
    rank, pads = rank_of(graph, node), node.integers("pads")
    if rank not in (None, 3, 4):
        return Finding("error", f"its input has {rank} dimensions, and TensorRT takes 3 or 4", "reshape")
    if pads[: len(pads) // 2] != pads[len(pads) // 2 :]:
        return Finding("error", "it pads begin and end differently", "pad before it")
    return None
