"""A layer as a matrix product: rows are outputs; columns kernel positions, then input channels.

A convolution's inputs are ordered by kernel position, then by channel, so the groups of N:M run along the input
channels, as TensorRT reads them; padding, stride and groups are the convolution's own.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx
from torch.nn import functional as F

from jetpress.pipeline.sparse.products import Product

LARGEST = 8192
"""Columns whose products are looked at together (0.25 GB); a layer that has more is looked at in parts."""
FOR_EACH, FEWEST = 8, 20_000
"""Samples (images times positions) that are looked at: for each column, and at least."""


def operand(product: Product) -> fx.Node:
    """What the weight is multiplied with."""
    names = {"weight": "input", "self": "other", "other": "self", "mat1": "mat2", "mat2": "mat1"}
    name = names[product.argument]
    found: fx.Node = product.call.arguments[
        "mat2" if name == "other" and "mat2" in product.call.arguments else name
    ]
    return found


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


@dataclass(frozen=True)
class Parts:
    """Of a layer's input channels, with all kernel positions of each: they are then like groups of it."""

    positions: int
    count: int
    columns: int
    """Of each."""

    @classmethod
    def of(cls, product: Product, columns: int, group: int) -> Parts:
        """As few as have at most :data:`LARGEST` columns, in whole N:M groups."""
        weight = product.call.arguments["weight"].meta["val"] if _is_convolution(product) else None
        positions = math.prod(weight.shape[2:]) if weight is not None else 1
        groups = columns // positions // group
        fewest = math.ceil(columns / LARGEST)
        count = next((n for n in range(fewest, groups) if groups % n == 0), groups) if fewest > 1 else 1
        return cls(positions, count, columns // count)

    def split(self, matrix: Tensor) -> Tensor:
        """``[groups, rows, columns]`` -> ``[groups * count, rows, columns / count]``."""
        groups, rows, _ = matrix.shape
        parts = matrix.reshape(groups, rows, self.positions, self.count, -1)
        return parts.movedim(-2, 1).reshape(groups * self.count, rows, -1)

    def joined(self, matrix: Tensor) -> Tensor:
        """The inverse of :meth:`split`."""
        groups, rows, _ = matrix.shape
        parts = matrix.reshape(groups // self.count, self.count, rows, self.positions, -1)
        return parts.movedim(1, -2).reshape(groups // self.count, rows, -1)


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


def enough(total: int, columns: int, batches: int, generator: torch.Generator) -> Tensor:
    """Of the ``total`` samples of one batch those that are looked at, so that all batches judge ``columns``."""
    count = max(FOR_EACH * columns, FEWEST) // batches + 1
    return torch.randperm(total, generator=generator)[:count]


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
