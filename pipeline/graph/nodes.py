"""Nodes written at the end of a graph."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir


class Writer:
    """Writes nodes called ``jetpress/PART/TopK_7``."""

    def __init__(self, graph: ir.Graph, part: str) -> None:
        self.graph, self.part = graph, part
        self.made = 0

    def op(self, kind: str, *inputs: ir.Value | None, outputs: int = 1, **attributes: Any) -> Any:
        """A node at the end of the graph; its output, or all of several."""
        node = ir.node(
            kind, inputs, attributes, num_outputs=outputs, name=f"jetpress/{self.part}/{kind}_{self.made}"
        )
        for place, value in enumerate(node.outputs):
            value.name = f"{self.part}/{kind}_{self.made}_{place}"
        self.made += 1
        self.graph.append(node)
        return node.outputs[0] if outputs == 1 else node.outputs

    def constant(self, *numbers: float, kind: type[np.generic] = np.int64) -> ir.Value:
        """A row of numbers."""
        return self.array(np.array(numbers, kind))

    def array(self, numbers: np.ndarray[Any, Any]) -> ir.Value:
        """An initializer."""
        name = f"{self.part}/constant_{self.made}"
        self.made += 1
        value = ir.val(name, const_value=ir.tensor(numbers, name=name))
        self.graph.register_initializer(value)
        return value

    def cut(self, value: ir.Value, first: int, end: int, axis: int) -> Any:
        """``value[first:end]`` along an axis."""
        return self.op(
            "Slice", value, self.constant(first), self.constant(end), self.constant(axis), self.constant(1)
        )
