"""Networks as a user writes them, in a file of their own: ``builder = "my_network.py:build"``.

Each shows what networks in the wild do: several inputs, dicts out, weights used twice, widths computed in
``forward``, parameters outside of layers. :mod:`studies.coverage` prunes them like any other.
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def _block(inward: int, outward: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inward, outward, 3, stride, 1, bias=False), nn.BatchNorm2d(outward), nn.ReLU()
    )


class UNet(nn.Module):
    """Ronneberger et al., 2015: skips concatenated, transposed convolutions on the way up."""

    def __init__(self, width: int = 32, depth: int = 3, classes: int = 5) -> None:
        super().__init__()
        widths = [width * 2**k for k in range(depth + 1)]
        self.first = _block(3, width)
        self.down = nn.ModuleList(nn.Sequential(_block(a, b, 2), _block(b, b)) for a, b in pairwise(widths))
        self.up = nn.ModuleList(nn.ConvTranspose2d(b, a, 2, 2) for a, b in pairwise(widths))
        self.join = nn.ModuleList(_block(2 * a, a) for a in widths[:-1])
        self.out = nn.Conv2d(width, classes, 1)

    def forward(self, x: Tensor) -> Any:
        """Images ``[n, 3, h, w]`` to ``[n, classes, h, w]``."""
        x = self.first(x)
        skips = []
        for down in self.down:
            skips.append(x)
            x = down(x)
        for up, join, skip in reversed(list(zip(self.up, self.join, skips, strict=True))):
            x = join(torch.cat([skip, up(x)], 1))
        return self.out(x)


class TwoInputs(nn.Module):
    """An image and a vector in, a dict out; a scale outside of any layer, a width kept as attribute."""

    def __init__(self, width: int = 64) -> None:
        super().__init__()
        self.width = width
        self.image = nn.Sequential(_block(3, 32, 2), _block(32, width, 2))
        self.side = nn.Linear(10, width)
        self.scale = nn.Parameter(torch.rand(width))
        self.classes, self.box = nn.Linear(width, 7), nn.Linear(width, 4)

    def forward(self, image: Tensor, side: Tensor) -> Any:
        """Images and vectors to scores and boxes."""
        x = self.image(image) + self.side(side).view(-1, self.width, 1, 1)
        x = x.mean((2, 3)) * self.scale
        return {"classes": self.classes(x), "box": self.box(x).sigmoid()}


class Recurrent(nn.Module):
    """The same block three times, and the class weights tied to the embedding of the prototypes."""

    def __init__(self, width: int = 64) -> None:
        super().__init__()
        self.stem, self.again = _block(3, width, 2), nn.Sequential(_block(width, width), _block(width, width))
        self.project, self.classes = nn.Linear(width, 32), nn.Linear(32, 16, bias=False)
        self.prototypes = nn.Embedding(16, 32)
        self.classes.weight = self.prototypes.weight

    def forward(self, x: Tensor) -> Any:
        """Images to scores."""
        x = self.stem(x)
        for _ in range(3):
            x = x + self.again(x)
        x = self.project(x.mean((2, 3)))
        return self.classes(x * self.prototypes.weight.mean(0))


class Attention(nn.Module):
    """Heads counted by an attribute, the split written by hand."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads, self.head_width = heads, width // heads
        self.q, self.kv, self.out = (
            nn.Linear(width, width),
            nn.Linear(width, 2 * width),
            nn.Linear(width, width),
        )

    def forward(self, x: Tensor) -> Any:
        """``[n, tokens, width]`` to the same."""
        n, t, _ = x.shape
        q = self.q(x).view(n, t, self.heads, self.head_width).transpose(1, 2)
        k, v = self.kv(x).view(n, t, 2, self.heads, self.head_width).permute(2, 0, 3, 1, 4)
        weights = (q @ k.transpose(-2, -1) / math.sqrt(self.head_width)).softmax(-1)
        return self.out((weights @ v).transpose(1, 2).reshape(n, t, self.heads * self.head_width))


class Block(nn.Module):
    """Attention and a multi-layer perceptron, each normalised before."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.before, self.between = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = Attention(width, heads)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, x: Tensor) -> Any:
        """``[n, tokens, width]`` to the same."""
        x = x + self.attention(self.before(x))
        return x + self.mlp(self.between(x))


class Transformer(nn.Module):
    """Patches, a class token, learned positions, pre-norm blocks."""

    def __init__(self, width: int = 64, heads: int = 4, depth: int = 3, side: int = 8) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, width, side, side)
        self.token = nn.Parameter(torch.randn(1, 1, width))
        self.positions = nn.Parameter(torch.randn(1, (64 // side) ** 2 + 1, width))
        self.blocks = nn.Sequential(*(Block(width, heads) for _ in range(depth)))
        self.norm, self.out = nn.LayerNorm(width), nn.Linear(width, 10)

    def forward(self, x: Tensor) -> Any:
        """Images to scores."""
        x = self.patches(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(len(x), -1, -1), x], 1) + self.positions
        return self.out(self.norm(self.blocks(x))[:, 0])


class OwnWidths(nn.Module):
    """Widths written into the code: it can only go on as its graph."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = _block(3, 48, 2), _block(24, 48)
        self.out = nn.Linear(48, 6)

    def forward(self, x: Tensor) -> Any:
        """Images to scores."""
        n, _, h, w = (x := self.a(x)).shape
        x = x.view(n, 2, 24, h, w).amax(1)  # maxout
        return self.out(F.dropout(self.b(x).mean((2, 3)), 0.1, self.training))


class Tokens(nn.Module):
    """Integers in: an embedding, a recurrence over time, two outputs."""

    def __init__(self, width: int = 48) -> None:
        super().__init__()
        self.embedding, self.mix = nn.Embedding(2, width), nn.Conv1d(width, width, 3, padding=1)
        self.recurrence = nn.GRU(width, 32, batch_first=True)
        self.out = nn.Linear(32, 4)

    def forward(self, tokens: Tensor) -> Any:
        """Token numbers to scores per position, and the last state."""
        x = self.embedding(tokens).transpose(1, 2)
        states, last = self.recurrence(self.mix(x).relu().transpose(1, 2))
        return self.out(states), last[0]


def unet() -> nn.Module:
    """A U-Net for 64 x 64 images."""
    return UNet()


def two_inputs() -> nn.Module:
    """Image ``[3, 32, 32]`` and vector ``[10]``."""
    return TwoInputs()


def recurrent() -> nn.Module:
    """One block used three times, tied weights."""
    return Recurrent()


def transformer() -> nn.Module:
    """A small ViT with its own attention, for 64 x 64 images."""
    return Transformer()


def own_widths() -> nn.Module:
    """Goes on as its graph."""
    return OwnWidths()


def tokens() -> nn.Module:
    """``[16]`` integers."""
    return Tokens()
