"""The layers that multiply by a parameter: by which one, and along which of its axes the products are summed.

Read from the traced graph, not from the types of modules: so the fused qkv of an attention, its output
projection and a plain parameter in a matrix product are found like any ``Conv2d``. A weight is followed back
to its parameter through operators that only move numbers; the labels on its axes say what became of them.
"""

from __future__ import annotations

import operator
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from torch import fx

from jetpress.pipeline.network.channels.graph import Trace, operator_name
from jetpress.pipeline.network.channels.labels import Axes, Call, Indices

SUMMED: dict[str, dict[str, tuple[int, int]]] = {
    **{name: {"weight": (0, 1)} for name in ("conv1d", "conv2d", "conv3d", "linear")},
    "matmul": {"self": (0, 1), "other": (1, 0)},
    "mm": {"self": (0, 1), "mat2": (1, 0)},
    "addmm": {"mat1": (0, 1), "mat2": (1, 0)},
}
"""Operator -> argument that may be a weight -> its axes of output and of summed channels."""

OTHERS = {
    **dict.fromkeys(("conv_transpose1d", "conv_transpose2d", "conv_transpose3d"), "a transposed convolution"),
    "einsum": "an einsum",
}
"""Products that have no sparse kernel in TensorRT."""

MOVES = ("t", "transpose", "permute", "movedim", "numpy_T", "mT", "view", "reshape", "squeeze", "unsqueeze",
         "flatten", "unflatten", "split", "split_with_sizes", "chunk", "unbind", "select", "slice", "narrow",
         "contiguous", "alias", "detach", "clone")  # fmt: skip
"""Operators that change no number."""


@dataclass(frozen=True, eq=False)
class Product:
    """One use of a weight."""

    name: str
    """Of the parameter; of the module where the weight is no parameter."""
    node: fx.Node
    call: Call
    argument: str = ""
    """Of the operator: where the weight goes in."""
    axis: int = 1
    """Of the parameter: its input channels."""
    rows: tuple[int, int] = (0, 0)
    """Of the parameter's outputs, those used here: fused weights are used in parts."""
    reason: str = ""
    """Why the rule for sparse kernels does not apply to it; empty where it does."""

    @property
    def groups(self) -> int:
        """Of a convolution."""
        return int(self.call.arguments.get("groups", 1))


def products(source: Trace) -> list[Product]:
    """Every product with a weight in it, in the order of the graph."""
    return [product for node, call in source.calls.items() for product in _of(source, node, call)]


def _of(source: Trace, node: fx.Node, call: Call) -> Iterator[Product]:
    if call.name in OTHERS:
        operands = call.arguments["tensors"] if call.name == "einsum" else [call.arguments["weight"]]
        names = [name for operand in operands if (name := _parameter(operand)) and name in source.tensors]
        yield from (
            Product(name, node, call, reason=f"{OTHERS[call.name]} has no sparse kernel") for name in names
        )
    for argument, (outward, inward) in SUMMED.get(call.name, {}).items():
        operand = call.arguments.get(argument)
        if not isinstance(operand, fx.Node):
            continue
        name = _parameter(operand)
        if name:
            axes = call.axes(argument)
            yield _located(Product(name, node, call, argument), source.tensors[name], axes, outward, inward)
        elif argument == "weight":
            yield Product(
                f"{call.where}.weight", node, call, argument, reason="its weight is computed in the network"
            )


def _parameter(operand: fx.Node) -> str:
    """The name of the parameter that an operand is, moved about but not changed; empty if it is none."""
    while operand.op == "call_function" and operand.args and isinstance(operand.args[0], fx.Node):
        if operator_name(operand) not in MOVES and operand.target is not operator.getitem:
            return ""
        operand = operand.args[0]
    return str(operand.meta.get("name", "")) if operand.op == "get_attr" else ""


def _located(product: Product, tensor: Axes, axes: Axes, outward: int, inward: int) -> Product:
    """With its axis and rows found: the axes of the weight carry the labels of those of its parameter."""
    fields = vars(product)
    for axis in (1, 0):
        if len(tensor) == len(axes) and np.array_equal(tensor[axis], axes[inward]):
            rows = _range(tensor[1 - axis], axes[outward])
            if rows is not None:
                return Product(**{**fields, "axis": axis, "rows": rows})
    return Product(**{**fields, "reason": "its input channels are no axis of its parameter"})


def _range(whole: Indices, part: Indices) -> tuple[int, int] | None:
    """Where ``part`` is found in ``whole``, as a half-open range."""
    if np.array_equal(whole, part):
        return 0, len(whole)
    start = int(np.flatnonzero(whole == part[0])[0]) if part[0] in whole else 0
    return (start, start + len(part)) if np.array_equal(whole[start : start + len(part)], part) else None
