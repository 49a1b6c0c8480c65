"""An ONNX graph at an older opset, or a refusal by name.

Why ours: PyTorch's exporter writes opset 18 and, asked for less, still writes 18; ONNX's own converter leaves
invalid graphs. The idea: ask ONNX's operator schemas which operators changed between the two opsets. A node
of an unchanged operator stays. A changed one stays if it is in ``WIDENED`` (the newer definition only takes
more types or has another default-valued attribute), is rewritten if it has a rule in ``RULES`` or an
expansion in :mod:`jetpress.pipeline.graph.rewrites.primitives`, and is refused by name otherwise. Then
every input type is held against the older schema. So nothing passes that nobody looked at: the tables were made by
reading the ONNX changelog (onnx/docs/Changelog.md) for each operator that changed from 13 to 21, and a test holds
that none is missing.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
from onnx import defs
from onnx.helper import get_attribute_value

from jetpress.deploy.errors import StageError
from jetpress.pipeline.graph.rewrites import attributes
from jetpress.pipeline.graph.rewrites.primitives import EXPANSIONS
from jetpress.pipeline.graph.rewrites.site import RefusedError, Rule, Site

NEWEST, OLDEST = 18, 13
"""That is written where nothing is asked for, and that graphs are brought down to."""
READ = 21
"""The newest that a graph may come with."""

# fmt: off
WIDENED = frozenset({
    "Add", "Sub", "Mul", "Div", "Pow", "CumSum", "GreaterOrEqual", "LessOrEqual", "Where", "Identity",
    "Relu", "LeakyRelu", "PRelu", "BatchNormalization", "LpPool", "ScatterElements", "ScatterND",
    "GRU", "LSTM", "RNN", "If", "Loop", "Scan",
    "AveragePool", "Cast", "CastLike", "Constant", "ConstantOfShape", "DequantizeLinear", "QuantizeLinear", "Equal",
    "Flatten", "IsInf", "IsNaN", "QLinearMatMul", "Size", "Squeeze", "Transpose", "Unsqueeze",
})
# fmt: on
"""Changed only in the types taken, in formal names, or by attributes whose default is the older meaning."""

REDUCTIONS = ("L1", "L2", "LogSum", "LogSumExp", "Max", "Mean", "Min", "Prod", "SumSquare")

# The shape of what these give depends on data: a dimension may come out as zero.
DATA_DEPENDENT = frozenset({"NonZero", "Compress", "Unique", "NonMaxSuppression", "Loop", "If", "Scan"})


def _reduce(at: Site) -> ir.Value | None:
    """Axes were an attribute before 18 (ReduceSum, an input since 13, did not change)."""
    axes = at.constant_of(1)
    if at.input(1) is not None and axes is None:
        raise RefusedError("its axes are computed at run time")
    if axes is None or axes.size == 0:
        if at.attribute("noop_with_empty_axes", 0):
            raise RefusedError("it reduces nothing (noop_with_empty_axes)")
    else:
        at.node.attributes["axes"] = ir.AttrInt64s("axes", [int(a) for a in axes.ravel()])
    at.node.resize_inputs(1)
    at.node.attributes.pop("noop_with_empty_axes", None)
    return None


def _pad(at: Site) -> ir.Value | None:
    """Before 18 pads named every dimension: all the starts, then all the ends. ``wrap`` came with 19."""
    if at.attribute("mode", "constant") == "wrap":
        raise RefusedError("it wraps")
    if at.input(3) is None:
        return None
    axes, pads, rank = at.constant_of(3), at.constant_of(1), at.rank()
    if axes is None or pads is None:
        raise RefusedError("its pads or axes are computed at run time")
    full = np.zeros((2, rank), np.int64)
    full[:, axes.ravel() % rank] = pads.reshape(2, -1)
    at.node.replace_input_with(1, at.constant(full.ravel()))
    at.node.resize_inputs(3)
    return None


def _split(at: Site) -> ir.Value | None:
    """Before 18 the parts were equal or listed; since then ``num_outputs`` lets the last one be smaller."""
    parts = at.node.attributes.pop("num_outputs", None)
    if parts is None or at.input(1) is not None:
        return None
    shape, axis = at.shape(), at.attribute("axis", 0)
    length = None if shape is None else shape[axis]
    if length is None:
        raise RefusedError("it splits a dimension of unknown length")
    size = -(-length // parts.as_int())
    sizes = np.minimum(size, length - size * np.arange(parts.as_int()))
    at.node.resize_inputs(2)
    at.node.replace_input_with(1, at.constant(sizes.astype(np.int64)))
    return None


def _reshape(at: Site) -> ir.Value | None:
    """Before 14 a zero meant "as in the input"; with ``allowzero`` it makes an empty tensor."""
    if not at.attribute("allowzero", 0):
        return None
    shape, known, graph = at.constant_of(1), at.shape(), at.node.graph
    assert graph is not None
    open_ended = DATA_DEPENDENT.intersection(node.op_type for node in graph.all_nodes())
    may_be_empty = known is None or 0 in known or (None in known and open_ended)
    if may_be_empty if shape is None else 0 in shape:
        raise RefusedError("it may make an empty tensor (allowzero)")
    del at.node.attributes["allowzero"]
    return None


def _shape(at: Site) -> ir.Value | None:
    """``start`` and ``end`` came with 15."""
    by = attributes.shape(at)
    if not by:
        at.node.attributes.pop("start", None)
    return by or None


def _roi_align(at: Site) -> ir.Value | None:
    """Version 10 always computes what 16 calls ``output_half_pixel``; its maximum was wrong (onnx #3651)."""
    if at.attribute("coordinate_transformation_mode", "half_pixel") != "output_half_pixel":
        raise RefusedError("it samples at half pixels (aligned=True)")
    if at.attribute("mode", "avg") != "avg":
        raise RefusedError("its maximum is defined otherwise before opset 16")
    del at.node.attributes["coordinate_transformation_mode"]
    return None


def _resize(at: Site) -> ir.Value | None:
    """``half_pixel_symmetric`` came with 19."""
    if at.attribute("coordinate_transformation_mode") == "half_pixel_symmetric":
        raise RefusedError("it samples symmetrically (half_pixel_symmetric)")
    return None


def _grid_sample(at: Site) -> ir.Value | None:
    """Before 20 modes had other names, and there were four dimensions."""
    if at.rank() != 4:
        raise RefusedError("it samples in other than two dimensions")
    older = {"linear": "bilinear", "cubic": "bicubic"}
    mode = at.attribute("mode", "linear")
    at.node.attributes["mode"] = ir.AttrString("mode", older.get(mode, mode))
    return None


def _group_normalization(_: Site) -> ir.Value | None:
    """Before 21 scale and bias belonged to groups, not to channels."""
    raise RefusedError("its scale is of channels")


RULES: dict[str, tuple[int, Rule]] = {
    **{f"Reduce{kind}": (18, _reduce) for kind in REDUCTIONS},
    "Pad": (19, _pad),
    "Split": (18, _split),
    "RoiAlign": (16, _roi_align),
    "Shape": (15, _shape),
    "Reshape": (14, _reshape),
    "Resize": (19, _resize),
    "GridSample": (20, _grid_sample),
    "GroupNormalization": (21, _group_normalization),
}
"""With the opset that changed the meaning: a graph is held to the rule where it goes below."""


def downgrade(model: ir.Model, opset: int) -> None:
    """Bring ``model`` (opset 21 at most) to ``opset`` (13 at least), in place. Shapes and types must be inferred.

    Raises:
        StageError: the older opset cannot say what the graph says; names the operators and nodes in the way.
    """
    source = model.opset_imports[""]
    if source == opset:
        return
    if not OLDEST <= opset < source <= READ:
        raise StageError(
            f"the graph is at opset {source} and opset {opset} is asked for",
            f"jetpress lowers opset {READ} and older to {OLDEST} and newer: choose export.opset in that range",
        )
    refusals = []
    for node in list(model.graph.all_nodes()):
        try:
            rewrite(node, source, opset)
        except RefusedError as reason:
            refusals.append(f"{node.op_type} (node {node.name!r}): {reason}")
    if refusals:
        more = [f"... and {len(refusals) - 5} more"] if refusals[5:] else []
        shown = "\n    ".join(refusals[:5] + more)
        raise StageError(
            f"opset {opset} cannot say what this network does:\n    {shown}",
            f"replace these layers in the network, or set export.opset above {opset} if the target allows",
        )
    model.opset_imports[""] = opset


def rewrite(node: ir.Node, source: int, opset: int) -> None:
    """One node at the older opset: kept, changed or replaced.

    Raises:
        RefusedError: the older opset cannot say it.
    """
    if node.domain != "":
        return
    newer, older = _schema(node.op_type, source), _schema(node.op_type, opset)
    if newer is None:
        raise RefusedError("ONNX does not define it")
    if older is not None and older.since_version == newer.since_version:
        return
    below, rule = RULES.get(node.op_type, (0, None))
    if older is None:
        rule = EXPANSIONS.get(node.op_type)
    elif opset >= below:
        rule = None
    if rule is None and (older is None or node.op_type not in {*WIDENED, *RULES}):
        what = "it came" if older is None else "its meaning changed"
        raise RefusedError(f"{what} with opset {newer.since_version}")
    site = Site(node)
    by = rule(site) if rule is not None else None
    if by is not None:
        site.replace(by)
        for made in site.new:  # an expansion is written at opset 18 and may need rules itself
            rewrite(made, source, opset)
    elif older is not None:
        _drop_defaults(node, newer, older)
        _check_types(node, older)


def _schema(op_type: str, opset: int) -> defs.OpSchema | None:
    try:
        return defs.get_schema(op_type, opset, "")
    except defs.SchemaError:
        return None


def _drop_defaults(node: ir.Node, newer: defs.OpSchema, older: defs.OpSchema) -> None:
    """Take out attributes that the older definition lacks, where they say what it means anyway."""
    for name in [name for name in node.attributes if name not in older.attributes]:
        default = newer.attributes[name].default_value
        found = get_attribute_value(ir.to_proto(node.attributes[name]))
        if not default.name or get_attribute_value(default) != found:
            raise RefusedError(f"its attribute {name} = {node.attributes[name].value!r} came later")
        del node.attributes[name]
    while node.inputs and node.inputs[-1] is None:
        node.resize_inputs(len(node.inputs) - 1)
    if len(node.inputs) > older.max_input or len(node.outputs) > older.max_output:
        raise RefusedError("it has more inputs or outputs than the older definition")


def _check_types(node: ir.Node, older: defs.OpSchema) -> None:
    for index, value in enumerate(node.inputs):
        if value is None or value.dtype is None:
            continue
        formal = older.inputs[min(index, len(older.inputs) - 1)]
        if (kind := f"tensor({value.dtype.name.lower()})") not in formal.types:
            raise RefusedError(f"its input {formal.name} is a {kind}, which came later")
