"""Masks chosen with data, and the weights that are kept changed so that each layer's output stays.

Wanda (Sun et al., 2023) weighs a weight by the size of its input: ``|w| * |x|``. SparseGPT (Frantar &
Alistarh, 2023) walks through a layer's inputs, drops the weights that cost least and lets those not yet
visited make up for it; it minimises the squared error of the layer's output, ``(w - v)' H (w - v)`` with
``H = x' x``.

Here a convolution's inputs are ordered by kernel position, then by channel, so the groups of N:M run along
the input channels, as TensorRT reads them; padding, stride and groups are the convolution's own. The weights
that are kept are then brought to the least error by conjugate gradients, which a single pass does not reach.
The graph is walked once, operator by operator, over all calibration samples: each layer sees what the layers
before it, already sparse, hand on.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx
from torch.nn import functional as F

from jetpress.deploy.console import progress
from jetpress.pipeline.network.channels.graph import Trace
from jetpress.pipeline.sparse import masks
from jetpress.pipeline.sparse.products import Product
from jetpress.pipeline.sparse.walking import walk

DAMPING = 0.01
"""On the diagonal of ``H``, as a share of its mean (as SparseGPT): weights that no data speaks for stay."""
BLOCK = 128
"""Columns whose errors are handed on at once."""
REFINEMENTS = 16
"""Steps of conjugate gradients; the error hardly falls after them."""


@dataclass
class Layer:
    """A weight with its statistics. Rows are outputs; columns kernel positions, then input channels."""

    product: Product
    weight: Tensor
    """The part of the parameter that is used here, ``[groups, out / groups, columns]``."""
    hessian: Tensor
    """``[groups, columns, columns]``: mean of ``x' x`` over samples and positions."""


def reconstruct(
    source: Trace,
    parameters: Mapping[str, Tensor],
    layers: Sequence[Product],
    batches: Sequence[tuple[Tensor, ...]],
    method: str,
    kept: int = masks.KEPT,
    group: int = masks.GROUP,
) -> tuple[dict[str, Tensor], dict[str, float]]:
    """Choose masks for ``layers`` with data and apply them in place; with ``sparsegpt`` kept weights change too.

    Args:
        source: the traced network, working on ``parameters``.
        parameters: by name.
        layers: all uses of what becomes sparse.
        batches: calibration inputs; the first axis is the one that the trace left open.
        method: ``"wanda"`` or ``"sparsegpt"``.
        kept: N.
        group: M.

    Returns:
        masks by parameter; the squared error of each layer's output, relative (of its parts the largest)
    """
    wanted = {layer.node: layer for layer in layers}
    found: dict[str, Tensor] = {}
    errors: dict[str, float] = {}
    done: set[tuple[str, tuple[int, int]]] = set()
    with progress("weights chosen with data", len(wanted)) as line:
        for node, known in walk(source, batches, wanted):
            line.step()
            product = wanted[node]
            if (product.name, product.rows) in done:
                continue  # a shared weight: it keeps what its first use made of it
            done.add((product.name, product.rows))
            parameter = parameters[product.name]
            layer = Layer(
                product,
                taken(parameter.detach(), product),
                _hessian([values[operand(product)] for values in known], product),
            )
            mask, weight = _sparse(layer, method, kept, group)
            errors[product.name] = max(errors.get(product.name, 0.0), _error(layer, weight))
            whole = found.setdefault(product.name, masks.best_mask(parameter, kept, group, product.axis))
            put(whole, mask, product)
            put(parameter.data, weight, product)
    return found, errors


def operand(product: Product) -> fx.Node:
    """What the weight is multiplied with."""
    names = {"weight": "input", "self": "other", "other": "self", "mat1": "mat2", "mat2": "mat1"}
    name = names[product.argument]
    found: fx.Node = product.call.arguments[
        "mat2" if name == "other" and "mat2" in product.call.arguments else name
    ]
    return found


# A layer as a matrix product


def _is_convolution(product: Product) -> bool:
    return product.call.name.startswith("conv")


def taken(parameter: Tensor, product: Product) -> Tensor:
    """Used rows of a parameter (or of its mask) as ``[groups, out / groups, columns]``."""
    first, last = product.rows
    part = parameter.narrow(1 - product.axis, first, last - first).movedim(product.axis, -1)
    return part.reshape(product.groups, (last - first) // product.groups, -1).clone()


def put(parameter: Tensor, matrix: Tensor, product: Product) -> None:
    """The inverse of :func:`taken`, in place."""
    first, last = product.rows
    part = parameter.narrow(1 - product.axis, first, last - first).movedim(product.axis, -1)
    part.copy_(matrix.reshape(part.shape))


def _hessian(inputs: Sequence[Tensor], product: Product) -> Tensor:
    """``[groups, columns, columns]``, accumulated batch by batch."""
    total, count = torch.zeros(()), 0
    for x in inputs:
        samples = columns(x, product)
        total = total + samples.mT @ samples
        count += samples.shape[1]
    return total / max(count, 1)


def columns(x: Tensor, product: Product, some: Tensor | None = None) -> Tensor:
    """What each output is summed over: ``[groups, samples, kernel positions x input channels]``.

    Args:
        x: the layer's input.
        some: of the samples (images, then positions), those that are wanted; None: all.
    """
    x = x.detach().float()
    if not _is_convolution(product):
        x = x.movedim(-2, -1) if product.argument in ("self", "mat1") else x
        rows = x.reshape(-1, x.shape[-1])
        return (rows if some is None else rows[some]).unsqueeze(0)
    parts = []
    for window in _windows(x, product):  # [batch, positions ..., channels]
        rows = window.flatten(0, -2) if some is None else window[torch.unravel_index(some, window.shape[:-1])]
        parts.append(rows.reshape(len(rows), product.groups, -1).movedim(1, 0))
    return torch.cat(parts, dim=-1)


def samples(x: Tensor, product: Product) -> int:
    """How many there are."""
    if not _is_convolution(product):
        return x.numel() // x.shape[-2 if product.argument in ("self", "mat1") else -1]
    return math.prod(next(_windows(x, product)).shape[:-1])


def _windows(x: Tensor, product: Product) -> Iterator[Tensor]:
    """The input as each kernel position sees it, ``[batch, positions ..., channels]``."""
    kernel = product.call.arguments["weight"].meta["val"].shape[2:]
    stride, padding, dilation = (
        _each(product.call.arguments[n], len(kernel)) for n in ("stride", "padding", "dilation")
    )
    if isinstance(padding[0], str):
        total = [d * (k - 1) if padding[0] == "same" else 0 for d, k in zip(dilation, kernel, strict=True)]
        sides = [(t // 2, t - t // 2) for t in total]
    else:
        sides = [(p, p) for p in padding]
    x = F.pad(x, [size for side in reversed(sides) for size in side])
    spans = [range(0, k * d, d) for k, d in zip(kernel, dilation, strict=True)]
    counts = [
        (s - span[-1] - 1) // step + 1 for s, span, step in zip(x.shape[2:], spans, stride, strict=True)
    ]
    for offsets in _grid(spans):
        window = [
            slice(o, o + step * (n - 1) + 1, step) for o, step, n in zip(offsets, stride, counts, strict=True)
        ]
        yield x[:, :, *window].movedim(1, -1)


def _each(value: Any, count: int) -> list[Any]:
    """One setting for each spatial axis."""
    values = [value] if isinstance(value, int | str) else list(value)
    return values * count if len(values) == 1 else values


def _grid(spans: Sequence[range]) -> Iterator[tuple[int, ...]]:
    """All kernel positions, the last axis fastest, as in the weight."""
    return (
        tuple(int(i) for i in point)
        for point in torch.cartesian_prod(*map(torch.tensor, spans)).reshape(-1, len(spans))
    )


# Masks and weights


def _sparse(layer: Layer, method: str, kept: int, group: int) -> tuple[Tensor, Tensor]:
    """Mask and weight of a layer, both ``[groups, out / groups, columns]``."""
    if method == "wanda":
        norms = layer.hessian.diagonal(dim1=-2, dim2=-1).sqrt()
        mask = masks.best_mask(layer.weight * norms.unsqueeze(-2), kept, group, axis=-1)
        return mask, layer.weight * mask
    damped = _damped(layer.hessian)
    weight, mask = sparsegpt(layer.weight, damped, kept, group)
    return mask, refined(layer.weight, weight, mask, damped)


def _damped(hessian: Tensor) -> Tensor:
    diagonal = hessian.diagonal(dim1=-2, dim2=-1)
    shift = DAMPING * diagonal.mean(-1, keepdim=True)
    return hessian + torch.diag_embed(torch.where(shift > 0, shift, 1.0).expand_as(diagonal))


def sparsegpt(
    weight: Tensor, hessian: Tensor, kept: int = masks.KEPT, group: int = masks.GROUP
) -> tuple[Tensor, Tensor]:
    """One pass over the columns (Frantar & Alistarh, 2023, algorithm 1).

    Args:
        weight: ``[groups, rows, columns]``.
        hessian: ``[groups, columns, columns]``, positive definite.
        kept: N.
        group: M, a divisor of the columns' number.

    Returns:
        sparse weight and mask, shaped as ``weight``.
    """
    left, mask = weight.clone(), torch.ones_like(weight, dtype=torch.bool)
    inverse = torch.linalg.cholesky(torch.cholesky_inverse(torch.linalg.cholesky(hessian)), upper=True)
    total = weight.shape[-1]
    block = BLOCK // group * group
    for start in range(0, total, block):
        end = min(start + block, total)
        part, errors = left[..., start:end], torch.zeros_like(left[..., start:end])
        factor = inverse[:, start:end, start:end]
        for k in range(end - start):
            if k % group == 0:
                costs = (
                    part[..., k : k + group] / factor.diagonal(dim1=-2, dim2=-1)[:, None, k : k + group]
                ).square()
                mask[..., start + k : start + k + group] = masks.best_mask(costs, kept, group, axis=-1)
            dropped = part[..., k] * ~mask[..., start + k]
            errors[..., k] = dropped / factor[:, k, k, None]
            part[..., k:] -= errors[..., k, None] * factor[:, None, k, k:]
        left[..., end:] -= errors @ inverse[:, start:end, end:]
    return left * mask, mask


def refined(dense: Tensor, sparse: Tensor, mask: Tensor, hessian: Tensor, steps: int = REFINEMENTS) -> Tensor:
    """The kept weights moved towards the least output error: conjugate gradients, every row by itself.

    Args:
        dense: the weights whose output is wanted, ``[groups, rows, columns]``.
        sparse: where to start, zero outside ``mask``.
        mask: bool, what may change.
        hessian: ``[groups, columns, columns]``, positive definite.
        steps: of conjugate gradients, with the diagonal as preconditioner.
    """
    diagonal = hessian.diagonal(dim1=-2, dim2=-1).unsqueeze(-2)
    result, residual = sparse, ((dense - sparse) @ hessian) * mask
    direction = residual / diagonal
    slope = (residual * direction).sum(-1, keepdim=True)
    for _ in range(steps):
        pushed = (direction @ hessian) * mask
        curvature = (direction * pushed).sum(-1, keepdim=True)
        step = torch.where(curvature > 0, slope / curvature.clamp_min(torch.finfo(slope.dtype).tiny), 0.0)
        result, residual = result + step * direction, residual - step * pushed
        preconditioned = residual / diagonal
        new = (residual * preconditioned).sum(-1, keepdim=True)
        direction = (
            preconditioned
            + torch.where(slope > 0, new / slope.clamp_min(torch.finfo(slope.dtype).tiny), 0.0) * direction
        )
        slope = new
    return result


def _error(layer: Layer, weight: Tensor) -> float:
    """Squared error of the output, relative to the output's own square."""
    difference = layer.weight - weight
    lost, whole = (
        float(((d @ layer.hessian) * d).sum(dtype=torch.float64)) for d in (difference, layer.weight)
    )
    return lost / whole if whole > 0 else math.nan if lost else 0.0
