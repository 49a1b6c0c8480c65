"""Weights of the least squared error, near the ones that are there: ridge regression, fed batch by batch.

For weights ``W`` that should give ``y`` and see ``z``: ``W + argmin |y - (W + D) z - b|^2 + damping |D|^2``, so that
weights stay where the samples say nothing of them. The constant ``b`` is not damped: every sample speaks for it.

Where there are fewer samples than columns, ``D = r (z'z + damping)^-1 z'`` is the same from a system of their number
(Saunders, Gammerman & Vovk 1998, "Ridge regression learning algorithm in dual variables").

How much damping is right depends on how many images there are for a layer's columns, and its positions in one image
resemble each other: so :func:`validated` lets other images say.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

DAMPINGS = (1e-3, 1e-2, 1e-1, 1.0, 10.0)
"""On the diagonal of ``z z'``, as a share of its mean: what is tried."""


@dataclass(frozen=True)
class Fitted:
    """What has the least error."""

    weight: Tensor
    """``[groups, rows, columns]``."""
    constant: Tensor
    """Beside it, ``[groups, rows]``; zeros where there may be none."""
    before: float
    """Squared error of the weights that were given, relative to the square of what is wanted."""
    after: float


class LeastSquares:
    """One layer's samples: all of them while they are fewer than its columns, then the sums of their products."""

    def __init__(self, weight: Tensor, constant: bool) -> None:
        """Args:
        weight: the weights now, ``[groups, rows, columns]``, float64.
        constant: whether a constant may be added to each output.
        """
        self.weight, self.constant = weight, constant
        self.held: list[tuple[Tensor, Tensor]] = []
        self.sums: list[Tensor] = []
        self.centred: tuple[Tensor, Tensor, list[Tensor], Tensor, Tensor] | None = None
        self.count, self.wanted, self.missing = 0, 0.0, 0.0

    def add(self, seen: Tensor, wanted: Tensor) -> None:
        """Samples; those that are not finite (a mask of minus infinity) are left out.

        Args:
            seen: what the layer sees, ``[groups, samples, columns]``; float32 is enough for products that are damped.
            wanted: what it should give, ``[groups, samples, rows]``.
        """
        finite = torch.isfinite(seen.square().sum(-1) + wanted.square().sum(-1)).all(0)
        if not finite.all():
            seen, wanted = seen[:, finite], wanted[:, finite]
        missing = wanted - seen @ self.weight.mT.to(seen.dtype)
        self.count += seen.shape[1]
        self.wanted += float(wanted.square().sum())
        self.missing += float(missing.square().sum())
        self.held.append((seen, missing))
        self._sum_up()

    def _sum_up(self) -> None:
        self.centred = None
        if self.held and (self.sums or self.count >= self.weight.shape[-1]):
            z, r = self._samples()
            more = [x.double() for x in (z.mT @ z, r.mT @ z, z.sum(1, keepdim=True), r.sum(1, keepdim=True))]
            self.sums = (
                [one + other for one, other in zip(self.sums, more, strict=True)] if self.sums else more
            )
            self.held = []

    def _samples(self) -> tuple[Tensor, Tensor]:
        z, r = (torch.cat(parts, 1) for parts in zip(*self.held, strict=True))
        return z, r

    def join(self, other: LeastSquares) -> None:
        """Take over the samples of another one, of the same weights."""
        self.count, self.wanted = self.count + other.count, self.wanted + other.wanted
        self.missing, self.held = self.missing + other.missing, self.held + other.held
        pairs = zip(self.sums, other.sums, strict=True) if self.sums and other.sums else ()
        self.sums = [one + more for one, more in pairs] or self.sums or other.sums
        self._sum_up()

    def error(self, fitted: Fitted) -> float:
        """Squared error of what another one found on these samples."""
        change = fitted.weight - self.weight
        if self.held:
            z, r = (x.double() for x in self._samples())
            return float((r - z @ change.mT - fitted.constant[:, None]).square().sum())
        gram, cross, z, r = self.sums
        shifted = (r - z @ change.mT).squeeze(1)
        moved = (change * (change @ gram - 2 * cross)).sum()
        constant = fitted.constant * (self.count * fitted.constant - 2 * shifted)
        return self.missing + float(moved + constant.sum())

    def fitted(self, damping: float = DAMPINGS[0]) -> Fitted:
        """The solution; the weights as they were where there is none."""
        change, constant, gained = self._by_columns(damping) if self.sums else self._by_samples(damping)
        if not all(torch.isfinite(x).all() for x in (change, constant)):  # no sample, or too large ones
            change, constant, gained = torch.zeros_like(change), torch.zeros_like(constant), 0.0
        wanted = max(self.wanted, torch.finfo(torch.float64).tiny)
        after = max(self.missing - gained, 0.0)
        return Fitted(self.weight + change, constant, self.missing / wanted, after / wanted)

    def _by_columns(self, share: float) -> tuple[Tensor, Tensor, float]:
        gram, cross, z, r = self.sums
        z, r = (total * self.constant / self.count for total in (z, r))
        damping = _damping(share, gram.diagonal(dim1=-2, dim2=-1).mean(-1))
        gram, cross = gram - self.count * z.mT @ z, cross - self.count * r.mT @ z
        damped = gram + damping * torch.eye(gram.shape[-1], dtype=gram.dtype)
        change = _solved(damped, cross.mT).mT
        gained = (change * (2 * cross - change @ gram)).sum() + self.count * r.square().sum()
        return change, (r - z @ change.mT).squeeze(1), float(gained)

    def _by_samples(self, share: float) -> tuple[Tensor, Tensor, float]:
        if self.centred is None:
            self.centred = self._centred()  # most of the work, and the same for every damping
        z, r, means, products, size = self.centred
        damping = _damping(share, size)
        solved = _solved(products + damping * torch.eye(self.count, dtype=z.dtype), r)
        change = (z.mT @ solved).mT
        left = float((damping * solved).square().sum())  # r - z change', as (z z' + damping) solved = r
        return change, (means[1] - means[0] @ change.mT).squeeze(1), self.missing - left

    def _centred(self) -> tuple[Tensor, Tensor, list[Tensor], Tensor, Tensor]:
        """Samples without their means, the means, ``z z'``, and the mean square of a column times their number."""
        z, r = (x.double() for x in self._samples())
        size = z.square().sum(1).mean(-1)
        means = [x.mean(1, keepdim=True) * self.constant for x in (z, r)]
        z, r = z - means[0], r - means[1]
        return z, r, means, z @ z.mT, size


def _solved(system: Tensor, right: Tensor) -> Tensor:
    """Not a number where the system has no solution."""
    factor, failed = torch.linalg.cholesky_ex(system)
    return torch.cholesky_solve(right, torch.where(failed[:, None, None] == 0, factor, torch.nan))


def _damping(share: float, mean: Tensor) -> Tensor:
    """For each group, ``[groups, 1, 1]``; one where nothing is seen."""
    return torch.where(mean > 0, share * mean, 1.0)[:, None, None]


def validated(learnt: LeastSquares, held: LeastSquares) -> Fitted:
    """The solution on the samples of both, with the damping that does best on ``held`` when only ``learnt`` is seen."""
    if not held.count:
        return learnt.fitted()
    best, least = DAMPINGS[0], held.error(learnt.fitted(DAMPINGS[0]))
    for damping in DAMPINGS[1:]:
        error = held.error(learnt.fitted(damping))
        if not error < least:
            break
        best, least = damping, error
    learnt.join(held)
    return learnt.fitted(best)
