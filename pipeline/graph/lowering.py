"""A graph as a TensorRT's parser takes it: one entry, whoever made the graph.

Three things are done, in this order. What an importer refuses or reads wrongly although the opset has it is written
another way (:mod:`jetpress.pipeline.graph.rewrites`), operators that the parser lacks become primitives
(:mod:`jetpress.pipeline.graph.primitives`), and the opset is brought down (:mod:`jetpress.pipeline.graph.downgrade`).
What cannot be written another way stays: the preflight refuses it by name.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection

import onnx_ir as ir

from jetpress.deploy.targets import Target
from jetpress.pipeline.graph import downgrade, primitives
from jetpress.pipeline.graph.primitives import RefusedError, Site
from jetpress.pipeline.graph.rewrites import REWRITES, Rewrite


def lower(
    model: ir.Model, tensorrt: str | None, opset: int | None = None, operators: Collection[str] = ()
) -> list[str]:
    """Write ``model`` for the parser of a TensorRT, in place. Shapes and types must have been inferred.

    Args:
        tensorrt: its version, such as ``8.5.2``; None or empty where another runtime reads the graph.
        opset: brought down to this one (13 to 18); None or a newer one leaves the graph's own.
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
        if version is not None and (rewrite.until is None or version < rewrite.until):
            for node in [one for one in model.graph.all_nodes() if one.op_type in rewrite.ops]:
                said[rewrite.title] += node.domain == "" and _apply(rewrite, node, model)
    primitives.lower(model, operators)
    if opset is not None and opset < model.opset_imports[""]:
        downgrade.downgrade(model, opset)
    return [f"{title} ({count} times)" if count > 1 else title for title, count in said.items() if count]


def for_target(model: ir.Model, target: Target) -> list[str]:
    """The same of a graph that somebody else made: for its target, and only what its parser asks for."""
    there = {node.op_type for node in model.graph.all_nodes() if node.domain == ""}
    newest = target.newest_opset if model.opset_imports[""] > target.newest_opset else None
    return lower(model, target.tensorrt, newest, there.intersection(target.lower))


def _apply(rewrite: Rewrite, node: ir.Node, model: ir.Model) -> bool:
    site = Site(node)
    try:
        by = rewrite.rule(site)
        if isinstance(by, bool):
            return by
        site.replace(by)
    except RefusedError:
        return False  # the preflight says why, at the node that stays
    for made in site.new:  # written at opset 18, as all rules are
        downgrade.rewrite(made, downgrade.NEWEST, model.opset_imports[""])
    return True
