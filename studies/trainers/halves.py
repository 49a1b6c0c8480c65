"""YOLOv8's C2f for torch-pruning: a convolution for each half of what its first one gives.

It loses its way at ``chunk`` (1.6.1: index out of bounds), and its own example for YOLOv8 does the same before it
prunes. The function stays.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn


class Halves(nn.Module):
    """Of ``whole``, a C2f: ``cv1`` whose outputs are halved, blocks ``m`` after the second half, ``cv2`` over all."""

    def __init__(self, whole: Any) -> None:
        super().__init__()
        self.first, self.second = (_part(whole.cv1, half) for half in (0, 1))
        self.m, self.cv2 = whole.m, whole.cv2
        for name in ("f", "i", "type"):  # what Ultralytics' forward asks for
            setattr(self, name, getattr(whole, name))

    def forward(self, x: Tensor) -> Tensor:
        """As C2f."""
        maps = [self.first(x), self.second(x)]
        for block in self.m:
            maps.append(block(maps[-1]))
        joined: Tensor = self.cv2(torch.cat(maps, 1))
        return joined


def halved(net: nn.Module) -> nn.Module:
    """A copy with every C2f in this form."""
    made = copy.deepcopy(net)
    for name, part in list(made.named_modules()):
        if type(part).__name__ == "C2f":
            made.set_submodule(name, Halves(part))
    return made.eval()


def _part(layer: Any, half: int) -> Any:
    """Convolution, BatchNorm and activation with this half of the outputs."""
    made = copy.deepcopy(layer)
    for module, names in (
        (made.conv, ("weight",)),
        (made.bn, ("weight", "bias", "running_mean", "running_var")),
    ):
        for name in names:
            tensor = getattr(module, name)
            tensor.data = tensor.data.chunk(2)[half].clone()
    made.conv.out_channels = made.bn.num_features = len(made.bn.weight)
    return made
