"""Stage: the network as ONNX, at exactly the opset that the target's parser takes.

PyTorch's exporter writes opset 18 well and, asked for less, quietly still writes 18. So it always exports at
18 (or above, where that is asked for), and everything after is done on the graph: constants folded and dead
nodes removed (onnxscript's optimizer, the one that the exporter itself uses), BatchNorm into convolutions
(:mod:`pipeline.lowering.batchnorm`), operators that the parser lacks as primitives (:mod:`pipeline.lowering`), the
older opset (:mod:`pipeline.lowering.downgrade`). What was asked for is read again from the result.

Nodes are named after the PyTorch module they came from (``layer1.0.conv1/Conv``), weights keep their names,
and nothing else of the machine or its versions is in the file: equal checkpoints give equal bytes.
"""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import onnx
import onnx_ir as ir
from onnx_ir.passes import common
from onnxscript import optimizer
from torch import nn

from deploy.errors import StageError
from pipeline import lowering, models
from pipeline.artifact import Checkpoint, OnnxModel
from pipeline.lowering import batchnorm, downgrade
from pipeline.lowering.trace import cause, quiet, trace
from pipeline.sections import ExportConfig, InputConfig

FILE = "model.onnx"
# Elements of a constant up to which it is folded: position tables and transposed weights, all of them.
LARGEST_CONSTANT = 2**26
# A protobuf message may not be larger.
LARGEST_FILE = 2**31 - 1


def export(config: ExportConfig, model: Checkpoint, draft: Path) -> OnnxModel:
    """Write ``model.onnx``.

    Raises:
        StageError: the network does not export, or the opset asked for cannot say what it does.
    """
    network = models.load(model)
    proto = to_onnx(network.module, network.model.inputs, network.model.outputs, config)
    path = draft / FILE
    path.write_bytes(proto.SerializeToString(deterministic=True))
    written = onnx.load(path)
    return OnnxModel(
        draft,
        {
            "opset": opset_of(written),
            "ir_version": written.ir_version,
            "nodes": len(written.graph.node),
            "bytes": path.stat().st_size,
            "max_batch": config.max_batch if config.dynamic_batch else config.batch,
            "inputs": [_described(value) for value in written.graph.input],
            "outputs": [_described(value) for value in written.graph.output],
        },
    )


def to_onnx(
    module: nn.Module, inputs: tuple[InputConfig, ...], outputs: tuple[str, ...], config: ExportConfig
) -> onnx.ModelProto:
    """The checked ONNX graph of ``module`` in evaluation mode.

    Args:
        inputs: in the order of ``forward``, shapes without the batch dimension.
        outputs: their names, flattened; empty for ``output``, ``output_1``, ...

    Raises:
        RecipeError: more or fewer output names than outputs.
        StageError: the network does not export, or not at this opset.
    """
    opset = config.opset or downgrade.NEWEST
    max_batch = config.max_batch if config.dynamic_batch else None
    model = trace(module, inputs, outputs, max(opset, downgrade.NEWEST), config.batch, max_batch)
    _simplify(model)
    _name_nodes(model)
    lowering.lower(model, config.lower or ())
    downgrade.downgrade(model, opset)
    return _finish(model, opset, config.ir_version)


def opset_of(model: onnx.ModelProto) -> int:
    """The opset of ONNX's own operators."""
    return int(next(one.version for one in model.opset_import if one.domain in ("", "ai.onnx")))


def _simplify(model: ir.Model) -> None:
    """Constants folded, BatchNorm fused, no-ops and dead nodes gone."""
    with quiet():
        common.InlinePass()(model)
        optimizer.fold_constants(model, input_size_limit=LARGEST_CONSTANT, output_size_limit=LARGEST_CONSTANT)
        batchnorm.fuse(model)
        optimizer.optimize_ir(model, input_size_limit=LARGEST_CONSTANT, output_size_limit=LARGEST_CONSTANT)
        common.ShapeInferencePass()(model)


def _name_nodes(model: ir.Model) -> None:
    """Name every node after the innermost PyTorch module that it came from: ``layer1.0.conv1/Conv``."""
    for node in model.graph.all_nodes():
        scopes = ast.literal_eval(node.metadata_props.get("pkg.torch.onnx.name_scopes", "[]"))
        node.name = "/".join([*scopes[-2:-1], node.op_type]).lstrip("/")


def _finish(model: ir.Model, opset: int, ir_version: int | None) -> onnx.ModelProto:
    """Names made unique, notes of the exporter gone, shapes inferred, checked, and the opset read again."""
    common.RemoveUnusedNodesPass()(model)
    common.NameFixPass()(model)
    common.ClearMetadataAndDocStringPass()(model)
    oldest = onnx.helper.find_min_ir_version_for([onnx.helper.make_opsetid("", opset)])
    model.ir_version = ir_version or oldest
    model.producer_name, model.producer_version = "jetpress", None
    model.graph.name = "network"
    model.graph.metadata_props.clear()
    for value in [*model.graph.inputs, *model.graph.outputs, *model.graph.initializers.values()]:
        value.metadata_props.clear()
    size = sum(value.const_value.nbytes for value in model.graph.initializers.values() if value.const_value)
    if size > LARGEST_FILE:
        raise StageError(f"the weights have {size / 2**30:.1f} GiB", "an ONNX file holds at most 2 GiB")
    proto = ir.to_proto(model)
    try:
        proto = onnx.shape_inference.infer_shapes(proto, check_type=True, strict_mode=True, data_prop=True)
        onnx.checker.check_model(proto, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise StageError(f"the graph is not valid ONNX: {cause(error)}", "please report this") from error
    if opset_of(proto) != opset:
        raise StageError(f"opset {opset} was asked for, {opset_of(proto)} written", "please report this")
    return proto


def _described(value: onnx.ValueInfoProto) -> dict[str, Any]:
    """Name, element type (as in NumPy) and shape; an open dimension by its name."""
    tensor = value.type.tensor_type
    dtype = onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type)
    shape = [d.dim_value if d.HasField("dim_value") else d.dim_param for d in tensor.shape.dim]
    return {"name": value.name, "dtype": dtype.name, "shape": shape}
