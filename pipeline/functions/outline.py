"""A network without its weights: what is left of the dense one, to time it again when the pruned one is pruned on."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from jetpress.pipeline.network.channels import copied


def outline(module: nn.Module) -> nn.Module:
    """A copy whose matrices hold one number each, of the same shape. Buffers and what has one axis are copied."""
    return copied(module, lambda _, tensor: _like(tensor, tensor.detach().new_zeros(()).expand(tensor.shape)))


def filled(module: nn.Module) -> nn.Module:
    """An outline with random matrices, which keep numbers about as large as they were."""
    generator = torch.Generator().manual_seed(0)

    def drawn(_: str, tensor: Tensor) -> Tensor:
        scale = max(tensor[0].numel(), 1) ** -0.5 if tensor.ndim else 1.0
        return _like(tensor, (torch.randn(tensor.shape, generator=generator) * scale).to(tensor.dtype))

    return copied(module, drawn)


def _like(tensor: Tensor, made: Tensor) -> Tensor:
    """``made`` in the place of a parameter that is a matrix; everything else as it is."""
    if not isinstance(tensor, nn.Parameter):
        return tensor.detach().clone()
    return nn.Parameter(made if tensor.ndim > 1 else tensor.detach().clone(), tensor.requires_grad)
