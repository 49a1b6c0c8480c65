"""Layers with weights: whose time is what a runtime says, and what each of them computes and moves."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod

import onnx

REST = "rest"
"""What belongs to no layer with weights."""
WEIGHTED = ("Conv", "ConvTranspose", "Gemm", "MatMul")
SHAPE_LIKE = 1024
"""Constants of at most so many numbers may be shapes, axes or sizes, which shapes are inferred from."""
Shape = tuple[int, ...]


@dataclass(frozen=True)
class Cost:
    """Of one layer, of all samples of a run together."""

    macs: int
    """Multiply-accumulates."""
    activations: int
    """Numbers read and written, where what follows the layer is fused with it."""
    weights: int


def owners_of(proto: onnx.ModelProto) -> dict[str, str]:
    """Names of ONNX nodes and values -> the layer with weights that they follow."""
    constants = {one.name for one in proto.graph.initializer}
    maker: dict[str, str] = {}
    owner: dict[str, str] = {}
    for node in proto.graph.node:
        if node.op_type in ("QuantizeLinear", "DequantizeLinear") and node.input[0] in constants:
            constants |= set(node.output)  # a weight in eight bits
        if node.op_type in WEIGHTED and _weighted(node, constants):
            name = _layer(node, constants)
        else:
            name = next((maker[x] for x in reversed(node.input) if x in maker), REST)
        for key in (node.name, *node.output):
            owner[key] = name
        maker |= dict.fromkeys(node.output, name)
    return owner


def _weighted(node: onnx.NodeProto, constants: set[str]) -> bool:
    return any(name in constants for name in node.input) or node.op_type == "MatMul"


def _layer(node: onnx.NodeProto, constants: set[str]) -> str:
    """The module that the node came from, or its weight where a graph has no modules."""
    module, slash, _ = node.name.rpartition("/")
    if slash:
        return module
    weight = next((name for name in node.input if name in constants), node.name)
    return weight.removesuffix("_dequantized").removesuffix(".weight")


def attributed(layers: Mapping[str, float], owners: Mapping[str, str]) -> dict[str, float]:
    """Milliseconds by our layers' names; what cannot be told apart goes to ``rest``.

    ONNX Runtime names a fused node after its last value (``relu_nchwc``, ``..._token_3``); TensorRT joins the
    names of the nodes (``layer1.0.conv1/Conv + layer1.0/Relu``).
    """
    found: dict[str, float] = {}
    for name, milliseconds in layers.items():
        parts = [part.strip(" []()") for part in re.split(r" \+ |,| \|\| ", name)]
        plain = [re.sub(r"(_nchwc|_token_\d+|_gemm|_fused.*)$", "", part) for part in parts]
        known = [owners[part] for part in (*parts, *plain) if part in owners]
        layer = next((one for one in known if one != REST), REST)
        found[layer] = found.get(layer, 0.0) + milliseconds
    return found


def costs(proto: onnx.ModelProto, inputs: Mapping[str, Sequence[int | str]]) -> dict[str, Cost]:
    """What each layer with weights costs, in the order of the graph; one whose shapes depend on the data is left out.

    Args:
        proto: the graph; its weights may be missing, only their shapes are looked at. It is changed: large weights are
            gone afterwards, since inferring shapes copies them.
        inputs: shape of each input; a dimension by name counts as 1.
    """
    owner, constants = owners_of(proto), {one.name: tuple(one.dims) for one in proto.graph.initializer}
    shapes = _shapes(proto, inputs)
    found: dict[str, Cost] = {}
    for node in proto.graph.node:
        name = owner[node.output[0]]
        if node.op_type not in WEIGHTED or name == REST:
            continue
        known = [shapes.get(value) for value in (*node.input[:2], node.output[0])]
        if None in known:
            continue
        before, weight, after = (shape for shape in known if shape is not None)
        weights = prod(weight) if _holds(node.input[1], constants, proto) else 0
        moved = prod(before) + prod(after) + (0 if weights else prod(weight))
        one, other = Cost(_macs(node.op_type, before, weight, after), moved, weights), found.get(name)
        if other is not None:  # weights that several nodes share, or products of activations in one module
            one = Cost(*(a + b for a, b in zip(vars(one).values(), vars(other).values(), strict=True)))
        found[name] = one
    return found


def _macs(kind: str, before: Shape, weight: Shape, after: Shape) -> int:
    if kind == "Conv":
        return prod(after) * prod(weight[1:])
    if kind == "ConvTranspose":
        return prod(before) * prod(weight[1:])
    return prod(after) * (before[-1] if before else 1)


def _holds(value: str, constants: Mapping[str, Shape], proto: onnx.ModelProto) -> bool:
    """Whether a value is a weight, in eight bits or not."""
    if value in constants:
        return True
    maker = next((node for node in proto.graph.node if value in node.output), None)
    return maker is not None and maker.op_type == "DequantizeLinear" and maker.input[0] in constants


def _shapes(proto: onnx.ModelProto, inputs: Mapping[str, Sequence[int | str]]) -> dict[str, Shape]:
    for value in proto.graph.input:
        for dimension, size in zip(
            value.type.tensor_type.shape.dim, inputs.get(value.name, ()), strict=False
        ):
            dimension.dim_value = size if isinstance(size, int) else 1
    large = [one for one in proto.graph.initializer if prod(one.dims) > SHAPE_LIKE]
    weights = {one.name: tuple(one.dims) for one in large}
    for one in large:
        proto.graph.input.append(onnx.helper.make_tensor_value_info(one.name, one.data_type, one.dims))
        proto.graph.initializer.remove(one)
    try:
        whole = onnx.shape_inference.infer_shapes(proto, data_prop=True).graph
    except (onnx.shape_inference.InferenceError, ValueError):
        whole = onnx.shape_inference.infer_shapes(proto).graph
    known = weights | {one.name: tuple(one.dims) for one in whole.initializer}
    for value in (*whole.input, *whole.output, *whole.value_info):
        shape = value.type.tensor_type.shape
        if value.type.tensor_type.HasField("shape") and all(one.HasField("dim_value") for one in shape.dim):
            known[value.name] = tuple(one.dim_value for one in shape.dim)
    return known
