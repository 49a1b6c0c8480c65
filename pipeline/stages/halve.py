"""Stage: a file that was given, in FP16, where a target takes types from the graph; layers that would overflow stay."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import onnx

from jetpress.deploy import console
from jetpress.deploy.errors import StageError
from jetpress.pipeline.graph import fp16_layers, refeed
from jetpress.pipeline.graph.exporting import LARGEST_FILE, tidy, write
from jetpress.pipeline.recipe.configs import LowerConfig
from jetpress.pipeline.store.artifact import OnnxModel, Samples

FILE = "model.onnx"


def halve(
    config: LowerConfig, floating: OnnxModel, given: OnnxModel, samples: Samples, draft: Path
) -> OnnxModel:
    """Write ``model.onnx`` in FP16, by the largest numbers that the samples show.

    Raises:
        StageError: the file is too large for that.
    """
    facts, path, parser = floating.facts, floating.path / FILE, config.export.parser
    if facts.bytes > LARGEST_FILE:
        raise StageError("the file is too large to be turned into FP16", "take --precision fp32")
    images = refeed.normalised(config.pixels)
    seen = [
        refeed.taken(one, facts.inputs, images) for one in refeed.stored(samples.path, given.facts.inputs)
    ]
    with console.progress("layers that FP16 can hold"):
        halved, found = fp16_layers.fed(onnx.shape_inference.infer_shapes(onnx.load(path)), seen, parser)
    tidy(halved, facts.ir_version)
    write(halved, draft / FILE)
    said, size = fp16_layers.words(found), (draft / FILE).stat().st_size
    return OnnxModel(
        draft, replace(facts, bytes=size, nodes=len(list(halved.graph)), fp16=found, headline=said)
    )
