"""Operators written as primitives, for parsers that lack them.

TensorRT 8.5 has no LayerNormalization, 8.2 no HardSwish either. Each expansion below says in ONNX opset 18
what one operator means; :mod:`jetpress.pipeline.graph.rewrites.downgrade` brings the result to older opsets. The
formulas are those of the ONNX operator reference (onnx/docs/Operators.md).
"""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import onnx_ir as ir
from onnx import defs

from jetpress.deploy.errors import RecipeError, StageError
from jetpress.pipeline.graph.rewrites.site import RefusedError, Rule, Site


def _layer_normalization(at: Site) -> ir.Value:
    if at.x().dtype != ir.DataType.FLOAT:
        raise RefusedError("it does not compute in float32")
    axis = at.attribute("axis", -1)
    rank = 0 if axis == -1 else at.rank()
    axes = np.arange(axis - rank if axis >= 0 else axis, 0, dtype=np.int64)
    over = at.constant(axes)
    centred = at.op("Sub", at.x(), at.op("ReduceMean", at.x(), over, keepdims=1))
    variance = at.op("ReduceMean", at.op("Mul", centred, centred), over, keepdims=1)
    epsilon = at.constant(np.array(at.attribute("epsilon", 1e-5), np.float32))
    deviation = at.op("Sqrt", at.op("Add", variance, epsilon))
    scaled = at.op("Mul", at.op("Div", centred, deviation), at.input(1))
    bias = at.input(2)
    return scaled if bias is None else at.op("Add", scaled, bias)


def _hard_swish(at: Site) -> ir.Value:
    return at.op("Mul", at.x(), at.op("HardSigmoid", at.x(), alpha=1 / 6, beta=0.5))


def _mish(at: Site) -> ir.Value:
    return at.op("Mul", at.x(), at.op("Tanh", at.op("Softplus", at.x())))


def _gelu(at: Site) -> ir.Value:
    if at.x().dtype != ir.DataType.FLOAT:
        raise RefusedError("it does not compute in float32")

    def number(value: float) -> ir.Value:
        return at.constant(np.array(value, np.float32))

    x = at.x()
    if at.attribute("approximate", "none") == "tanh":
        cubic = at.op("Mul", at.op("Mul", at.op("Mul", x, x), x), number(0.044715))
        inner = at.op("Tanh", at.op("Mul", at.op("Add", x, cubic), number(float(np.sqrt(2 / np.pi)))))
    else:
        inner = at.op("Erf", at.op("Mul", x, number(float(np.sqrt(0.5)))))
    return at.op("Mul", at.op("Mul", x, number(0.5)), at.op("Add", inner, number(1.0)))


def _cast_like(at: Site) -> ir.Value:
    like = at.input(1)
    if like is None or like.dtype is None:
        raise RefusedError("the type that it casts to is not known")
    return at.op("Cast", at.x(), to=int(like.dtype))


def _trilu(at: Site) -> ir.Value:
    shape = at.shape()
    k = np.int64(0) if at.input(1) is None else at.constant_of(1)
    if k is None or shape is None or None in shape[-2:]:
        raise RefusedError("its diagonal and its last two dimensions must be constant")
    rows, columns = shape[-2:]
    kept = np.tri(rows or 0, columns, int(k) - (1 if at.attribute("upper", 1) else 0), dtype=bool)
    if at.attribute("upper", 1):
        kept = ~kept
    dtype = at.x().dtype
    if dtype is None:
        raise RefusedError("its type is not known")
    return at.op("Where", at.constant(kept), at.x(), at.constant(np.zeros((), dtype.numpy())))


EXPANSIONS: dict[str, Rule] = {
    "LayerNormalization": _layer_normalization,
    "HardSwish": _hard_swish,
    "Mish": _mish,
    "Gelu": _gelu,
    "CastLike": _cast_like,
    "Trilu": _trilu,
}


def lower(model: ir.Model, operators: Collection[str]) -> list[ir.Node]:
    """Write every node of these operators as primitives of opset 18, in place. Shapes must have been inferred.

    Returns:
        The new nodes.

    Raises:
        RecipeError: an unknown operator was asked for.
        StageError: one of them is in the graph and has no expansion, or not in this form.
    """
    for name in operators:
        if not defs.has(name):
            raise RecipeError(f"export.lower: ONNX has no operator {name!r}", "spelt as in ONNX: HardSwish")
    made: list[ir.Node] = []
    for node in [n for n in model.graph.all_nodes() if n.domain == "" and n.op_type in operators]:
        site = Site(node)
        try:
            if node.op_type not in EXPANSIONS:
                raise RefusedError("jetpress has no primitives for it")
            by = EXPANSIONS[node.op_type](site)
            assert by is not None
            site.replace(by)
            made += site.new
        except RefusedError as reason:
            raise StageError(
                f"{node.op_type} (node {node.name!r}) cannot be written as primitives: {reason}",
                f"replace this layer in the network; expansions exist for {', '.join(EXPANSIONS)}",
            ) from None
    return made
