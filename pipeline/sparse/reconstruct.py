"""Masks chosen with data, and the weights that are kept changed so that each layer's output stays.

Wanda (Sun et al., 2023) weighs a weight by the size of its input: ``|w| * |x|``. SparseGPT (Frantar &
Alistarh, 2023) walks through a layer's inputs, drops the weights that cost least and lets those not yet
visited make up for it; it minimises the squared error of the layer's output, ``(w - v)' H (w - v)`` with
``H = x' x``.

The weights that are kept are then brought to the least error by conjugate gradients, which a single pass does
not reach. The graph is walked once, operator by operator, over all calibration samples: each layer sees what
the layers before it, already sparse, hand on.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from jetpress.deploy.console import progress
from jetpress.pipeline.network.channels.graph import Trace
from jetpress.pipeline.sparse import masks
from jetpress.pipeline.sparse.matrices import LARGEST, Parts, columns, enough, operand, put, samples, taken
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
    """A weight with its statistics (:mod:`jetpress.pipeline.sparse.matrices`); parts of a layer count as groups."""

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
    generator = torch.Generator().manual_seed(0)
    with progress("weights chosen with data", len(wanted)) as line:
        for node, known in walk(source, batches, wanted):
            line.step()
            product = wanted[node]
            if (product.name, product.rows) in done:
                continue  # a shared weight: it keeps what its first use made of it
            done.add((product.name, product.rows))
            parameter = parameters[product.name]
            weight = taken(parameter.detach(), product)
            parts = Parts.of(product, weight.shape[-1], group)
            inputs = [values[operand(product)] for values in known]
            layer = Layer(parts.split(weight), _hessian(inputs, product, parts, generator))
            mask, weight = _sparse(layer, method, kept, group)
            errors[product.name] = max(errors.get(product.name, 0.0), _error(layer, weight))
            whole = found.setdefault(product.name, masks.best_mask(parameter, kept, group, product.axis))
            put(whole, parts.joined(mask), product)
            put(parameter.data, parts.joined(weight), product)
    return found, errors


def _hessian(inputs: Sequence[Tensor], product: Product, parts: Parts, generator: torch.Generator) -> Tensor:
    """``[groups * parts, columns / parts, columns / parts]``, accumulated batch by batch."""
    total, seen = torch.zeros(()), 0
    for x in inputs:
        some = enough(samples(x, product), parts.columns, len(inputs), generator)
        part = parts.split(columns(x, product, some))
        total = total + part.mT @ part
        seen += part.shape[1]
    return total / max(seen, 1)


def _sparse(layer: Layer, method: str, kept: int, group: int) -> tuple[Tensor, Tensor]:
    """Mask and weight of a layer, both ``[groups, out / groups, columns]``."""
    if method == "wanda":
        norms = layer.hessian.diagonal(dim1=-2, dim2=-1).sqrt()
        mask = masks.best_mask(layer.weight * norms.unsqueeze(-2), kept, group, axis=-1)
        return mask, layer.weight * mask
    at_once = max(LARGEST**2 // layer.hessian.shape[-1] ** 2, 1)  # groups, by what is made of their products
    found = []
    for dense, hessian in zip(layer.weight.split(at_once), layer.hessian.split(at_once), strict=True):
        damped = _damped(hessian)
        weight, mask = sparsegpt(dense, damped, kept, group)
        found.append((mask, refined(dense, weight, mask, damped)))
    masks_of, weights = zip(*found, strict=True)
    return torch.cat(masks_of), torch.cat(weights)


def _damped(hessian: Tensor) -> Tensor:
    diagonal = hessian.diagonal(dim1=-2, dim2=-1)
    shift = DAMPING * diagonal.mean(-1, keepdim=True)
    damped = hessian.clone()
    damped.diagonal(dim1=-2, dim2=-1).add_(torch.where(shift > 0, shift, 1.0))
    return damped


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
