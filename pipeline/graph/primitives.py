"""Operators written as primitives, for parsers that lack them.

TensorRT 8.5 has no LayerNormalization, 8.2 no HardSwish either. Each expansion below says in ONNX opset 18
what one operator means; :mod:`jetpress.pipeline.graph.downgrade` brings the result to older opsets. The formulas are
those of the ONNX operator reference (onnx/docs/Operators.md).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray
from onnx import defs

from jetpress.deploy.errors import RecipeError, StageError


class RefusedError(Exception):
    """Why one node cannot be rewritten."""


@dataclass
class Site:
    """One node under rewriting: what it says, and the nodes that take its place."""

    node: ir.Node
    new: list[ir.Node] = field(default_factory=list)

    def input(self, index: int) -> ir.Value | None:
        """The value at ``index``; None where an optional input is left out."""
        return self.node.inputs[index] if index < len(self.node.inputs) else None

    def x(self) -> ir.Value:
        """The first input, which every operator here must have."""
        value = self.input(0)
        assert value is not None
        return value

    def attribute(self, name: str, default: Any = None) -> Any:
        """The attribute's plain value."""
        found = self.node.attributes.get(name)
        return default if found is None else found.value

    def constant_of(self, index: int) -> NDArray[Any] | None:
        """The array at input ``index``, or None where it is not a constant or not there."""
        return array_of(self.input(index))

    def shape(self, index: int = 0) -> list[int | None] | None:
        """Known dimensions of an input, None for each open one; None where even the rank is unknown."""
        value = self.input(index)
        if value is None or value.shape is None:
            return None
        return [d if isinstance(d, int) else None for d in value.shape]

    def rank(self, index: int = 0) -> int:
        """Number of dimensions of an input."""
        shape = self.shape(index)
        if shape is None:
            raise RefusedError("the rank of its input is not known")
        return len(shape)

    def numpy_type(self) -> np.dtype[Any]:
        """The type of the first input as NumPy has it."""
        kind = self.x().dtype
        if kind is None:
            raise RefusedError("its type is not known")
        return kind.numpy()

    def op(
        self,
        op_type: str,
        *inputs: ir.Value | None,
        **attributes: int | float | str | Sequence[int] | Sequence[float],
    ) -> ir.Value:
        """A new node, named after the old one; gives its output."""
        return self.many(1, op_type, *inputs, **attributes)[0]

    def many(
        self,
        count: int,
        op_type: str,
        *inputs: ir.Value | None,
        **attributes: int | float | str | Sequence[int] | Sequence[float],
    ) -> tuple[ir.Value, ...]:
        """The same with several outputs."""
        made = ir.node(op_type, inputs, attributes, num_outputs=count, name=f"{self.node.name}/{op_type}")
        for at, output in enumerate(made.outputs):
            output.name = f"{self.node.outputs[0].name}/{op_type}_{len(self.new)}{f'_{at}' if at else ''}"
        self.new.append(made)
        return tuple(made.outputs)

    def constant(self, array: NDArray[Any]) -> ir.Value:
        """A new initializer of the graph."""
        graph = self.node.graph
        assert isinstance(graph, ir.Graph)
        base = f"{self.node.outputs[0].name}/constant"
        name = next(n for i in range(10**6) if (n := f"{base}_{i}") not in graph.initializers)
        value = ir.val(name, const_value=ir.tensor(array, name=name))
        graph.register_initializer(value)
        return value

    def replace(self, *by: ir.Value) -> None:
        """Put the new nodes where the old one was; ``by`` take the places of its first outputs."""
        graph, old = self.node.graph, self.node.outputs
        assert graph is not None
        if any(output.uses() or output.is_graph_output() for output in old[len(by) :]):
            raise RefusedError("its second output is used")
        ir.convenience.replace_nodes_and_values(graph, self.node, [self.node], self.new, old[: len(by)], by)


Rule = Callable[[Site], ir.Value | None]
"""Gives the value that takes the node's place, or None where the node was changed as it stands."""


def array_of(value: ir.Value | None) -> NDArray[Any] | None:
    """The array behind an initializer or a Constant node."""
    tensor = ir.convenience.get_const_tensor(value) if value is not None else None
    return None if tensor is None else tensor.numpy()


def _layer_normalization(at: Site) -> ir.Value:
    if at.x().dtype != ir.DataType.FLOAT:
        raise RefusedError("it does not compute in float32")
    axis = at.attribute("axis", -1)
    rank = 0 if axis == -1 else at.rank()
    axes = np.arange(axis - rank if axis >= 0 else axis, 0, dtype=np.int64)
    over = at.constant(axes)
    centred = at.op("Sub", at.x(), at.op("ReduceMean", at.x(), over, keepdims=1))
    variance = at.op("ReduceMean", at.op("Mul", centred, centred), over, keepdims=1)
    epsilon = at.constant(np.array(at.attribute("epsilon", 1e-5), np.float32))
    deviation = at.op("Sqrt", at.op("Add", variance, epsilon))
    scaled = at.op("Mul", at.op("Div", centred, deviation), at.input(1))
    bias = at.input(2)
    return scaled if bias is None else at.op("Add", scaled, bias)


def _hard_swish(at: Site) -> ir.Value:
    return at.op("Mul", at.x(), at.op("HardSigmoid", at.x(), alpha=1 / 6, beta=0.5))


def _mish(at: Site) -> ir.Value:
    return at.op("Mul", at.x(), at.op("Tanh", at.op("Softplus", at.x())))


def _gelu(at: Site) -> ir.Value:
    if at.x().dtype != ir.DataType.FLOAT:
        raise RefusedError("it does not compute in float32")

    def number(value: float) -> ir.Value:
        return at.constant(np.array(value, np.float32))

    x = at.x()
    if at.attribute("approximate", "none") == "tanh":
        cubic = at.op("Mul", at.op("Mul", at.op("Mul", x, x), x), number(0.044715))
        inner = at.op("Tanh", at.op("Mul", at.op("Add", x, cubic), number(float(np.sqrt(2 / np.pi)))))
    else:
        inner = at.op("Erf", at.op("Mul", x, number(float(np.sqrt(0.5)))))
    return at.op("Mul", at.op("Mul", x, number(0.5)), at.op("Add", inner, number(1.0)))


def _cast_like(at: Site) -> ir.Value:
    like = at.input(1)
    if like is None or like.dtype is None:
        raise RefusedError("the type that it casts to is not known")
    return at.op("Cast", at.x(), to=int(like.dtype))


def _trilu(at: Site) -> ir.Value:
    shape = at.shape()
    k = np.int64(0) if at.input(1) is None else at.constant_of(1)
    if k is None or shape is None or None in shape[-2:]:
        raise RefusedError("its diagonal and its last two dimensions must be constant")
    rows, columns = shape[-2:]
    kept = np.tri(rows or 0, columns, int(k) - (1 if at.attribute("upper", 1) else 0), dtype=bool)
    if at.attribute("upper", 1):
        kept = ~kept
    dtype = at.x().dtype
    if dtype is None:
        raise RefusedError("its type is not known")
    return at.op("Where", at.constant(kept), at.x(), at.constant(np.zeros((), dtype.numpy())))


EXPANSIONS: dict[str, Rule] = {
    "LayerNormalization": _layer_normalization,
    "HardSwish": _hard_swish,
    "Mish": _mish,
    "Gelu": _gelu,
    "CastLike": _cast_like,
    "Trilu": _trilu,
}


def lower(model: ir.Model, operators: Collection[str]) -> list[ir.Node]:
    """Write every node of these operators as primitives of opset 18, in place. Shapes must have been inferred.

    Returns:
        The new nodes.

    Raises:
        RecipeError: an unknown operator was asked for.
        StageError: one of them is in the graph and has no expansion, or not in this form.
    """
    for name in operators:
        if not defs.has(name):
            raise RecipeError(f"export.lower: ONNX has no operator {name!r}", "spelt as in ONNX: HardSwish")
    made: list[ir.Node] = []
    for node in [n for n in model.graph.all_nodes() if n.domain == "" and n.op_type in operators]:
        site = Site(node)
        try:
            if node.op_type not in EXPANSIONS:
                raise RefusedError("jetpress has no primitives for it")
            by = EXPANSIONS[node.op_type](site)
            assert by is not None
            site.replace(by)
            made += site.new
        except RefusedError as reason:
            raise StageError(
                f"{node.op_type} (node {node.name!r}) cannot be written as primitives: {reason}",
                f"replace this layer in the network; expansions exist for {', '.join(EXPANSIONS)}",
            ) from None
    return made
