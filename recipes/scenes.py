"""Scenes composed from the handwritten digits that ship with scikit-learn, for detect.toml and segment.toml.

Each has two to four digits of any size on a shaded ground. Training scenes are drawn anew in every epoch; those of the
other splits stay, and show digits that no training scene has.
"""

from __future__ import annotations

from typing import Any

import torch
from sklearn.datasets import load_digits
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import Dataset

MOST, SMALLEST, LARGEST = 4, 18, 30
"""Digits in a scene; their side in pixels."""
TRIES = 10
"""Places that are tried; where a digit would lie over another it is left out."""
INK = 0.3
"""How dark a pixel of a digit is at least."""


class Scenes(Dataset[tuple[Tensor, object]]):
    """Images ``[3, size, size]`` in -1..1, and what is in them.

    Args:
        digits: ``[n, 8, 8]`` in 0..1.
        numbers: which digit each is, ``[n]``.
        count: scenes.
        size: side in pixels.
        masks: the target is a mask ``[size, size]``, 0 where no digit is and digit + 1 otherwise; if not, ``boxes``
            ``[4, 4]`` in pixels, their ``labels`` (-1: no box) and ``crowd``.
    """

    def __init__(self, digits: Tensor, numbers: Tensor, count: int, size: int, *, masks: bool) -> None:
        self.digits, self.numbers, self.count, self.size, self.masks = digits, numbers, count, size, masks

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> tuple[Tensor, object]:
        """Drawn by torch's generator, which jetpress seeds by epoch and index."""
        ink, mask = torch.zeros(2, self.size, self.size)
        boxes, labels = torch.zeros(MOST, 4), torch.full((MOST,), -1)
        wanted, there = int(torch.randint(2, MOST + 1, ())), 0
        for _ in range(TRIES):
            if there == wanted:
                break
            chosen = int(torch.randint(len(self.digits), ()))
            side = int(torch.randint(SMALLEST, LARGEST + 1, ()))
            x, y = torch.randint(self.size - side + 1, (2,)).tolist()
            drawn = F.interpolate(self.digits[chosen][None, None], (side, side), mode="bilinear")[0, 0]
            rows, columns = (drawn > INK).nonzero().T
            x1, y1 = x + int(columns.min()), y + int(rows.min())
            x2, y2 = x + int(columns.max()) + 1, y + int(rows.max()) + 1
            if mask[y1:y2, x1:x2].any():
                continue
            part = (slice(y, y + side), slice(x, x + side))
            ink[part] = torch.maximum(ink[part], drawn)
            mask[part] = torch.where(drawn > INK, int(self.numbers[chosen]) + 1.0, mask[part])
            boxes[there], labels[there] = torch.tensor([x1, y1, x2, y2]), self.numbers[chosen]
            there += 1
        image = self._coloured(ink)
        if self.masks:
            return image, mask.long()
        return image, {"boxes": boxes, "labels": labels, "crowd": torch.zeros(MOST, dtype=torch.bool)}

    def _coloured(self, ink: Tensor) -> Tensor:
        """Light ink on a dark ground that is not even, and a little noise."""
        shade = F.interpolate(0.4 * torch.rand(1, 3, 2, 2), (self.size, self.size), mode="bilinear")[0]
        colour = 0.6 + 0.4 * torch.rand(3, 1, 1)
        noise = 0.05 * torch.randn(3, self.size, self.size)
        return 2 * (torch.lerp(shade, colour, ink[None]) + noise).clamp(0, 1) - 1


def _splits(size: int, *, masks: bool) -> dict[str, object]:
    digits, numbers = (torch.from_numpy(one) for one in load_digits(return_X_y=True))
    digits = digits.reshape(-1, 8, 8).float() / 16
    order = torch.randperm(len(digits), generator=torch.Generator().manual_seed(0))
    parts = zip(("train", "validation", "test"), order.split([1200, 297, 300]), (1024, 256, 256), strict=True)
    return {name: Scenes(digits[k], numbers[k], count, size, masks=masks) for name, k, count in parts}


def boxes(config: Any) -> dict[str, object]:
    """For detection: the ten digits."""
    return {**_splits(config.size, masks=False), "classes": [*"0123456789"]}


def masks(config: Any) -> dict[str, object]:
    """For segmentation: the ground, and the ten digits."""
    return {**_splits(config.size, masks=True), "classes": ["ground", *"0123456789"]}
