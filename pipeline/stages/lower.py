"""Stage: a file that was given, as a target's parser takes it.

The same passes as of an exported network, in the same order (:mod:`jetpress.pipeline.stages.export`): an older file
is brought to opset 18 first, because the passes are written for that.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import onnx

from jetpress.deploy import console
from jetpress.deploy.errors import RecipeError, StageError
from jetpress.pipeline.graph import refeed
from jetpress.pipeline.graph.answers import rules_of
from jetpress.pipeline.graph.ends import FRAMES
from jetpress.pipeline.graph.exporting import described, opset_of, write
from jetpress.pipeline.graph.foreign import as_taken, opset_for
from jetpress.pipeline.recipe.configs import LowerConfig
from jetpress.pipeline.recipe.sections.export import ExportConfig
from jetpress.pipeline.store.artifact import OnnxModel
from jetpress.pipeline.store.facts.onnx_file import (
    FileEnds,
    OnnxModelFacts,
    Profile,
    TensorSpec,
)

FILE = "model.onnx"


def lower(config: LowerConfig, given: OnnxModel, draft: Path) -> OnnxModel:
    """Write ``model.onnx``: simplified, at an opset that the parser takes, with the ends asked for.

    Raises:
        StageError: the parser's opset cannot say what the file says.
        RecipeError: the ends asked for do not fit.
    """
    facts, images = given.facts, refeed.normalised(config.pixels)
    export = opset_for(config.export, facts.opset)
    rules = rules_of(config.task, facts)
    try:
        model, said = as_taken(onnx.load(given.path / FILE), facts.inputs, export, images, rules)
    except StageError as error:
        raise StageError(
            error.what, "change these layers and export again, or take another --target"
        ) from error
    for line in said:
        console.say(f"    {line}")
    write(model, draft / FILE)
    return OnnxModel(draft, replace(_facts(draft, facts, export, said), detection=rules))


def _facts(draft: Path, given: OnnxModelFacts, export: ExportConfig, said: list[str]) -> OnnxModelFacts:
    written = onnx.load(draft / FILE, load_external_data=False)
    nodes, opset = len(written.graph.node), opset_of(written)
    headline = f"opset {given.opset} > {opset}, {given.nodes} > {nodes} nodes"
    return replace(
        given,
        opset=opset,
        ir_version=written.ir_version,
        nodes=nodes,
        bytes=sum(one.stat().st_size for one in draft.iterdir()),
        inputs=tuple(_inputs(written, given.inputs, export.input)),
        outputs=tuple(described(value) for value in written.graph.output),
        ends=FileEnds(export.input, export.output, tuple(said)),
        headline=", ".join([headline, *said]),
    )


def _inputs(written: onnx.ModelProto, given: Sequence[TensorSpec], ends: str) -> list[TensorSpec]:
    """As the device is told: usual shapes, and profiles; of frames with the channels last."""
    before = {one.name: one for one in given}
    found = []
    for value in written.graph.input:
        now, old = described(value), before.get(value.name)
        if old is None:
            raise RecipeError(f"the input {value.name!r} is not the file's", "please report this")
        frames = ends == FRAMES and now.dtype == "uint8" and old.dtype != "uint8"
        order = (0, 2, 3, 1) if frames else tuple(range(len(old.shape)))
        profile = old.profile and Profile(
            *(
                tuple(side[axis] for axis in order)
                for side in (old.profile.min, old.profile.opt, old.profile.max)
            )
        )
        found.append(replace(now, shape=tuple(old.shape[axis] for axis in order), profile=profile))
    return found
