"""A file of somebody else's as a target's parser takes it: what the stages and ``jetpress check`` do alike."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import onnx
import onnx_ir as ir

from jetpress.deploy.errors import StageError
from jetpress.deploy.preflight import operators
from jetpress.pipeline.graph.exporting import to_opset
from jetpress.pipeline.graph.raising import raised
from jetpress.pipeline.graph.rewrites import downgrade
from jetpress.pipeline.graph.simplify import simplify
from jetpress.pipeline.recipe.sections.data import DataConfig
from jetpress.pipeline.recipe.sections.export import ExportConfig
from jetpress.pipeline.recipe.sections.model import InputConfig
from jetpress.pipeline.store.facts.onnx_file import DetectionRules, TensorSpec


def as_taken(
    proto: onnx.ModelProto,
    inputs: Sequence[TensorSpec],
    export: ExportConfig,
    images: DataConfig,
    rules: DetectionRules | None = None,
) -> tuple[ir.Model, list[str]]:
    """The graph simplified, lowered and with the ends asked for; what was done, in words.

    Args:
        proto: with its inputs' shapes settled.
        inputs: these shapes.
        export: opset, operators and ends of the target.
        images: how the graph normalises camera frames.
        rules: of a detector whose head is named.

    Raises:
        StageError: the parser's opset cannot say what the file says.
        RecipeError: the ends asked for do not fit.
    """
    model = ir.from_proto(raised(proto, max(downgrade.NEWEST, export.opset or 0)))
    simplify(model, named=True)
    shaped = tuple(one for one in map(_as_config, inputs) if one is not None)
    if older := _older(export, model.opset_imports[""]):
        try:
            return to_opset(model.clone(), shaped, older, images, rules)
        except (
            StageError
        ):  # no older opset can say it: what the parser does with it as it is, the preflight knows
            pass
    return to_opset(model, shaped, export, images, rules)


def _older(export: ExportConfig, own: int) -> ExportConfig | None:
    """At the newest opset that the parser takes; None where the graph is not newer, or newer than the passes read."""
    newest = operators.table(export.parser).opsets[1] if export.parser else own
    if own != export.opset or not newest < own <= downgrade.READ:
        return None
    return replace(export, opset=newest)


def opset_for(export: ExportConfig, own: int) -> ExportConfig:
    """What is newer than the passes write stays at its opset: the parser takes it, or it is brought down, or the
    preflight refuses it."""
    if own <= downgrade.NEWEST or own == export.opset or (export.opset and export.opset > own):
        return export
    return replace(export, opset=own, ir_version=None)


def _as_config(one: TensorSpec) -> InputConfig | None:
    """As the ends look for images."""
    shape = tuple(size for size in one.shape[1:] if isinstance(size, int))
    return InputConfig(shape, one.name) if one.dtype == "float32" and len(one.shape) > 1 else None
