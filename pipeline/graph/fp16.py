"""FP16 in the graph itself, for TensorRT that takes types from there (10 and newer).

Every node that can compute in FP16 does; what it reads in FP32 is cast before it, and what others read in FP32
is cast behind it. Inputs and outputs of the graph keep their types. Which inputs and outputs of an operator may
be FP16 is asked of its ONNX schema, so nothing is turned into what the opset does not define. FP32 stays where
FP16 cannot hold the numbers: a value outside of ``LARGEST`` or all below ``SMALLEST`` on the inputs that were
looked at, or a constant that FP16 rounds too far.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray
from onnx import defs
from onnx_ir.passes import common

from jetpress.deploy.targets import version_of
from jetpress.pipeline.graph.names import Names

HEADROOM = 8
"""Data that nobody has looked at may be larger by this factor."""
LARGEST = float(np.finfo(np.float16).max) / HEADROOM
SMALLEST = float(np.finfo(np.float16).smallest_normal)
ROUNDING = 2.0**-8
"""Largest relative error of a constant as a whole: eight times FP16's own rounding. 1e-6 has 5 %, 1e-12 is 0."""
WHOLE = 2048.0
"""Up to here FP16 has every whole number."""
# Coordinates and running sums need more digits than images do; the others have a type written into them.
KEPT = {
    **dict.fromkeys(("GridSample", "RoiAlign", "AffineGrid", "NonMaxSuppression"), "it computes coordinates"),
    **dict.fromkeys(("CumSum", "Range"), "it adds up"),
    **dict.fromkeys(
        ("ConstantOfShape", "EyeLike", "RandomNormalLike", "RandomUniformLike"), "its type is fixed"
    ),
}
GRU = "TensorRT before 10.4 computes it wrongly in FP16"
GRU_SINCE = (10, 4)
"""10.3 writes a 1 of FP32 into a constant of FP16 (onnx-tensorrt 10.3, onnxOpImporters.cpp:2497)."""
STATES = {"LSTM": (5, 6), "RNN": (5,), "GRU": (5,)}
"""Initial states: left out, TensorRT takes zeros in FP32 (onnx-tensorrt 10.10, onnxOpImporters.cpp:3370). Lowering
writes them out."""
COORDINATES = ("decode_boxes", "suppress_boxes")
"""Modules of a detector that compute with boxes: FP16 has a quarter of a pixel at 256 pixels."""
WITH_BIAS = ("Conv", "ConvTranspose", "Gemm", "LayerNormalization")
FLOAT, HALF = ir.DataType.FLOAT, ir.DataType.FLOAT16
Largest = Mapping[str, float]
"""Value -> largest absolute (finite) number in it, over all inputs that were looked at."""


@dataclass(frozen=True)
class _Places:
    """Which inputs and outputs of a node become FP16."""

    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


def halve(model: ir.Model, largest: Largest, parser: str | None = None) -> dict[str, str]:
    """Turn ``model`` into FP16, in place. Types and shapes must have been inferred.

    Args:
        parser: the TensorRT that will read it; None where nobody knows.

    Returns:
        nodes that stay in FP32 although they compute with it -> why
    """
    common.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(model)
    graph, kept, places = model.graph, dict[str, str](), dict[ir.Node, _Places]()
    wrong = {} if parser and version_of(parser) >= GRU_SINCE else {"GRU": GRU}
    for node in graph:
        why = ""
        found = _places(node, model.opset_imports[""], {**KEPT, **wrong})
        if found is None or isinstance(found, str):
            why = found or ""
        elif not (why := _unfit(node, found, largest)):
            places[node] = found
        if why:
            kept[node.name or ""] = why
    for node, at in places.items():
        if node.op_type == "Cast" and at.outputs:
            node.attributes["to"] = ir.AttrInt64("to", int(HALF))
        for index in at.outputs:
            node.outputs[index].type = ir.TensorType(HALF)
    names = Names(graph)
    for value in list(graph.initializers.values()):
        if value.dtype == FLOAT:
            _convert(graph, names, value, places)
    for value in [*graph.inputs, *(value for node in list(graph) for value in node.outputs)]:
        if value.dtype in (FLOAT, HALF):
            _cast_for_others(graph, names, value, places)
    return kept


def _places(node: ir.Node, opset: int, kept: Mapping[str, str]) -> _Places | str | None:
    """What of a node may be FP16; why not; None where it has nothing to do with FP32."""
    values = [value for value in (*node.inputs, *node.outputs) if value is not None]
    if all(value.dtype != FLOAT for value in values):
        return None
    if node.op_type in kept:
        return kept[node.op_type]
    if any(at >= len(node.inputs) or node.inputs[at] is None for at in STATES.get(node.op_type, ())):
        return "TensorRT starts it in FP32"
    if (node.name or "").rpartition("/")[0].endswith(COORDINATES):
        return "it computes coordinates"
    if node.domain or any(
        one.type in (ir.AttributeType.GRAPH, ir.AttributeType.GRAPHS) for one in node.attributes.values()
    ):
        return "it is not a plain ONNX operator"
    if node.op_type == "Cast" and node.outputs[0].dtype not in (FLOAT, ir.DataType.BOOL):
        return "it makes whole numbers"
    schema = defs.get_schema(node.op_type, opset, "")
    allowed = {one.type_param_str: one.allowed_type_strs for one in schema.type_constraints}
    chosen: list[tuple[int, ...]] = []
    for found, formals in ((node.inputs, schema.inputs), (node.outputs, schema.outputs)):
        floats = [index for index, value in enumerate(found) if value is not None and value.dtype == FLOAT]
        kinds = {index: formals[min(index, len(formals) - 1)].type_str for index in floats}
        if any("tensor(float16)" not in allowed.get(kind, ["tensor(float16)"]) for kind in kinds.values()):
            return f"opset {opset} does not define it in FP16"
        chosen.append(tuple(index for index, kind in kinds.items() if kind in allowed))
    return _Places(*chosen) if any(chosen) else None


def _unfit(node: ir.Node, at: _Places, largest: Largest) -> str:
    """Why FP16 cannot hold what a node reads or gives; empty where it can."""
    read = [(index, value) for index in at.inputs if (value := node.inputs[index]) is not None]
    for index, value in [*read, *((-1, node.outputs[index]) for index in at.outputs)]:
        constant = value.const_value
        if constant is not None:
            error = rounding(constant.numpy())
            # A bias is added to far larger sums: one that FP16 makes zero was as good as zero.
            if error > (1.0 if index == 2 and node.op_type in WITH_BIAS else ROUNDING):
                return f"FP16 rounds its constant by {100 * error:.2g} %"
            continue
        most = largest.get(value.name or "", 0.0)
        if most > LARGEST:
            return f"a value of {most:.3g} was seen, FP16 ends at 65504"
        if 0 < most < SMALLEST:
            return f"its largest value is {most:.1g}, below FP16's normal numbers"
    source = node.inputs[0] if node.op_type == "Cast" else None
    whole = source is not None and source.dtype is not None and source.dtype.is_integer()
    if whole and largest.get(node.outputs[0].name or "", np.inf) > WHOLE:
        return f"FP16 does not have every whole number above {WHOLE:g}"
    return ""


def rounding(array: NDArray[np.float32]) -> float:
    """Relative error of a constant as a whole in FP16; infinite where it overflows."""
    exact = array[np.isfinite(array)].astype(np.float64)
    with np.errstate(over="ignore"):
        rounded = exact.astype(np.float16).astype(np.float64)
    if not np.isfinite(rounded).all():
        return float("inf")
    length = float(np.linalg.norm(exact))
    return float(np.linalg.norm(exact - rounded)) / length if length else 0.0


def _reads_half(user: ir.Node, index: int, places: Mapping[ir.Node, _Places]) -> bool:
    return user in places and index in places[user].inputs


def _convert(graph: ir.Graph, names: Names, value: ir.Value, places: Mapping[ir.Node, _Places]) -> None:
    """The constant in FP16 for those that read it so; under its own name where all do."""
    halves = [use for use in value.uses() if _reads_half(*use, places)]
    if not halves or value.const_value is None:
        return
    with np.errstate(over="ignore"):
        array = value.const_value.numpy().astype(np.float16)
    if len(halves) == len(value.uses()) and not value.is_graph_output():
        value.const_value, value.type = ir.tensor(array, name=value.name), ir.TensorType(HALF)
        return
    name = names.new(f"{value.name}_fp16")
    copy = ir.val(name, const_value=ir.tensor(array, name=name))
    graph.register_initializer(copy)
    for user, index in halves:
        user.replace_input_with(index, copy)


def _cast_for_others(
    graph: ir.Graph, names: Names, value: ir.Value, places: Mapping[ir.Node, _Places]
) -> None:
    """One Cast behind ``value`` for all that read it in the other type; an output of the graph stays FP32."""
    is_half = value.dtype == HALF
    others = [use for use in value.uses() if _reads_half(*use, places) != is_half]
    is_output = is_half and value.is_graph_output()
    if not others and not is_output:
        return
    to, name = (FLOAT if is_half else HALF), value.name
    before = value.producer()
    scope = (before.name or "").rpartition("/")[0] if before is not None else ""
    cast = ir.node("Cast", [value], {"to": int(to)}, name=f"{scope}/Cast".lstrip("/"))
    made = cast.outputs[0]
    made.shape, made.type = value.shape, ir.TensorType(to)
    made.name = names.new(f"{name}_{'fp32' if is_half else 'fp16'}")
    for user, index in others:
        user.replace_input_with(index, made)
    if is_output:
        value.name, made.name = names.new(f"{name}_fp16"), name
        for index, output in enumerate(graph.outputs):
            if output is value:
                graph.outputs[index] = made
    if before is None:
        graph.insert_before(graph[0], [cast])
    else:
        graph.insert_after(before, [cast])
