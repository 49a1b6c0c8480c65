"""How a training image is varied; every draw follows from a seed, so a resumed run sees the same images."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from torchvision.transforms import v2

IN_BATCH = ("none", "shift", "flip-crop")
"""Augmentations that :func:`batch` does for many images at once."""


def mix(*numbers: int) -> int:
    """One seed out of several numbers; near numbers give unrelated seeds."""
    return int.from_bytes(hashlib.blake2b(repr(numbers).encode(), digest_size=7).digest())


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Draws of torch (CPU), numpy and random depend on ``seed`` alone inside, and are as before outside."""
    before = torch.get_rng_state(), np.random.get_state(), random.getstate()  # noqa: NPY002
    torch.default_generator.manual_seed(seed)  # torch.manual_seed would also reset the GPU's dropout
    np.random.seed(seed % 2**32)  # noqa: NPY002  users' datasets draw from the global generators
    random.seed(seed)
    try:
        yield
    finally:
        torch.set_rng_state(before[0])
        np.random.set_state(before[1])  # noqa: NPY002
        random.setstate(before[2])


def batch(images: Tensor, kind: str, seed: int) -> Tensor:
    """Shift every image of ``[n, 3, h, w]`` by up to an eighth over black; ``flip-crop`` mirrors half."""
    if kind == "none":
        return images
    count, _, height, width = images.shape
    reach = max(1, height // 8)
    generator = torch.Generator().manual_seed(seed)
    offset = torch.randint(0, 2 * reach + 1, (2, count, 1), generator=generator)
    rows = offset[0] + torch.arange(height)
    columns = offset[1] + torch.arange(width)
    if kind == "flip-crop":
        mirrored = torch.rand(count, 1, generator=generator) < 0.5
        columns = torch.where(mirrored, columns.flip(1), columns)
    padded = F.pad(images, (reach, reach, reach, reach)).permute(0, 2, 3, 1)
    picked = padded[torch.arange(count)[:, None, None], rows[:, :, None], columns[:, None, :]]
    return picked.permute(0, 3, 1, 2)


def single(image: Tensor, kind: str, size: int, seed: int, crop: float = 1.0) -> Tensor:
    """``[3, h, w]`` of any size to ``[3, size, size]``, varied as ``kind`` says.

    ``crop`` is the share of the short side that the centre crop keeps, where the crop is not random.
    """
    if kind == "resized-crop":
        steps: list[torch.nn.Module] = [v2.RandomResizedCrop(size, antialias=True), v2.RandomHorizontalFlip()]
    else:
        image = centre(image, size, crop)
        if kind == "none":
            return image
        steps = [v2.RandomCrop(size, padding=max(1, size // 8))]
        if kind != "shift":
            steps.append(v2.RandomHorizontalFlip())
        if kind == "randaugment":
            steps.append(v2.RandAugment())
    with seeded(seed):
        varied: Tensor = v2.Compose(steps)(image)
    return varied


def centre(image: Tensor, size: int, crop: float = 1.0) -> Tensor:
    """Bring the short side to ``size / crop`` and cut ``size`` x ``size`` out of the middle."""
    short = round(size / crop)
    if min(image.shape[-2:]) != short:
        image = v2.functional.resize(image, [short], antialias=True)
    cut: Tensor = v2.functional.center_crop(image, [size, size])
    return cut
