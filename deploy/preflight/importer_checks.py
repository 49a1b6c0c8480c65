"""The checks that importers.json names: what is wrong with a node in words, or nothing.

Each takes the graph, the node and what the rule is written with (``version`` besides).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from jetpress.deploy.preflight import elements
from jetpress.deploy.preflight import importer_shapes as shapes
from jetpress.deploy.preflight.finding import rank_of
from jetpress.deploy.preflight.graph import Graph
from jetpress.deploy.preflight.node import Node

With = Mapping[str, Any]
Check = Callable[[Graph, Node, With], str]
BETAS = frozenset({"ScaledTanh", "HardSigmoid", "Affine"})
ALPHAS = BETAS | {"LeakyRelu", "ThresholdedRelu", "Elu"}
"""Activations of recurrent layers that take a number."""
UINT8, FLOAT16, FLOATS, FP8S = 2, 10, frozenset({1, 10}), frozenset({17, 18, 19, 20})


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


def _texts(_: Graph, node: Node, given: With) -> str:
    """Each word of an attribute is one of some."""
    words = [word.decode("utf-8", "replace") for word in node.texts(given["attribute"])]
    other = [word for word in words if word not in given["takes"]]
    return f"it has {given['attribute']} with {other[0]}" if other else ""


def _sizes_not(_: Graph, node: Node, given: With) -> str:
    """It resizes by scales, where an attribute has a value."""
    if not node.input(3) or any(node.attributes.get(key) != asked for key, asked in given["when"].items()):
        return ""
    return f"it has {' and '.join(f'{key} = {asked}' for key, asked in given['when'].items())} and sizes"


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


def _valid_pads(_: Graph, node: Node, __: With) -> str:
    """With auto_pad = VALID ONNX pads nothing, and TensorRT what pads says."""
    if node.attributes.get("auto_pad") != "VALID" or not any(node.integers("pads")):
        return ""
    return f"it has auto_pad = VALID and pads {node.integers('pads')}"


def _both_directions(_: Graph, node: Node, given: With) -> str:
    """Forward and backward have the same numbers."""
    for name in given["attributes"] if node.attributes.get("direction") == "bidirectional" else ():
        numbers = node.attributes.get(name)
        if isinstance(numbers, list) and numbers[: len(numbers) // 2] != numbers[len(numbers) // 2 :]:
            return f"its two directions have different {name}"
    return ""


def _activation_places(_: Graph, node: Node, __: With) -> str:
    """ONNX gives the numbers to the activations that take one, in turn; TensorRT to the first, second, ... of all."""
    words = [word.decode("utf-8", "replace") for word in node.texts("activations")]
    for name, takers in (("activation_alpha", ALPHAS), ("activation_beta", BETAS)):
        numbers = node.attributes.get(name)
        count = len(numbers) if isinstance(numbers, list) else 0
        if any(word in takers for word in words) and any(word not in takers for word in words[:count]):
            return f"its {name} has {count} numbers for {', '.join(words)}"
    return ""


def _opset_before(graph: Graph, _: Node, given: With) -> str:
    """Its meaning changed with an opset although it looks the same."""
    if graph.opset < given["opset"]:
        return ""
    return f"its meaning changed with opset {given['opset']}, and the graph has {graph.opset}"


# -- inputs that must be known -------------------------------------------------------------------------------


def _weights(graph: Graph, name: str, given: With) -> bool:
    """Initializers and Constant nodes: what an Identity or a Cast hands on is a tensor to the parser. What a Transpose
    hands on is one since 8.4 (8.2 builtin_op_importers.cpp:4505)."""
    while given["version"] < (8, 4) and name not in graph.constants and name in graph.producers:
        node = graph.producers[name]
        if node.op != "Transpose" or not node.inputs:
            return False
        name = node.inputs[0]
    return name in graph.constants


def _initializer(graph: Graph, node: Node, given: With) -> str:
    if any(map(node.input, given.get("unless_inputs", ()))):
        return ""
    for at in given["inputs"]:
        if node.input(at) and not _weights(graph, node.input(at), given):
            return f"its input {node.formal(at)} is computed and must be an initializer"
    return ""


def _no_initializer(graph: Graph, node: Node, given: With) -> str:
    at = given["inputs"][0]
    return f"its input {node.formal(at)} is an initializer" if node.input(at) in graph.constants else ""


def _known(graph: Graph, node: Node, given: With) -> str:
    """Inputs follow from constants, by whatever way the builder can fold."""
    for at in given["inputs"]:
        if node.input(at) and not graph.is_constant(node.input(at)):
            return f"its input {node.formal(at)} is computed at run time"
    return ""


def _given(_: Graph, node: Node, given: With) -> str:
    missing = [at for at in given["inputs"] if not node.input(at)]
    return f"its input {node.formal(missing[0])} is left out" if missing else ""


def _kernel_shape(graph: Graph, node: Node, given: With) -> str:
    """Where weight or bias is a tensor to the parser, the size of the kernel is taken from the attribute alone."""
    looked_at = (1, 2) if given["version"] >= (8, 5) else (1,)
    tensors = [
        at for at in looked_at if at < len(node.inputs) and not _weights(graph, node.input(at), given)
    ]  # an empty name is a tensor, too
    if "kernel_shape" in node.attributes or not tensors:
        return ""
    return f"it has no kernel_shape, and its input {node.formal(tensors[0])} is no initializer"


def _false(graph: Graph, node: Node, given: With) -> str:
    flag = graph.array(node.input(given["input"]))
    return "it is in training mode" if flag is not None and flag.any() else ""


def _input_never_read(_: Graph, node: Node, given: With) -> str:
    at = given["input"]
    return f"its input {node.formal(at)} is never read" if node.input(at) else ""


def _blank(_: Graph, node: Node, given: With) -> str:
    """An input that is left out by an empty name: importers that count inputs take it for one."""
    blank = [at for at in given["inputs"] if at < len(node.inputs) and not node.input(at)]
    return f"its input {node.formal(blank[0])} is left out by an empty name" if blank else ""


def _empty_axes(graph: Graph, node: Node, _: With) -> str:
    axes = graph.array(node.input(1)) if node.input(1) else None
    if axes is None or axes.size or node.attributes.get("noop_with_empty_axes"):
        return ""
    return "its axes are empty, which ONNX reads as all of them and TensorRT as none"


# -- types ---------------------------------------------------------------------------------------------------


def _type(graph: Graph, node: Node, given: With) -> str:
    excused = given.get("unless_initializers")
    there = [at for at in excused or () if at < len(node.inputs)]  # an empty name is a tensor to the parser
    if excused and all(node.input(at) in graph.constants for at in there):
        return ""
    for at in given["inputs"]:
        kind = graph.value(node.input(at)).kind if node.input(at) else 0
        if kind and elements.name(kind, given["version"]) in given["refuses"]:
            return f"its input {node.formal(at)} is {elements.spelt(kind)}"
    return ""


def _half_state(graph: Graph, node: Node, _: With) -> str:
    """A recurrent layer starts with zeros in FP32 where it is given no state, whatever it computes in."""
    states = (5, 6) if node.op == "LSTM" else (5,)
    missing = [at for at in states if not node.input(at)]
    if graph.value(node.input(0)).kind != FLOAT16 or not missing:
        return ""
    return f"it computes in FP16 and its input {node.formal(missing[0])} is left out, which becomes FP32"


def _uint8_cast(graph: Graph, node: Node, _: With) -> str:
    """UINT8 becomes floating point, and floating point UINT8."""
    kinds = (graph.value(node.input(0)).kind, graph.value(node.outputs[0]).kind)
    if UINT8 not in kinds or kinds[0] == kinds[1] or {*kinds} & FLOATS or 0 in kinds:
        return ""
    return f"it casts {elements.spelt(kinds[0])} to {elements.spelt(kinds[1])}"


def _uint8_between(graph: Graph, node: Node, _: With) -> str:
    between = any(
        graph.value(name).kind == UINT8 and name not in graph.outputs for name in node.outputs if name
    )
    return "it gives UINT8 to other nodes" if between and node.op != "Constant" else ""


CHECKS: dict[str, Check] = {
    "value": _value,
    "texts": _texts,
    "sizes_not": _sizes_not,
    "absent": _absent,
    "written": _written,
    "all_ones": _all_ones,
    "valid_pads": _valid_pads,
    "both_directions": _both_directions,
    "activation_places": _activation_places,
    "opset_before": _opset_before,
    "initializer": _initializer,
    "no_initializer": _no_initializer,
    "known": _known,
    "given": _given,
    "kernel_shape": _kernel_shape,
    "false": _false,
    "blank": _blank,
    "input_never_read": _input_never_read,
    "empty_axes": _empty_axes,
    "type": _type,
    "uint8_between": _uint8_between,
    "no_negative": shapes.no_negative,
    "at_most": shapes.at_most,
    "inputs_at_most": shapes.inputs_at_most,
    "outputs": shapes.outputs,
    "rank": shapes.rank,
    "closed": shapes.closed,
    "old_broadcast": shapes.old_broadcast,
    "uneven_pool": shapes.uneven_pool,
    "squeeze_open": shapes.squeeze_open,
    "slice_starts": shapes.slice_starts,
    "resized_axes": shapes.resized_axes,
    "output_padding_1d": shapes.output_padding_1d,
    "symmetric_3d": shapes.symmetric_3d,
    "output_shape": shapes.output_shape,
    "branches": shapes.branches,
    "branch_names": shapes.branch_names,
    "branch_order": shapes.branch_order,
    "branch_outputs": shapes.branch_outputs,
    "uint8_cast": _uint8_cast,
    "half_state": _half_state,
}


TAKEN: dict[str, Callable[[Graph, Node], bool]] = {
    "attribute": lambda _, __: True,
    "inputs": lambda _, __: True,
    "even_split": shapes.even_split,
    "enlarges": shapes.enlarges,
    "not_fp8": lambda _, node: node.integer("to", 0) not in FP8S,
}
