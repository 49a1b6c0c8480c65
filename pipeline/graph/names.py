"""Names for what is added to a graph."""

from __future__ import annotations

from itertools import chain, count

import onnx_ir as ir


class Names:
    """Those that a graph has; a file that a tool has quantized before has ``x_scale`` already."""

    def __init__(self, graph: ir.Graph) -> None:
        nodes = list(graph.all_nodes())
        graphs = {graph, *(node.graph for node in nodes if isinstance(node.graph, ir.Graph))}
        self.taken = {value.name for node in nodes for value in node.outputs}
        self.taken |= {value.name for one in graphs for value in (*one.inputs, *one.initializers.values())}

    def new(self, wanted: str) -> str:
        """This one, with a number behind it where it is taken."""
        name = next(
            name for name in chain([wanted], (f"{wanted}_{k}" for k in count(1))) if name not in self.taken
        )
        self.taken.add(name)
        return name
