"""Networks for detection and segmentation as papers have them, small: for :mod:`studies.coverage`.

Each keeps what its paper is known for (named in its docstring), with few channels and blocks.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def conv(
    inward: int, outward: int, kernel: int = 3, stride: int = 1, act: nn.Module | None = None
) -> nn.Sequential:
    """Convolution, BatchNorm, activation."""
    padded = nn.Conv2d(inward, outward, kernel, stride, kernel // 2, bias=False)
    return nn.Sequential(padded, nn.BatchNorm2d(outward), act or nn.SiLU())


class C2f(nn.Module):
    """YOLOv8's block: halves by ``chunk``, all intermediate results concatenated."""

    def __init__(self, width: int, count: int = 2) -> None:
        super().__init__()
        half = width // 2
        self.first, self.last = conv(width, width, 1), conv((2 + count) * half, width, 1)
        self.more = nn.ModuleList(nn.Sequential(conv(half, half), conv(half, half)) for _ in range(count))

    def forward(self, x: Tensor) -> Tensor:
        """``[n, width, h, w]``."""
        parts = list(self.first(x).chunk(2, 1))
        for more in self.more:
            parts.append(parts[-1] + more(parts[-1]))
        return self.last(torch.cat(parts, 1))  # type: ignore[no-any-return]


class Yolo(nn.Module):
    """After YOLOv8: C2f, fast pyramid pooling, PAN, a decoupled head with 16 bins a side (Li et al., 2020)."""

    def __init__(self, width: int = 16, classes: int = 5, bins: int = 16) -> None:
        super().__init__()
        w, self.bins, self.classes = width, bins, classes
        self.stem = nn.Sequential(conv(3, w, 3, 2), conv(w, 2 * w, 3, 2), C2f(2 * w))
        self.p3, self.p4 = (
            nn.Sequential(conv(2 * w, 4 * w, 3, 2), C2f(4 * w)),
            nn.Sequential(conv(4 * w, 8 * w, 3, 2)),
        )
        self.squeeze, self.pooled = conv(8 * w, 4 * w, 1), conv(16 * w, 8 * w, 1)
        self.up, self.down = C2f(12 * w), conv(12 * w, 8 * w, 3, 2)
        self.box = nn.ModuleList(
            nn.Sequential(conv(c, 4 * w), nn.Conv2d(4 * w, 4 * bins, 1)) for c in (12 * w, 16 * w)
        )
        self.cls = nn.ModuleList(
            nn.Sequential(conv(c, 4 * w), nn.Conv2d(4 * w, classes, 1)) for c in (12 * w, 16 * w)
        )

    def forward(self, x: Tensor) -> Any:
        """``[n, 4 + classes, cells]``."""
        p3 = self.p3(self.stem(x))
        p4 = self.squeeze(self.p4(p3))
        pools = [p4]
        for _ in range(3):
            pools.append(F.max_pool2d(pools[-1], 5, 1, 2))
        p4 = self.pooled(torch.cat(pools, 1))
        low = self.up(torch.cat([F.interpolate(p4, scale_factor=2.0), p3], 1))
        maps = [low, torch.cat([self.down(low), p4], 1)]
        found = [
            torch.cat([box(m), cls(m)], 1).flatten(2)
            for m, box, cls in zip(maps, self.box, self.cls, strict=True)
        ]
        sides, scores = torch.cat(found, 2).split([4 * self.bins, self.classes], 1)
        bins = sides.view(len(x), 4, self.bins, -1).softmax(2)
        sides = (bins * torch.arange(self.bins, device=x.device, dtype=x.dtype).view(1, 1, -1, 1)).sum(2)
        return torch.cat([sides, scores.sigmoid()], 1)


class Yolox(nn.Module):
    """Focus by slices, CSP, a decoupled head (Ge et al., 2021)."""

    def __init__(self, width: int = 16, classes: int = 5) -> None:
        super().__init__()
        self.stem, self.down = conv(12, width), conv(width, 2 * width, 3, 2)
        self.left, self.right = conv(2 * width, width, 1), conv(2 * width, width, 1)
        self.csp, self.after = conv(width, width), conv(2 * width, 4 * width, 3, 2)
        self.cls, self.reg = conv(4 * width, 4 * width), conv(4 * width, 4 * width)
        self.out = nn.ModuleList(nn.Conv2d(4 * width, n, 1) for n in (4, 1, classes))

    def forward(self, x: Tensor) -> Any:
        """``[n, cells, 5 + classes]``."""
        focus = [x[..., a::2, b::2] for a in (0, 1) for b in (0, 1)]
        x = self.down(self.stem(torch.cat(focus, 1)))
        x = self.after(torch.cat([self.left(x) + self.csp(self.left(x)), self.right(x)], 1))
        reg, cls = self.reg(x), self.cls(x)
        boxes, there, scores = self.out
        found = torch.cat([boxes(reg), there(reg).sigmoid(), scores(cls).sigmoid()], 1)
        return found.flatten(2).permute(0, 2, 1)


class CenterNet(nn.Module):
    """Transposed convolutions up, three heads, peaks by max pooling (Zhou et al., 2019)."""

    def __init__(self, width: int = 16, classes: int = 5) -> None:
        super().__init__()
        self.body = nn.Sequential(
            conv(3, width, 3, 2), conv(width, 2 * width, 3, 2), conv(2 * width, 4 * width, 3, 2)
        )
        up = nn.ConvTranspose2d(4 * width, 2 * width, 4, 2, 1, bias=False)
        self.up = nn.Sequential(up, nn.BatchNorm2d(2 * width), nn.ReLU())
        heads = (classes, 2, 2)
        self.heads = nn.ModuleList(nn.Sequential(conv(2 * width, 32), nn.Conv2d(32, n, 1)) for n in heads)

    def forward(self, x: Tensor) -> Any:
        """Peaks, extents, offsets."""
        x = self.up(self.body(x))
        heat, extent, offset = (head(x) for head in self.heads)
        heat = heat.sigmoid()
        return heat * (heat == F.max_pool2d(heat, 3, 1, 1)), extent, offset


class Detr(nn.Module):
    """A convolutional body, a transformer, learnt queries (Carion et al., 2020)."""

    def __init__(self, width: int = 32, queries: int = 10, classes: int = 5) -> None:
        super().__init__()
        self.body = nn.Sequential(conv(3, 32, 3, 4), conv(32, 64, 3, 4))
        self.into = nn.Conv2d(64, width, 1)
        self.mix = nn.Transformer(width, 4, 1, 1, 64, batch_first=True)
        self.query, self.place = (
            nn.Parameter(torch.rand(queries, width)),
            nn.Parameter(torch.rand(1, 16, width)),
        )
        self.cls, self.box = (
            nn.Linear(width, classes + 1),
            nn.Sequential(nn.Linear(width, 32), nn.ReLU(), nn.Linear(32, 4)),
        )

    def forward(self, x: Tensor) -> Any:
        """Logits and boxes of every query."""
        x = self.into(self.body(x)).flatten(2).permute(0, 2, 1) + self.place
        x = self.mix(x, self.query.expand(len(x), -1, -1))
        return self.cls(x), self.box(x).sigmoid()


class BiFpn(nn.Module):
    """Depthwise blocks with squeeze and excitation, maps weighed by learnt numbers (Tan et al., 2020)."""

    def __init__(self, width: int = 24) -> None:
        super().__init__()
        self.down = nn.ModuleList([conv(3, width, 3, 4), conv(width, width, 3, 2), conv(width, width, 3, 2)])
        self.wide = nn.Conv2d(width, 4 * width, 1)
        self.depth = nn.Conv2d(4 * width, 4 * width, 3, 1, 1, groups=4 * width)
        self.excite = nn.Sequential(
            nn.AdaptiveAvgPool2d(1), nn.Conv2d(4 * width, 8, 1), nn.SiLU(), nn.Conv2d(8, 4 * width, 1)
        )
        self.back = nn.Conv2d(4 * width, width, 1)
        self.weights = nn.Parameter(torch.ones(2, 2))
        self.out = nn.Conv2d(width, 9, 3, padding=1)

    def forward(self, x: Tensor) -> Any:
        """One map a level."""
        maps = []
        for down in self.down:
            x = down(x)
            wide = F.silu(self.depth(self.wide(x)))
            x = x + self.back(wide * self.excite(wide).sigmoid())
            maps.append(x)
        weights = F.relu(self.weights)
        for n in (1, 0):
            a, b = weights[n] / (weights[n].sum() + 1e-4)
            maps[n] = a * maps[n] + b * F.interpolate(maps[n + 1], scale_factor=2.0)
        return [self.out(one) for one in maps]


class ENet(nn.Module):
    """Down by max pooling whose indices bring maps up again (Paszke et al., 2016; SegNet)."""

    def __init__(self, width: int = 16, classes: int = 5) -> None:
        super().__init__()
        self.first, self.second = conv(3, width), conv(width, width)
        self.middle = nn.Sequential(conv(width, 2 * width), nn.Conv2d(2 * width, 2 * width, (5, 1), padding=(2, 0)),
                                    nn.Conv2d(2 * width, width, (1, 5), padding=(0, 2)), nn.PReLU(width))  # fmt: skip
        self.out = nn.Conv2d(width, classes, 1)

    def forward(self, x: Tensor) -> Any:
        """Scores at the image's size."""
        x, one = F.max_pool2d(self.first(x), 2, return_indices=True)
        x, two = F.max_pool2d(self.second(x), 2, return_indices=True)
        return self.out(F.max_unpool2d(F.max_unpool2d(self.middle(x), two, [2, 2]), one, [2, 2]))


class PspNet(nn.Module):
    """Pyramid pooling (Zhao et al., 2017)."""

    def __init__(self, width: int = 32, classes: int = 5) -> None:
        super().__init__()
        self.body = nn.Sequential(conv(3, width, 3, 2), conv(width, width, 3, 2))
        self.pools = nn.ModuleList(
            nn.Sequential(nn.AdaptiveAvgPool2d(n), conv(width, width // 4, 1)) for n in (1, 2, 4, 8)
        )
        self.out = nn.Sequential(conv(2 * width, width), nn.Dropout2d(0.1), nn.Conv2d(width, classes, 1))

    def forward(self, x: Tensor) -> Any:
        """Scores at the image's size."""
        size, x = x.shape[-2:], self.body(x)
        pooled = [
            F.interpolate(pool(x), x.shape[-2:], mode="bilinear", align_corners=True) for pool in self.pools
        ]
        return F.interpolate(self.out(torch.cat([x, *pooled], 1)), size, mode="bilinear")


class BiSeNet(nn.Module):
    """A wide path and a deep one, with channel attention where they meet (Yu et al., 2018)."""

    def __init__(self, width: int = 24, classes: int = 5) -> None:
        super().__init__()
        self.wide = nn.Sequential(conv(3, width, 3, 2), conv(width, width, 3, 2))
        self.deep = nn.Sequential(conv(3, width, 3, 4), conv(width, 2 * width, 3, 2))
        self.attend = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(2 * width, 2 * width, 1), nn.Sigmoid())
        self.fuse = conv(3 * width, 2 * width, 1)
        self.out = nn.Conv2d(2 * width, classes, 1)

    def forward(self, x: Tensor) -> Any:
        """Scores at the image's size."""
        deep = self.deep(x)
        deep = F.interpolate(deep * self.attend(deep) + deep.mean((2, 3), keepdim=True), scale_factor=2.0)
        return F.interpolate(self.out(self.fuse(torch.cat([self.wide(x), deep], 1))), scale_factor=4.0)


class UNetPlus(nn.Module):
    """Nested skips (Zhou et al., 2018), InstanceNorm and group convolutions."""

    def __init__(self, width: int = 16, classes: int = 5) -> None:
        super().__init__()

        def block(a: int, b: int) -> nn.Sequential:
            return nn.Sequential(
                nn.Conv2d(a, b, 3, padding=1), nn.InstanceNorm2d(b, affine=True), nn.LeakyReLU(0.1)
            )

        w = width
        self.x00, self.x10, self.x20 = block(3, w), block(w, 2 * w), block(2 * w, 4 * w)
        self.x01, self.x11, self.x02 = block(3 * w, w), block(6 * w, 2 * w), block(4 * w, w)
        self.out = nn.Conv2d(w, classes, 1)

    def forward(self, x: Tensor) -> Any:
        """Scores at the image's size."""

        def up(one: Tensor) -> Tensor:
            return F.interpolate(one, scale_factor=2.0, mode="bilinear", align_corners=False)

        x00 = self.x00(x)
        x10 = self.x10(F.avg_pool2d(x00, 2))
        x11 = self.x11(torch.cat([x10, up(self.x20(F.avg_pool2d(x10, 2)))], 1))
        x01 = self.x01(torch.cat([x00, up(x10)], 1))
        return self.out(self.x02(torch.cat([x00, x01, up(x11)], 1)))
