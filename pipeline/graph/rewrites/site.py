"""Where a node is rewritten: what it says, and what takes its place."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray


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
        **attributes: int | float | str | Sequence[int] | Sequence[float] | ir.Graph,
    ) -> ir.Value:
        """A new node, named after the old one; gives its output."""
        return self.many(1, op_type, *inputs, **attributes)[0]

    def many(
        self,
        count: int,
        op_type: str,
        *inputs: ir.Value | None,
        **attributes: int | float | str | Sequence[int] | Sequence[float] | ir.Graph,
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
