"""What TensorRT's importers do not compute, or not on this type, as what they do."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from jetpress.pipeline.graph.rewrites.primitives import EXPANSIONS
from jetpress.pipeline.graph.rewrites.site import RefusedError, Site

INTEGERS = (ir.DataType.INT32, ir.DataType.INT64)
FLOATS = (ir.DataType.FLOAT, ir.DataType.FLOAT16)
CHANNELS_SINCE = 21
"""The opset that gave the scale of a GroupNormalization to its channels."""
MOST_ELEMENTS = 2**22
"""Of a matrix that takes the place of indices."""


def trilu(at: Site) -> ir.Value | bool:
    """TensorRT 8.5 takes two and three dimensions."""
    if at.rank() in (2, 3):
        return False
    return EXPANSIONS["Trilu"](at) or False


def power(at: Site) -> ir.Value | bool:
    """A floating-point number to a constant integer."""
    exponent = at.constant_of(1)
    if exponent is None or exponent.dtype.kind not in "iu" or at.x().dtype not in FLOATS:
        return False
    at.node.replace_input_with(1, at.constant(exponent.astype(at.numpy_type())))
    return True


def integer_relu(at: Site) -> ir.Value | bool:
    """The larger of it and 0, which works on integers."""
    if at.x().dtype not in INTEGERS:
        return False
    return at.op("Max", at.x(), at.constant(np.zeros((), at.numpy_type())))


def integer_sign(at: Site) -> ir.Value | bool:
    """Rounding to FP32 changes no sign."""
    dtype = at.x().dtype
    if dtype not in INTEGERS:
        return False
    return at.op("Cast", at.op("Sign", at.op("Cast", at.x(), to=1)), to=int(dtype))


def bool_as_int(at: Site) -> ir.Value | bool:
    """TensorRT 8.2 gathers and compares no BOOL."""
    if at.x().dtype != ir.DataType.BOOL:
        return False
    equal = at.node.op_type == "Equal"
    inputs = [at.op("Cast", one, to=6) if equal or one is at.x() else one for one in at.node.inputs]
    made = at.op(at.node.op_type, *inputs, **{name: one.value for name, one in at.node.attributes.items()})
    return made if equal else at.op("Cast", made, to=9)


def bool_where(at: Site) -> ir.Value | bool:
    """Where(c, a, b) is (c and a) or (not c and b)."""
    yes, no = at.input(1), at.input(2)
    if yes is None or no is None or yes.dtype != ir.DataType.BOOL:
        return False
    return at.op("Or", at.op("And", at.x(), yes), at.op("And", at.op("Not", at.x()), no))


def odd_norm(at: Site) -> ir.Value | bool:
    """TensorRT takes powers of the numbers themselves, ONNX of their absolute values."""
    p = at.attribute("p", 2)
    if p % 2 == 0:
        return False
    dtype = at.x().dtype
    if dtype not in FLOATS:
        raise RefusedError("it does not work on floating point")
    axes = at.constant(np.arange(2, at.rank()))
    one, over = (at.constant(np.array(number, at.numpy_type())) for number in (p, 1 / p))
    size = at.op("Abs", at.x())
    if p == 1:
        return at.op("ReduceSum", size, axes, keepdims=1)
    return at.op("Pow", at.op("ReduceSum", at.op("Pow", size, one), axes, keepdims=1), over)


def smallest(at: Site) -> tuple[ir.Value, ...] | bool:
    """TensorRT 8.2 takes the largest, whatever is asked: the smallest are the largest of the negated."""
    if at.attribute("largest", 1):
        return False
    if at.x().dtype not in FLOATS:
        raise RefusedError("it does not work on floating point")
    negated = at.op("Neg", at.x())
    given = {"axis": at.attribute("axis", -1), "sorted": at.attribute("sorted", 1)}
    values, places = at.many(2, "TopK", negated, at.input(1), **given)
    return at.op("Neg", values), places


def batch_first(at: Site) -> tuple[ir.Value, ...] | bool:
    """A recurrent layer whose ``layout`` is 1 is one whose ``layout`` is 0 between transposes."""
    if not at.attribute("layout", 0):
        return False
    inputs = list(at.node.inputs)
    for place in (0, 5, 6):  # the sequence and the initial states; before opset 14 there is no layout
        if place < len(inputs) and inputs[place] is not None:
            inputs[place] = at.op("Transpose", inputs[place], perm=[1, 0, 2])
    given = {name: one.value for name, one in at.node.attributes.items() if name != "layout"}
    count = len(at.node.outputs)
    whole, *last = at.many(count, at.node.op_type, *inputs, **given)
    turned = [at.op("Transpose", whole, perm=[2, 0, 1, 3])]
    return (*turned, *(at.op("Transpose", one, perm=[1, 0, 2]) for one in last))


def initial_states(at: Site) -> tuple[ir.Value, ...] | bool:
    """Left out, TensorRT 10 starts with zeros in FP32, whatever the layer computes in: zeros of its own type."""
    places = (5, 6) if at.node.op_type == "LSTM" else (5,)
    if all(at.input(place) is not None for place in places):
        return False
    recurrence, shape = at.shape(2), at.shape()
    hidden = at.attribute("hidden_size") or (recurrence[-1] if recurrence else None)
    if hidden is None or shape is None or at.attribute("layout", 0):
        raise RefusedError("its sizes are not known")
    ways, batch = 2 if at.attribute("direction") == "bidirectional" else 1, shape[1]
    if batch is not None:
        state = at.constant(np.zeros((ways, batch, hidden), at.numpy_type()))
    else:
        one, two, ends = (at.constant(np.array([number])) for number in (1, 2, 0))
        batches = at.op("Slice", at.op("Shape", at.x()), one, two, ends)
        sides = (at.constant(np.array([number])) for number in (ways, hidden))
        sizes = at.op("Concat", next(sides), batches, next(sides), axis=0)
        state = at.op("Expand", at.constant(np.zeros((), at.numpy_type())), sizes)
    inputs = [*at.node.inputs, *[None] * (max(places) + 1 - len(at.node.inputs))]
    for place in places:
        inputs[place] = inputs[place] or state
    given = {name: one.value for name, one in at.node.attributes.items()}
    return at.many(len(at.node.outputs), at.node.op_type, *inputs, **given)


def group_norm(at: Site) -> ir.Value | bool:
    """Since opset 21 scale and bias belong to channels: each group as an instance, then both by themselves."""
    graph = at.node.graph
    if not isinstance(graph, ir.Graph) or graph.opset_imports.get("", 0) < CHANNELS_SINCE:
        return False
    groups, rank, dtype = at.attribute("num_groups", 1), at.rank(), at.numpy_type()
    one, zero = (at.constant(np.full(groups, number, dtype)) for number in (1, 0))
    flat = at.op("Reshape", at.x(), at.constant(np.array([0, groups, -1])))
    normal = at.op("InstanceNormalization", flat, one, zero, epsilon=at.attribute("epsilon", 1e-5))
    whole = at.op("Reshape", normal, at.op("Shape", at.x()))
    column = at.constant(np.array([-1, *[1] * (rank - 2)]))
    scale, bias = (at.op("Reshape", at.input(place), column) for place in (1, 2))
    return at.op("Add", at.op("Mul", whole, scale), bias)


def log_sum_exp(at: Site) -> ir.Value | bool:
    """TensorRT 10 drops the axes of opset 18. The largest is taken out first, so that no exponential overflows."""
    if at.input(1) is None or at.x().dtype not in FLOATS:
        return False
    axes, keep = at.input(1), at.attribute("keepdims", 1)
    if at.attribute("noop_with_empty_axes", 0):
        raise RefusedError("it may reduce nothing")
    largest = at.op("ReduceMax", at.x(), axes, keepdims=1)
    rest = at.op("ReduceSum", at.op("Exp", at.op("Sub", at.x(), largest)), axes, keepdims=keep)
    outer = largest if keep else at.op("ReduceMax", at.x(), axes, keepdims=0)
    return at.op("Add", at.op("Log", rest), outer)


def scatter_elements(at: Site) -> ir.Value | bool:
    """Adding at constant places is a product with a matrix of ones and zeros, one for each line along the axis."""
    if at.attribute("reduction", "none") != "add":
        return False
    data, updates, indices = _known(at)
    axis, rank = at.attribute("axis", 0) % len(data), len(data)
    if [size for i, size in enumerate(updates) if i != axis] != [
        size for i, size in enumerate(data) if i != axis
    ]:
        raise RefusedError("it changes a part of its input")
    length, count = data[axis], updates[axis]
    if length * int(np.prod(updates)) > MOST_ELEMENTS:
        raise RefusedError("it changes too much")
    places = np.moveaxis(indices, axis, -1)[..., None, :] % length  # [..., 1, count]
    ones = (places == np.arange(length)[:, None]).astype(at.numpy_type())
    last = [*(i for i in range(rank) if i != axis), axis]
    turned = at.op("Transpose", at.input(2), perm=last)
    lines = [data[i] for i in range(rank) if i != axis]
    column = at.op("Reshape", turned, at.constant(np.array([*lines, count, 1], np.int64)))
    added = at.op("MatMul", at.constant(ones), column)
    flat = at.op("Reshape", added, at.constant(np.array([*lines, length], np.int64)))
    return at.op("Add", at.x(), at.op("Transpose", flat, perm=[int(i) for i in np.argsort(last)]))


def scatter_nd(at: Site) -> ir.Value | bool:
    """The same where whole slices are added."""
    if at.attribute("reduction", "none") != "add":
        return False
    data, _, indices = _known(at)
    depth = indices.shape[-1]
    rows = int(np.prod(data[:depth]))
    wide = int(np.prod(data[depth:]))
    sizes = np.array(data[:depth])
    places = np.ravel_multi_index(tuple((indices.reshape(-1, depth) % sizes).T), tuple(data[:depth]))
    if rows * len(places) > MOST_ELEMENTS:
        raise RefusedError("it changes too much")
    ones = (np.arange(rows)[:, None] == places).astype(at.numpy_type())
    flat = at.op("Reshape", at.input(2), at.constant(np.array([len(places), wide], np.int64)))
    added = at.op("MatMul", at.constant(ones), flat)
    return at.op("Add", at.x(), at.op("Reshape", added, at.constant(np.array(data, np.int64))))


def _known(at: Site) -> tuple[list[int], list[int], NDArray[Any]]:
    """Shapes of what is changed and of the changes, and where."""
    data, updates, indices = at.shape(), at.shape(2), at.constant_of(1)
    if data is None or updates is None or indices is None or None in (*data, *updates):
        raise RefusedError("its shapes or indices are not known")
    if at.x().dtype not in FLOATS:
        raise RefusedError("it does not add in floating point")
    return [size or 0 for size in data], [size or 0 for size in updates], indices


def einsum(at: Site) -> ir.Value | bool:
    """One operand after the other; what neither a later one nor the result names is summed at once."""
    equation = at.attribute("equation").replace(" ", "")
    if len(at.node.inputs) < 3:
        return False
    if "->" not in equation or "." in equation:
        raise RefusedError("its result is not written out")
    terms, result = equation.split("->")[0].split(","), equation.split("->")[1]
    value, letters = at.x(), terms[0]
    for number, term in enumerate(terms[1:], 1):
        later = set("".join(terms[number + 1 :]) + result)
        kept = (
            result
            if number == len(terms) - 1
            else "".join(dict.fromkeys(c for c in letters + term if c in later))
        )
        value = at.op("Einsum", value, at.input(number), equation=f"{letters},{term}->{kept}")
        letters = kept
    return value
