"""Stage: the network as ONNX, at exactly the opset that the target's parser takes.

PyTorch's exporter writes opset 18 well and, asked for less, quietly still writes 18. So it always exports at
18 (or above, where that is asked for), and everything after is done on the graph: constants folded, BatchNorm
into convolutions, dead nodes removed (:mod:`pipeline.lowering.simplify`), operators that the parser lacks as
primitives (:mod:`pipeline.lowering`), the older opset (:mod:`pipeline.lowering.downgrade`), camera frames and
classes at the ends (:mod:`pipeline.lowering.ends`), FP16 (:mod:`pipeline.precision`). What was asked for is read
again from the result.

Nodes are named after the PyTorch module they came from (``layer1.0.conv1/Conv``), weights keep their names,
and nothing else of the machine or its versions is in the file: equal checkpoints give equal bytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import onnx
import onnx_ir as ir
from onnx_ir.passes import common
from torch import nn

from deploy import console
from deploy.errors import StageError
from pipeline import data, lowering, models, precision
from pipeline.artifact import Checkpoint, OnnxModel
from pipeline.data.cases import cases
from pipeline.lowering import downgrade
from pipeline.lowering.ends import Ends, attach
from pipeline.lowering.simplify import simplify
from pipeline.lowering.trace import cause, trace
from pipeline.models import Network
from pipeline.sections import DataConfig, ExportConfig, InputConfig

FILE = "model.onnx"
# A protobuf message may not be larger.
LARGEST_FILE = 2**31 - 2**20  # of weights: the nodes need room, too
LOOK_AT = 32
"""Calibration images that decide which layers FP16 can hold."""


def export(config: ExportConfig, model: Checkpoint, draft: Path) -> OnnxModel:
    """Write ``model.onnx``, and ``model.onnx.data`` beside it where the weights are larger than 2 GiB.

    Raises:
        StageError: the network does not export, or the opset asked for cannot say what it does.
    """
    network = models.load(model)
    inputs, outputs, rules = network.model.inputs, network.model.outputs, models.rules(network)
    graph, said = to_graph(network.module, inputs, outputs, config, network.data, rules)
    facts: dict[str, Any] = {"ends": {"input": config.input, "output": config.output, "said": said}}
    facts["detection"] = rules
    if config.fp16:
        graph, facts["fp16"] = _to_fp16(graph, config, network)
        said.append(_fp16_words(facts["fp16"]))
    for line in said:
        console.say(f"    {line}")
    path = draft / FILE
    write(graph, path)
    written = onnx.load(path, load_external_data=False)
    return OnnxModel(
        draft,
        {
            **facts,
            "opset": opset_of(written),
            "ir_version": written.ir_version,
            "nodes": len(written.graph.node),
            "bytes": sum(one.stat().st_size for one in draft.iterdir()),
            "max_batch": config.max_batch if config.dynamic_batch else config.batch,
            "inputs": [_input(value, config) for value in written.graph.input],
            "outputs": [described(value) for value in written.graph.output],
        },
    )


def to_onnx(
    module: nn.Module,
    inputs: tuple[InputConfig, ...],
    outputs: tuple[str, ...],
    config: ExportConfig,
    images: DataConfig | None = None,
    rules: Mapping[str, Any] | None = None,
) -> onnx.ModelProto:
    """The checked ONNX graph of ``module`` in evaluation mode, in FP32 (``config.fp16`` needs images: see
    :func:`export`).

    Args:
        inputs: in the order of ``forward``, shapes without the batch dimension.
        outputs: their names, flattened; empty for ``output``, ``output_1``, ...
        images: how images are normalised, for ``config.input``.
        rules: of a detector, for ``config.output = "detections"``.

    Raises:
        RecipeError: more or fewer output names than outputs.
        StageError: the network does not export, or not at this opset, or has more than 2 GiB.
    """
    return _checked(to_graph(module, inputs, outputs, config, images, rules)[0])


def to_graph(
    module: nn.Module,
    inputs: tuple[InputConfig, ...],
    outputs: tuple[str, ...],
    config: ExportConfig,
    images: DataConfig | None = None,
    rules: Mapping[str, Any] | None = None,
) -> tuple[ir.Model, list[str]]:
    """As :func:`to_onnx`, not checked yet; and what was done at the ends, in words."""
    opset = config.opset or downgrade.NEWEST
    max_batch = config.max_batch if config.dynamic_batch else None
    model = trace(module, inputs, outputs, max(opset, downgrade.NEWEST), config.batch, max_batch)
    simplify(model)
    return to_opset(model, inputs, config, images, rules)


def to_opset(
    model: ir.Model,
    inputs: tuple[InputConfig, ...],
    config: ExportConfig,
    images: DataConfig | None = None,
    rules: Mapping[str, Any] | None = None,
) -> tuple[ir.Model, list[str]]:
    """All that is done to a simplified graph, in place."""
    images = images or DataConfig()
    opset = config.opset or downgrade.NEWEST
    said = attach(
        model,
        Ends(config.input, config.output, images.mean, images.std, rules),
        inputs,
        config.int64_io is not False,
    )
    lowering.lower(model, config.lower or ())
    downgrade.downgrade(model, opset)
    _finish(model, opset, config.ir_version)
    return model, said


def _to_fp16(graph: ir.Model, config: ExportConfig, network: Network) -> tuple[ir.Model, dict[str, Any]]:
    """In FP16, by what calibration images and edge cases do in it."""
    if _bytes_of(graph) > LARGEST_FILE:
        raise StageError(
            "the network is too large to be turned into FP16 in the file",
            'set build.precision = "fp32"; TensorRT 8 targets have a flag for FP16 instead',
        )
    loaded = data.load(network.data, network.seed)
    ends = Ends(config.input, config.output, network.data.mean, network.data.std)
    batch = config.max_batch if config.dynamic_batch else config.batch
    images = ends.to_file(data.calibration(loaded, min(LOOK_AT, network.data.calibration_images)))
    halved, facts = precision.to_fp16(_checked(graph), cases(images, batch, edges=True))
    _tidy(halved, config.ir_version)
    return halved, facts


def _fp16_words(facts: dict[str, Any]) -> str:
    kept, nodes = facts["fp32"], facts["nodes"]
    if not kept:
        return f"FP16: all {nodes} nodes"
    most = "; ".join(f"{count} x {why}" for why, count in list(facts["reasons"].items())[:3])
    return f"FP16: {nodes - len(kept)} of {nodes} nodes; in FP32 stay {most}"


def write(model: ir.Model, path: Path) -> None:
    """Write the graph and check the file; weights of more than 2 GiB go into ``<path>.data``.

    Raises:
        StageError: it is not valid ONNX.
    """
    common.ShapeInferencePass()(model)
    if _bytes_of(model) <= LARGEST_FILE:
        path.write_bytes(ir.to_proto(model).SerializeToString(deterministic=True))
    else:
        ir.save(model, path, external_data=f"{path.name}.data", size_threshold_bytes=1024)
    check(str(path))


def check(what: str | onnx.ModelProto) -> None:
    """Hold a file or a graph against ONNX's own rules, all shapes included.

    Raises:
        StageError: it breaks one of them.
    """
    try:
        onnx.checker.check_model(what, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise StageError(f"the graph is not valid ONNX: {cause(error)}", "please report this") from error


def opset_of(model: onnx.ModelProto) -> int:
    """The opset of ONNX's own operators."""
    return int(next(one.version for one in model.opset_import if one.domain in ("", "ai.onnx")))


def _finish(model: ir.Model, opset: int, ir_version: int | None) -> None:
    """Names made unique, notes of the exporter gone, and the opset read again."""
    common.ClearMetadataAndDocStringPass()(model)
    model.producer_name, model.producer_version = "jetpress", None
    model.graph.name = "network"
    model.graph.metadata_props.clear()
    for value in [*model.graph.inputs, *model.graph.outputs, *model.graph.initializers.values()]:
        value.metadata_props.clear()
    _tidy(model, ir_version)
    if (delivered := model.opset_imports[""]) != opset:
        raise StageError(f"opset {opset} was asked for, {delivered} written", "please report this")


def _tidy(model: ir.Model, ir_version: int | None) -> None:
    """No dead nodes, unique names, the IR version asked for."""
    common.RemoveUnusedNodesPass()(model)
    common.NameFixPass()(model)
    oldest = onnx.helper.find_min_ir_version_for([onnx.helper.make_opsetid("", model.opset_imports[""])])
    model.ir_version = ir_version or oldest


def _bytes_of(model: ir.Model) -> int:
    return sum(one.const_value.nbytes for one in model.graph.initializers.values() if one.const_value)


def _checked(model: ir.Model) -> onnx.ModelProto:
    """The file's content: every shape inferred, held against ONNX's own rules."""
    if (size := _bytes_of(model)) > LARGEST_FILE:
        raise StageError(f"the weights have {size / 2**30:.1f} GiB", "an ONNX file holds at most 2 GiB")
    common.ShapeInferencePass()(model)
    proto = ir.to_proto(model)
    check(proto)
    return proto


def _input(value: onnx.ValueInfoProto, config: ExportConfig) -> dict[str, Any]:
    """As the device is told: the shape that is measured, and the profile of an open batch."""
    told = described(value)
    if not config.dynamic_batch:
        return told
    rest = told["shape"][1:]
    sizes = {"min": 1, "opt": config.batch, "max": config.max_batch}
    return {
        **told,
        "shape": [config.batch, *rest],
        "profile": {name: [size, *rest] for name, size in sizes.items()},
    }


def described(value: onnx.ValueInfoProto) -> dict[str, Any]:
    """Name, element type (as in NumPy) and shape; an open dimension by its name."""
    tensor = value.type.tensor_type
    dtype = onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type)
    shape = [d.dim_value if d.HasField("dim_value") else d.dim_param for d in tensor.shape.dim]
    return {"name": value.name, "dtype": dtype.name, "shape": shape}
