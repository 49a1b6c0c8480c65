"""The CIFAR ResNets of He et al. (2015), with the parameter names of akamaster/pytorch_resnet_cifar10."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Block(nn.Module):
    """Two convolutions and a shortcut without parameters: every other pixel, channels padded with zeros."""

    def __init__(self, inward: int, outward: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inward, outward, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(outward)
        self.conv2 = nn.Conv2d(outward, outward, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outward)
        self.stride, self.added = stride, (outward - inward) // 2

    def forward(self, x: Tensor) -> Tensor:
        """``[n, c, h, w]``."""
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        if self.stride > 1:
            x = F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, self.added, self.added))
        return F.relu(x + y)


class ResNet(nn.Module):
    """``6 n + 2`` layers."""

    def __init__(self, depth: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        count = (depth - 2) // 6
        widths = ((16, 16, 1), (16, 32, 2), (32, 64, 2))
        for number, (inward, outward, stride) in enumerate(widths, 1):
            blocks = [Block(inward, outward, stride), *(Block(outward, outward, 1) for _ in range(count - 1))]
            self.add_module(f"layer{number}", nn.Sequential(*blocks))
        self.linear = nn.Linear(64, 10)

    def forward(self, x: Tensor) -> Tensor:
        """``[n, 3, 32, 32]`` to ``[n, 10]``."""
        x = F.relu(self.bn1(self.conv1(x)))
        for number in (1, 2, 3):
            x = self.get_submodule(f"layer{number}")(x)
        return torch.as_tensor(self.linear(x.mean((2, 3))))


def resnet(depth: int) -> nn.Module:
    """Untrained."""
    return ResNet(depth)
