"""A graph as a TensorRT's parser takes it: one entry, whoever made the graph.

Three things are done, in this order. What an importer refuses or reads wrongly although the opset has it is written
another way (:mod:`jetpress.pipeline.graph.rewrites.rules`), operators that the parser lacks become primitives
(:mod:`jetpress.pipeline.graph.rewrites.primitives`), and the opset is brought down
(:mod:`jetpress.pipeline.graph.rewrites.downgrade`).
What cannot be written another way stays: the preflight refuses it by name.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection

import onnx_ir as ir

from jetpress.pipeline.graph.rewrites import downgrade, primitives
from jetpress.pipeline.graph.rewrites.rules import REWRITES, Rewrite
from jetpress.pipeline.graph.rewrites.site import RefusedError, Site


def lower(
    model: ir.Model, tensorrt: str | None, opset: int | None = None, operators: Collection[str] = ()
) -> list[str]:
    """Write ``model`` for the parser of a TensorRT, in place. Shapes and types must have been inferred.

    Args:
        tensorrt: its version, such as ``8.5.2``; None or empty where another runtime reads the graph.
        opset: brought down to this one (13 and newer); None or a newer one leaves the graph's own.
        operators: written as primitives besides.

    Returns:
        What was written another way, in words, with how often.

    Raises:
        RecipeError: an unknown operator was asked for.
        StageError: an operator has no primitives, or the opset cannot say what the graph says.
    """
    said: Counter[str] = Counter()
    version = tuple(map(int, tensorrt.split("."))) if tensorrt else None
    for rewrite in REWRITES:
        if version is not None and rewrite.is_for(version):
            for node in [one for one in model.graph.all_nodes() if one.op_type in rewrite.ops]:
                said[rewrite.title] += node.domain == "" and _apply(rewrite, node, model)
    _brought_down(primitives.lower(model, operators), model)
    if opset is not None and opset < model.opset_imports[""]:
        downgrade.downgrade(model, opset)
    return [f"{title} ({count} times)" if count > 1 else title for title, count in said.items() if count]


def _apply(rewrite: Rewrite, node: ir.Node, model: ir.Model) -> bool:
    site = Site(node)
    opset = model.opset_imports[""]
    try:
        by = rewrite.rule(site)
        if isinstance(by, bool):
            return by
        if opset < downgrade.OLDEST:  # rules are written at opset 18, which is not brought down further
            return False
        site.replace(*(by if isinstance(by, tuple) else (by,)))
    except RefusedError:
        return False  # the preflight says why, at the node that stays
    _brought_down(site.new, model)
    return True


def _brought_down(nodes: list[ir.Node], model: ir.Model) -> None:
    """New nodes are of opset 18: to the opset that the graph has."""
    opset = model.opset_imports[""]
    for made in nodes if downgrade.OLDEST <= opset < downgrade.NEWEST else ():
        downgrade.rewrite(made, downgrade.NEWEST, opset)
