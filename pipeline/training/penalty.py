"""Weights that pruning may take away, pulled towards zero while a network is trained: sparse training.

Each step adds ``strength * gamma_k * w`` to the gradients of all weights of unit ``k``: its filters, its biases and
normalisation, and the columns of the layers that read it. ``gamma_k = 2 ** (4 (I_max - I_k) / (I_max - I_min))``, where
``I_k`` is the norm of these weights and the largest and smallest are of its group: what is weak is pulled hardest and
becomes weaker (DepGraph; Fang et al., 2023, whose code leaves biases out; after the growing regularisation of Wang et
al., 2021). It is a function of the weights alone, so a training that goes on has nothing of it to remember.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from jetpress.pipeline.network.channels import Group

SPREAD = 4.0
"""The weakest unit of a group is pulled ``2 ** SPREAD`` times as hard as the strongest."""


@dataclass
class _Slice:
    """The numbers that units have in one parameter."""

    parameter: nn.Parameter
    axis: int
    indices: Tensor
    """``[units, occurrences]`` along the axis."""

    def squares(self) -> Tensor:
        """Squared norm of each unit, ``[units]``."""
        rows = self.parameter.movedim(self.axis, 0).reshape(self.parameter.shape[self.axis], -1)
        return rows.square().sum(1)[self.indices].sum(1)

    def pull(self, strengths: Tensor) -> None:
        """Add to the gradient, as hard as ``strengths`` ``[units]`` say; what is frozen has none."""
        if self.parameter.grad is None:
            return
        along = strengths.new_zeros(self.parameter.shape[self.axis])
        along[self.indices] = strengths[:, None]
        shape = [-1 if k == self.axis else 1 for k in range(self.parameter.ndim)]
        self.parameter.grad.addcmul_(self.parameter, along.view(shape))


class GroupPenalty:
    """The pull on the groups of a module.

    Args:
        module: whose parameters the groups name; it may move to another device afterwards.
        groups: what is to become weak.
        strength: of the pull on the strongest unit of each group, as of a weight decay; 0: none.
    """

    def __init__(self, module: nn.Module, groups: Iterable[Group], strength: float) -> None:
        self.strength = strength
        parameters = dict(module.named_parameters())
        self._groups = [
            [
                _Slice(parameters[name], axis, torch.from_numpy(indices))
                for (name, axis), indices in group.slices.items()
                if name in parameters
            ]
            for group in groups
        ]

    def join(self, optimizer: torch.optim.Optimizer) -> None:
        """From now on every step of ``optimizer`` has it; after gradients were clipped, as weight decay is."""
        optimizer.register_step_pre_hook(lambda *_: self.add_gradients())

    @torch.no_grad()
    def add_gradients(self) -> None:
        """Once, to the gradients that are there."""
        for slices in filter(None, self._groups):
            for one in slices:
                one.indices = one.indices.to(one.parameter.device)
            norms = torch.stack([one.squares() for one in slices]).sum(0).sqrt()
            below = (norms.max() - norms) / (norms.max() - norms.min()).clamp(min=1e-12)
            for one in slices:
                one.pull(self.strength * 2 ** (SPREAD * below))
