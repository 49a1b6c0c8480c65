"""From a module to a checked ONNX graph: traced, simplified, its ends attached, lowered to the opset asked for."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import onnx
import onnx_ir as ir
from onnx_ir.passes import common
from torch import nn

from jetpress.deploy.console import progress
from jetpress.deploy.errors import StageError
from jetpress.pipeline.graph import lowering
from jetpress.pipeline.graph.ends import Ends, attach
from jetpress.pipeline.graph.rewrites import downgrade
from jetpress.pipeline.graph.simplify import simplify
from jetpress.pipeline.graph.trace import cause, trace
from jetpress.pipeline.recipe.sections.data import DataConfig
from jetpress.pipeline.recipe.sections.export import ExportConfig
from jetpress.pipeline.recipe.sections.model import InputConfig
from jetpress.pipeline.store.facts.onnx_file import DetectionRules, Profile, TensorSpec

# A protobuf message may not be larger.
LARGEST_FILE = 2**31 - 2**20  # of weights: the nodes need room, too


def to_onnx(
    module: nn.Module,
    inputs: tuple[InputConfig, ...],
    outputs: tuple[str, ...],
    config: ExportConfig,
    images: DataConfig | None = None,
    rules: DetectionRules | None = None,
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
    return checked(to_graph(module, inputs, outputs, config, images, rules)[0])


def to_graph(
    module: nn.Module,
    inputs: tuple[InputConfig, ...],
    outputs: tuple[str, ...],
    config: ExportConfig,
    images: DataConfig | None = None,
    rules: DetectionRules | None = None,
) -> tuple[ir.Model, list[str]]:
    """As :func:`to_onnx`, not checked yet; and what was done at the ends, in words."""
    opset = config.opset or downgrade.NEWEST
    max_batch = config.max_batch if config.dynamic_batch else None
    with progress("traced by PyTorch's exporter"):
        model = trace(module, inputs, outputs, max(opset, downgrade.NEWEST), config.batch, max_batch)
    with progress(f"simplified, at opset {opset}"):
        simplify(model)
        return to_opset(model, inputs, config, images, rules)


def to_opset(
    model: ir.Model,
    inputs: tuple[InputConfig, ...],
    config: ExportConfig,
    images: DataConfig | None = None,
    rules: DetectionRules | None = None,
) -> tuple[ir.Model, list[str]]:
    """All that is done to a simplified graph, in place."""
    _defined(model)
    images = images or DataConfig()
    opset = config.opset or downgrade.NEWEST
    said = attach(
        model,
        Ends(config.input, config.output, images.mean, images.std, rules),
        inputs,
        config.int64_io is not False,
    )
    said += lowering.lower(model, config.parser, opset, config.lower or ())
    _finish(model, opset, config.ir_version)
    return model, said


def _defined(model: ir.Model) -> None:
    """PyTorch writes what it is asked for also in operators that are younger than the opset.

    Raises:
        StageError: there are such; says since when they exist.
    """
    opset = model.opset_imports[""]
    for node in model.graph.all_nodes():
        if node.domain or onnx.defs.has(node.op_type, opset):
            continue
        history = onnx.defs.get_all_schemas_with_history()
        since = min((one.since_version for one in history if one.name == node.op_type), default=0)
        what = f"ONNX has {node.op_type} (node {node.name!r}) since opset {since}, and the file is older"
        raise StageError(
            what if since else f"ONNX has no operator {node.op_type} (node {node.name!r})",
            f"set export.opset = {since} if the target takes it (`jetpress targets`), or replace the layer",
        )


def write(model: ir.Model, path: Path) -> None:
    """Write the graph and check the file; weights of more than 2 GiB go into ``<path>.data``.

    Raises:
        StageError: it is not valid ONNX.
    """
    common.ShapeInferencePass()(model)
    if bytes_of(model) <= LARGEST_FILE:
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
    tidy(model, ir_version)
    if (delivered := model.opset_imports[""]) != opset:
        raise StageError(f"opset {opset} was asked for, {delivered} written", "please report this")


def tidy(model: ir.Model, ir_version: int | None) -> None:
    """No dead nodes, unique names, the IR version asked for."""
    common.RemoveUnusedNodesPass()(model)
    common.NameFixPass()(model)
    oldest = onnx.helper.find_min_ir_version_for([onnx.helper.make_opsetid("", model.opset_imports[""])])
    model.ir_version = ir_version or oldest


def bytes_of(model: ir.Model) -> int:
    """Of all weights."""
    return sum(one.const_value.nbytes for one in model.graph.initializers.values() if one.const_value)


def checked(model: ir.Model) -> onnx.ModelProto:
    """The file's content: every shape inferred, held against ONNX's own rules."""
    if (size := bytes_of(model)) > LARGEST_FILE:
        raise StageError(f"the weights have {size / 2**30:.1f} GiB", "an ONNX file holds at most 2 GiB")
    common.ShapeInferencePass()(model)
    proto = ir.to_proto(model)
    check(proto)
    return proto


def described(value: onnx.ValueInfoProto) -> TensorSpec:
    """Name, element type (as in NumPy) and shape; an open dimension by its name."""
    tensor = value.type.tensor_type
    dtype = onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type)
    shape = tuple(d.dim_value if d.HasField("dim_value") else d.dim_param for d in tensor.shape.dim)
    return TensorSpec(value.name, dtype.name, shape)


def input_of(value: onnx.ValueInfoProto, config: ExportConfig) -> TensorSpec:
    """As the device is told: the shape that is measured, and the profile of an open batch."""
    told = described(value)
    if not config.dynamic_batch:
        return told
    rest = told.shape[1:]
    least, usual, most = ((size, *rest) for size in (1, config.batch, config.max_batch))
    return replace(told, shape=usual, profile=Profile(least, usual, most))
