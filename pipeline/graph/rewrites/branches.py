"""An If whose outputs TensorRT's importers mix up."""

from __future__ import annotations

import onnx_ir as ir

from jetpress.pipeline.graph.rewrites.site import Site

BRANCHES = ("then_branch", "else_branch")


def one_each(at: Site) -> tuple[ir.Value, ...] | bool:
    """TensorRT 8.5 and 8.6 take the outputs of a branch in an order of their own: an If for each has one.

    What several outputs need is computed by each; TensorRT runs the branch that is taken alone.
    """
    count = len(at.node.outputs)
    if count < 2:
        return False
    return tuple(
        at.op("If", at.x(), **{name: _only(at.attribute(name), place) for name in BRANCHES})
        for place in range(count)
    )


def _only(branch: ir.Graph, place: int) -> ir.Graph:
    made = branch.clone(allow_outer_scope_values=True)
    made.outputs[:] = [made.outputs[place]]
    for graph in (
        (made, *made.subgraphs()) if place else ()
    ):  # no name is there twice, also not in another branch
        values = [
            *graph.inputs,
            *graph.initializers.values(),
            *(one for node in graph for one in node.outputs),
        ]
        for value in values:
            value.name = f"{value.name}/{place}" if value.name else value.name
    return made
