"""What sums over channels does to them: convolutions, linear layers, attention."""

from __future__ import annotations

import numpy as np

from jetpress.pipeline.network.channels.elementwise import broadcast
from jetpress.pipeline.network.channels.labels import (
    Call,
    Indices,
    NoRuleError,
    Value,
    outsides,
)


def convolution(call: Call) -> Value:
    """The weight's input axis meets the channels, its output axis brings new ones."""
    x, weight, groups = call.axes("input"), call.axes("weight"), call.arguments["groups"]
    transposed = "transpose" in call.name
    if len(x) != len(weight):
        raise NoRuleError
    inward, outward = (weight[0], weight[1]) if transposed else (weight[1], weight[0])
    call.fix(*x[2:], *weight[2:])
    call.produced.append(outward)
    if groups == 1:
        call.unite(x[1], inward)
    elif transposed:
        outward = _grouped_transposed(call, x[1].reshape(groups, -1), inward, outward)
    else:
        _grouped(call, x[1].reshape(groups, -1), inward, outward.reshape(groups, -1))
    if (bias := call.optional("bias")) is not None:
        call.unite(bias[0], outward)
    return [x[0], outward, *outsides(call.shapes[0][2:])]


def deformable(call: Call) -> Value:
    """A convolution whose positions are an input: offsets and masks stay; groups of offsets lose the same channels."""
    x, weight = call.axes("input"), call.axes("weight")
    if call.arguments["groups"] != 1:
        raise NoRuleError
    call.fix(x[0], *x[2:], *weight[2:], *call.axes("offset"), *call.axes("mask"))
    grouped = x[1].reshape(call.arguments["offset_groups"], -1)
    call.unite(grouped, grouped[:1])
    call.unite(x[1], weight[1])
    call.unite(call.axes("bias")[0], weight[0])
    call.produced.append(weight[0])
    return [x[0], weight[0], *outsides(call.shapes[0][2:])]


def _grouped(call: Call, x: Indices, inward: Indices, outward: Indices) -> None:
    """Either whole groups go, or the same channels of every group: whichever is the finer."""
    groups, width = x.shape
    call.whole = width == outward.shape[1] == 1 or (groups >= width and not call.labels.reason(x).any())
    if call.whole:
        call.unite(x, x[:, :1])
        call.unite(outward, x[:, :1])
        call.fix(inward)
    else:
        call.unite(x, inward)
        call.unite(outward, outward[:1])


def _grouped_transposed(call: Call, x: Indices, inward: Indices, outward: Indices) -> Indices:
    """All groups share the weight's output axis. Gives the labels of the channels that come out."""
    groups, width = x.shape
    call.unite(x.ravel(), inward)
    call.whole = groups >= width
    if call.whole:
        call.unite(x, x[:, :1])
        call.fix(outward)
        return np.repeat(x[:, 0], len(outward))
    call.unite(x, x[:1])
    return np.tile(outward, groups)


def linear(call: Call) -> Value:
    """A product with a matrix ``[outward, inward]`` along the last axis."""
    x, (outward, inward) = call.axes("input"), call.axes("weight")
    call.unite(x[-1], inward)
    if (bias := call.optional("bias")) is not None:
        call.unite(bias[0], outward)
    call.produced.append(outward)
    return [*x[:-1], outward]


def matmul(call: Call) -> Value:
    """The contracted axes meet; the others pass."""
    a, b = call.axes("self"), call.axes("other" if "other" in call.arguments else "mat2")
    if len(a) < 2 or len(b) < 2:
        raise NoRuleError
    call.unite(a[-1], b[-2])
    shape = call.shapes[0]
    return [*broadcast(call, [a[:-2], b[:-2]], shape[:-2]), a[-2], b[-1]]


def addmm(call: Call) -> Value:
    """A product plus a tensor."""
    a, b = (call.axes(n) for n in (("mat1", "mat2") if "mat1" in call.arguments else ("batch1", "batch2")))
    call.unite(a[-1], b[-2])
    batch = broadcast(call, [a[:-2], b[:-2]], call.shapes[0][:-2])
    return broadcast(call, [[*batch, a[-2], b[-1]], call.axes("self")], call.shapes[0])


def einsum(call: Call) -> Value:
    """Equal letters meet."""
    terms, _, result = call.arguments["equation"].replace(" ", "").partition("->")
    if not result or "." in terms:
        raise NoRuleError
    axes: dict[str, Indices] = {}
    for term, tensor in zip(terms.split(","), call.tensors("tensors"), strict=True):
        if len(set(term)) < len(term):
            raise NoRuleError
        for letter, axis in zip(term, tensor, strict=True):
            call.unite(axes.setdefault(letter, axis), axis)
    return [axes[letter] for letter in result]


def attention(call: Call) -> Value:
    """Softmax(q k') v. Without an explicit scale, torch divides by the root of the width that is left."""
    query, key, value = (call.axes(name) for name in ("query", "key", "value"))
    if call.arguments.get("enable_gqa") or len({len(query), len(key), len(value)}) > 1:
        raise NoRuleError
    call.unite(query[-1], key[-1])
    call.unite(key[-2], value[-2])
    shape = call.shapes[0]
    batch = broadcast(call, [query[:-2], key[:-2], value[:-2]], shape[:-2])
    if (mask := call.optional("attn_mask")) is not None:
        broadcast(call, [[*batch, query[-2], key[-2]], mask], (*shape[:-1], len(key[-2])))
    return [*batch, query[-2], value[-1]]
