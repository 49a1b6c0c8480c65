"""Networks for restoration and depth as papers have them, small: for :mod:`studies.coverage`."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from studies.coverage_dense import conv


class Edsr(nn.Module):
    """Residual blocks without normalisation, pixel shuffle (Lim et al., 2017)."""

    def __init__(self, width: int = 32, scale: int = 2, attend: bool = False) -> None:
        super().__init__()
        self.first, self.up = (
            nn.Conv2d(3, width, 3, padding=1),
            nn.Conv2d(width, width * scale**2, 3, padding=1),
        )
        self.blocks = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(width, width, 3, padding=1), nn.ReLU(), nn.Conv2d(width, width, 3, padding=1)
            )
            for _ in range(3)
        )
        self.attend = (
            nn.Sequential(nn.Conv2d(width, 8, 1), nn.ReLU(), nn.Conv2d(8, width, 1), nn.Sigmoid())
            if attend
            else None
        )
        self.shuffle, self.last = nn.PixelShuffle(scale), nn.Conv2d(width, 3, 3, padding=1)

    def forward(self, x: Tensor) -> Any:
        """Twice the size."""
        x = first = self.first(x)
        for block in self.blocks:
            more = block(x)
            if self.attend is not None:
                more = more * self.attend(more.mean((2, 3), keepdim=True))
            x = x + 0.1 * more
        return self.last(self.shuffle(self.up(x + first)))


class Espcn(nn.Module):
    """Scores shuffled to pixels right away (Shi et al., 2016)."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(3, 64, 5, padding=2), nn.Tanh(), nn.Conv2d(64, 32, 3, padding=1), nn.Tanh()
        )
        self.last = nn.Conv2d(32, 27, 3, padding=1)

    def forward(self, x: Tensor) -> Any:
        """Three times the size."""
        return F.pixel_shuffle(self.last(self.body(x)), 3)


class DnCnn(nn.Module):
    """The noise is predicted and taken off (Zhang et al., 2017)."""

    def __init__(self, width: int = 32, depth: int = 4) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(3, width, 3, padding=1), nn.ReLU(), *(conv(width, width) for _ in range(depth))
        )
        self.last = nn.Conv2d(width, 3, 3, padding=1)

    def forward(self, x: Tensor) -> Any:
        """A cleaner image."""
        return x - self.last(self.body(x))


class NafBlock(nn.Module):
    """Simple gates, LayerNorm over channels, a scale of its own for each (Chen et al., 2022)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.wide, self.depth = (
            nn.Conv2d(width, 2 * width, 1),
            nn.Conv2d(2 * width, 2 * width, 3, 1, 1, groups=2 * width),
        )
        self.attend, self.back = nn.Conv2d(width, width, 1), nn.Conv2d(width, width, 1)
        self.scale = nn.Parameter(0.5 * torch.ones(1, width, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        """``[n, width, h, w]``."""
        normed = self.norm(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        one, other = self.depth(self.wide(normed)).chunk(2, 1)
        gated = one * other
        attended = gated * self.attend(F.adaptive_avg_pool2d(gated, 1))
        return torch.as_tensor(x + self.scale * self.back(attended))


class NafNet(nn.Module):
    """A U-Net of NAF blocks, up by pixel shuffle."""

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.first, self.last = nn.Conv2d(3, width, 3, padding=1), nn.Conv2d(width, 3, 3, padding=1)
        self.down, self.up = nn.Conv2d(width, 2 * width, 2, 2), nn.Conv2d(2 * width, 4 * width, 1, bias=False)
        self.one, self.two, self.three = NafBlock(width), NafBlock(2 * width), NafBlock(width)

    def forward(self, x: Tensor) -> Any:
        """A cleaner image."""
        skip = self.one(self.first(x))
        low = self.two(self.down(skip))
        return x + self.last(self.three(skip + F.pixel_shuffle(self.up(low), 2)))


class Restormer(nn.Module):
    """Attention between channels (Zamir et al., 2022)."""

    def __init__(self, width: int = 32, heads: int = 2) -> None:
        super().__init__()
        self.heads = heads
        self.first, self.last = nn.Conv2d(3, width, 3, padding=1), nn.Conv2d(width, 3, 3, padding=1)
        self.qkv = nn.Conv2d(width, 3 * width, 1)
        self.depth = nn.Conv2d(3 * width, 3 * width, 3, 1, 1, groups=3 * width)
        self.heat, self.out = nn.Parameter(torch.ones(heads, 1, 1)), nn.Conv2d(width, width, 1)
        self.feed = nn.Sequential(nn.Conv2d(width, 4 * width, 1), nn.GELU(), nn.Conv2d(4 * width, width, 1))

    def forward(self, x: Tensor) -> Any:
        """A cleaner image."""
        n, _, h, w = x.shape
        found = self.first(x)
        q, k, v = (one.reshape(n, self.heads, -1, h * w) for one in self.depth(self.qkv(found)).chunk(3, 1))
        attention = (F.normalize(q, dim=-1) @ F.normalize(k, dim=-1).transpose(-2, -1) * self.heat).softmax(
            -1
        )
        found = found + self.out((attention @ v).reshape(n, -1, h, w))
        return x + self.last(found + self.feed(found))


class Depth(nn.Module):
    """Depth of every pixel: skips, ELU, a sigmoid of disparity (Godard et al., 2019), reflected borders."""

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.down = nn.ModuleList([conv(3, width, 3, 2), conv(width, 2 * width, 3, 2)])
        self.pad, self.join = nn.ReflectionPad2d(1), nn.Conv2d(3 * width, width, 3)
        self.last = nn.Conv2d(width, 1, 3, padding=1)

    def forward(self, x: Tensor) -> Any:
        """``[n, 1, h, w]``."""
        one = self.down[0](x)
        two = F.interpolate(self.down[1](one), scale_factor=2.0, mode="nearest")
        found = F.elu(self.join(self.pad(torch.cat([one, two], 1))))
        return F.interpolate(self.last(found).sigmoid(), scale_factor=2.0)
