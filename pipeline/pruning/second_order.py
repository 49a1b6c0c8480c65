"""What a channel costs once the channels that stay have taken over for it: Optimal Brain Surgeon for whole channels.

Hassibi et al. (1993) remove the weight whose loss is least after all others have been adjusted; Frantar & Alistarh
(2022, OBC) do so layer by layer, for the squared error of the layer's output, where the Hessian is ``H = z z'``. For
the columns ``u`` of one channel that costs ``w_u (H^-1_uu)^-1 w_u'``, the others become
``w - w_u (H^-1_uu)^-1 H^-1_u`` and ``H^-1`` is reduced alike: one channel after the other, the cheapest first, so
that of two equal channels only one is cheap. A channel that several layers read costs the sum, each relative to its
own output.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

DAMPING = 1e-3
"""On the diagonal, as a share of its mean."""
AT_ONCE = 32
"""So many steps at least from all channels to half of them: the cheapest few go together in wide layers."""


@dataclass
class Reader:
    """A layer that reads the channels."""

    weight: Tensor
    """``[rows, columns]``, float64."""
    inverse: Tensor
    """Of the damped Hessian, ``[columns, columns]``."""
    units: Tensor
    """The columns of each unit, ``[units, numbers]``."""
    whole: float
    """Square of its output."""

    @classmethod
    def of(cls, weight: Tensor, gram: Tensor, units: Tensor) -> Reader:
        """Args:
        weight: ``[rows, columns]``.
        gram: ``z z'``, ``[columns, columns]``.
        units: the columns of each unit.
        """
        weight, gram = weight.double().clone(), gram.double()
        shift = DAMPING * gram.diagonal().mean()
        damped = gram + torch.eye(len(gram), dtype=torch.float64) * torch.where(shift > 0, shift, 1.0)
        whole = float(((weight @ gram) * weight).sum())
        return cls(weight, torch.cholesky_inverse(torch.linalg.cholesky(damped)), units, whole)

    def costs(self, units: Tensor) -> Tensor:
        """Of removing each of these units alone, ``[units]``; relative to the square of the output."""
        columns = self.units[units]
        inner = torch.linalg.inv(self.inverse[columns[:, :, None], columns[:, None, :]])
        weight = self.weight[:, columns].movedim(1, 0)  # [units, rows, numbers]
        lost = ((weight @ inner) * weight).sum((1, 2)) / max(self.whole, torch.finfo(torch.float64).tiny)
        return torch.as_tensor(lost)

    def remove(self, units: Tensor) -> None:
        """The others take over."""
        columns = self.units[units].flatten()
        rows = self.inverse[columns]
        inner = torch.linalg.inv(rows[:, columns])
        self.weight -= self.weight[:, columns] @ inner @ rows
        self.inverse -= rows.mT @ inner @ rows
        self.weight[:, columns] = 0.0
        self.inverse[columns], self.inverse[:, columns] = 0.0, 0.0
        self.inverse[columns, columns] = 1.0


def removal_costs(readers: Sequence[Reader], units: int) -> NDArray[np.float64]:
    """What each unit costs when its turn comes, ``[units]``: never less than the ones before it."""
    found, left = np.zeros(units), torch.arange(units)
    least = 0.0
    while len(left):
        costs = torch.stack([reader.costs(left) for reader in readers]).sum(0)
        chosen = costs.argsort(stable=True)[: max(1, len(left) // AT_ONCE)]
        for number in chosen.tolist():
            least = max(least, float(costs[number]))
            found[int(left[number])] = least
        for reader in readers:
            reader.remove(left[chosen])
        stays = torch.ones(len(left), dtype=torch.bool)
        stays[chosen] = False
        left = left[stays]
    return found


def columns_of(channels: NDArray[np.int64], width: int, columns: int) -> Tensor:
    """The columns of units: kernel positions, then channels.

    Args:
        channels: of each unit, ``[units, numbers]``.
        width: all input channels.
        columns: of the weight.
    """
    offsets = torch.arange(columns // width) * width
    return (torch.from_numpy(channels)[:, None, :] + offsets[:, None]).flatten(1)
