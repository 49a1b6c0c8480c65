"""N:M masks: of every M consecutive input channels the N that matter most are kept, exactly.

For TensorRT's sparse kernels N:M is 2:4, and the group runs along the *input channels*, for each output
channel and each position of the kernel; for a matrix product along the axis that is summed over (NVIDIA
TensorRT developer guide, "Structured Sparsity"). 1:4 is 2:4 too, with half as many weights. Pure functions.
"""

from __future__ import annotations

import torch
from torch import Tensor

KEPT, GROUP = 2, 4
"""2:4, the pattern of NVIDIA's sparse tensor cores."""


def pattern(text: str) -> tuple[int, int]:
    """N and M of ``"2:4"``."""
    kept, group = text.split(":")
    return int(kept), int(group)


def best_mask(scores: Tensor, kept: int = KEPT, group: int = GROUP, axis: int = 1) -> Tensor:
    """The mask that keeps the ``kept`` largest of every ``group`` consecutive input channels.

    Args:
        scores: how much each weight matters, ``[out, in, ...]``; its absolute values count.
        kept: N.
        group: M; the input channels are a multiple of it.
        axis: where the input channels are.

    Returns:
        bool tensor of the same shape; ties keep the first.
    """
    lanes = _lanes(scores.detach().abs(), group, axis)
    rank = lanes.argsort(dim=-1, descending=True, stable=True).argsort(dim=-1)
    return (rank < kept).flatten(-2).movedim(-1, axis).contiguous()


def holds(weight: Tensor, kept: int = KEPT, group: int = GROUP, axis: int = 1) -> bool:
    """Whether of every ``group`` consecutive input channels at most ``kept`` are not zero."""
    if weight.ndim < 2 or weight.shape[axis] % group:
        return False
    return bool(((_lanes(weight, group, axis) != 0).sum(-1) <= kept).all())


def rows(weight: Tensor, axis: int = 1) -> Tensor:
    """Absolute values as ``[outputs and kernel positions, input channels]``."""
    return weight.detach().abs().movedim(axis, -1).flatten(0, -2)


def magnitude(matrix: Tensor, kept: int = KEPT, group: int = GROUP) -> float:
    """What the best mask keeps of ``[rows, in]``, all values positive."""
    return float(_lanes(matrix, group, -1).topk(kept, -1).values.sum(dtype=torch.float64))


def ideal(matrix: Tensor, kept: int = KEPT, group: int = GROUP) -> float:
    """What the same share of each row keeps without a pattern: no permutation can keep more."""
    return float(matrix.topk(matrix.shape[-1] * kept // group, -1).values.sum(dtype=torch.float64))


def efficacy(found: float, default: float, best: float) -> float | None:
    """Share of what the pattern costs that a permutation wins back; None where the pattern costs nothing.

    Pool & Yu, "Channel Permutations for N:M Sparsity", NeurIPS 2021.
    """
    return (found - default) / (best - default) if best - default > 1e-9 * best else None


def _lanes(tensor: Tensor, group: int, axis: int) -> Tensor:
    """``[..., in / group, group]``."""
    moved = tensor.movedim(axis, -1)
    return moved.reshape(*moved.shape[:-1], moved.shape[-1] // group, group)
