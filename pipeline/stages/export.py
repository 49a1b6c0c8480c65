"""Stage: the network as ONNX, at exactly the opset that the target's parser takes.

PyTorch's exporter writes opset 18 well and, asked for less, quietly still writes 18. So it always exports at
18 (or above, where that is asked for), and everything after is done on the graph: constants folded, BatchNorm
into convolutions, dead nodes removed (:mod:`jetpress.pipeline.graph.simplify`), operators that the parser lacks as
primitives, the older opset (:mod:`jetpress.pipeline.graph.rewrites`), camera frames and classes at the ends
(:mod:`jetpress.pipeline.graph.ends`), FP16 (:mod:`jetpress.pipeline.graph.fp16_layers`). What was asked for is read
again from the result.

Nodes are named after the PyTorch module they came from (``layer1.0.conv1/Conv``), weights keep their names,
and nothing else of the machine or its versions is in the file: equal checkpoints give equal bytes.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import onnx
import onnx_ir as ir
from torch import Tensor

from jetpress.deploy import console
from jetpress.deploy.errors import StageError
from jetpress.pipeline.data import loading
from jetpress.pipeline.graph import fp16_layers
from jetpress.pipeline.graph.cases import cases
from jetpress.pipeline.graph.ends import Ends
from jetpress.pipeline.graph.exporting import (
    LARGEST_FILE,
    bytes_of,
    checked,
    described,
    input_of,
    opset_of,
    tidy,
    to_graph,
    write,
)
from jetpress.pipeline.network import models
from jetpress.pipeline.network.models import Network
from jetpress.pipeline.recipe.sections.export import ExportConfig
from jetpress.pipeline.store.artifact import Checkpoint, OnnxModel
from jetpress.pipeline.store.facts.onnx_file import (
    DetectionRules,
    FileEnds,
    Fp16,
    OnnxModelFacts,
)

FILE = "model.onnx"
LOOK_AT = 32
"""Calibration images that decide which layers FP16 can hold."""


def export(config: ExportConfig, model: Checkpoint, draft: Path) -> OnnxModel:
    """Write ``model.onnx``, and ``model.onnx.data`` beside it where the weights are larger than 2 GiB.

    Raises:
        StageError: the network does not export, or the opset asked for cannot say what it does.
    """
    network = models.load(model)

    def images() -> tuple[Tensor, ...]:
        loaded = loading.load(network.data, network.seed, network.task)
        return loading.calibration(loaded, min(LOOK_AT, network.data.calibration_images))

    return OnnxModel(draft, written(network, config, draft / FILE, images, models.rules(network)))


def written(
    network: Network,
    config: ExportConfig,
    path: Path,
    images: Callable[[], tuple[Tensor, ...]],
    rules: DetectionRules | None = None,
) -> OnnxModelFacts:
    """Write ``network`` to ``path`` (and ``<path>.data`` beside it where the weights are larger than 2 GiB).

    Args:
        network: in evaluation mode; its masks are part of it only where they are in the weights.
        config: every value decided.
        path: of the file.
        images: inputs ``[n, ...]`` that decide which layers FP16 can hold; called only where ``config.fp16`` asks.
        rules: of a detector, for ``config.output = "detections"``.
    """
    graph, said = to_graph(
        network.module, network.model.inputs, network.model.outputs, config, network.data, rules
    )
    halved = None
    if config.fp16:
        graph, halved = _to_fp16(graph, config, network, images)
        said.append(fp16_layers.words(halved))
    for line in said:
        console.say(f"    {line}")
    write(graph, path)
    proto = onnx.load(path, load_external_data=False)
    beside = path.with_name(f"{path.name}.data")
    return OnnxModelFacts(
        opset=opset_of(proto),
        ir_version=proto.ir_version,
        nodes=len(proto.graph.node),
        bytes=sum(one.stat().st_size for one in (path, beside) if one.exists()),
        max_batch=config.max_batch if config.dynamic_batch else config.batch,
        inputs=tuple(input_of(value, config) for value in proto.graph.input),
        outputs=tuple(described(value) for value in proto.graph.output),
        ends=FileEnds(config.input, config.output, tuple(said)),
        detection=rules,
        fp16=halved,
    )


def _to_fp16(
    graph: ir.Model, config: ExportConfig, network: Network, images: Callable[[], tuple[Tensor, ...]]
) -> tuple[ir.Model, Fp16]:
    """In FP16, by what images and edge cases do in it."""
    if bytes_of(graph) > LARGEST_FILE:
        raise StageError(
            "the network is too large to be turned into FP16 in the file",
            'set build.precision = "fp32"; TensorRT 8 targets have a flag for FP16 instead',
        )
    ends = Ends(config.input, config.output, network.data.mean, network.data.std)
    batch = config.max_batch if config.dynamic_batch else config.batch
    fed = ends.to_file(images())
    with console.progress("layers that FP16 can hold"):
        halved, found = fp16_layers.to_fp16(checked(graph), cases(fed, batch, edges=True), config.parser)
    tidy(halved, config.ir_version)
    return halved, found
