"""A small network for segmentation, for segment.toml: 3 x 3 convolutions down, and up again beside what was there
(after U-Net, Ronneberger et al., 2015).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def convolution(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    """3 x 3, normalised, rectified."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()
    )


class Segmenter(nn.Module):
    """Scores ``[n, classes, h, w]`` of images ``[n, 3, h, w]``, whose sides are multiples of 2 to the number of widths.

    Args:
        classes: the ground counts.
        widths: channels at a half of the image's size, at a quarter, and so on.
        depth: convolutions more where the map is smallest.
    """

    def __init__(self, classes: int, widths: Sequence[int], depth: int) -> None:
        super().__init__()
        pairs = list(zip((3, *widths), widths, strict=False))
        self.down = nn.ModuleList(nn.Sequential(convolution(a, b, 2), convolution(b, b)) for a, b in pairs)
        self.middle = nn.Sequential(*(convolution(widths[-1], widths[-1]) for _ in range(depth)))
        self.up = nn.ModuleList(convolution(a + b, a) for a, b in reversed(pairs[1:]))
        self.head = nn.Conv2d(widths[0], classes, 1)

    def forward(self, images: Tensor) -> Tensor:
        """Scores, at the image's size."""
        maps = [images]
        for stage in self.down:
            maps.append(stage(maps[-1]))
        found = self.middle(maps.pop())
        for stage in self.up:
            found = stage(torch.cat([F.interpolate(found, scale_factor=2.0), maps.pop()], dim=1))
        return F.interpolate(self.head(found), scale_factor=2.0, mode="bilinear")


def build(classes: int = 11, widths: Sequence[int] = (16, 48, 96), depth: int = 2) -> nn.Module:
    """The network, freshly initialised."""
    return Segmenter(classes, widths, depth)
