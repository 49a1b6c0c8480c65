"""VGG-16 with BatchNorm (Simonyan and Zisserman, 2015) for CIFAR: torchvision's features, one linear layer on top."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torchvision.models.vgg import cfgs, make_layers


class VGG(nn.Module):
    """Thirteen convolutions, five poolings: 32 x 32 pixels become one."""

    def __init__(self, share: float) -> None:
        super().__init__()
        widths = [one if isinstance(one, str) else max(8, round(one * share)) for one in cfgs["D"]]
        self.features = make_layers(widths, batch_norm=True)
        self.classifier = nn.Linear(max(8, round(512 * share)), 10)
        for module in self.features.modules():
            if isinstance(module, nn.Conv2d):  # as torchvision begins its own
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
                nn.init.zeros_(torch.as_tensor(module.bias))

    def forward(self, x: Tensor) -> Tensor:
        """``[n, 3, 32, 32]`` to ``[n, 10]``."""
        return torch.as_tensor(self.classifier(self.features(x).flatten(1)))


def vgg16(share: float = 1.0) -> nn.Module:
    """Untrained; ``share`` of the channels, for trying."""
    return VGG(share)
