"""How a training image is varied; every draw follows from a seed, so a resumed run sees the same images."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from torchvision.transforms import v2

from jetpress.deploy.errors import RecipeError

Mixing = Callable[[tuple[Tensor, ...], object, int], tuple[tuple[Tensor, ...], object]]
"""Inputs, target, seed -> inputs and target, mixed."""

WHOLE = slice(None)
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


def batch(images: Tensor, kind: str, seed: int, whole: int | None = None, part: slice = WHOLE) -> Tensor:
    """Shift every image of ``[n, channels, h, w]`` by up to an eighth over black; ``flip-crop`` mirrors half.

    The images are ``part`` of a batch of ``whole``, and are varied as they are in it.
    """
    if kind == "none":
        return images
    count, _, height, width = images.shape
    reach = max(1, height // 8)
    generator = torch.Generator().manual_seed(seed)
    offset = torch.randint(0, 2 * reach + 1, (2, whole or count, 1), generator=generator)[:, part]
    rows = offset[0] + torch.arange(height)
    columns = offset[1] + torch.arange(width)
    if kind == "flip-crop":
        mirrored = torch.rand(whole or count, 1, generator=generator)[part] < 0.5
        columns = torch.where(mirrored, columns.flip(1), columns)
    padded = F.pad(images, (reach, reach, reach, reach)).permute(0, 2, 3, 1)
    picked = padded[torch.arange(count)[:, None, None], rows[:, :, None], columns[:, None, :]]
    return picked.permute(0, 3, 1, 2)


def mixing(mixup: float, cutmix: float, classes: int) -> Mixing | None:
    """mixup, cutmix, or for each batch one of the two; None where both are 0.

    The pairs are neighbours in the batch, or in this process's share of it.

    Raises:
        RecipeError: not one input of images with class numbers.
    """
    kinds: list[object] = [v2.MixUp(alpha=mixup, num_classes=classes)] if mixup else []
    kinds += [v2.CutMix(alpha=cutmix, num_classes=classes)] if cutmix else []
    if not kinds:
        return None
    one = v2.RandomChoice(kinds)

    def mixed(inputs: tuple[Tensor, ...], target: object, seed: int) -> tuple[tuple[Tensor, ...], object]:
        if len(inputs) != 1 or inputs[0].ndim != 4 or not isinstance(target, Tensor) or target.ndim != 1:
            raise RecipeError(
                "mixup and cutmix take one input of images and one class number for each",
                "set train.mixup = 0 and train.cutmix = 0",
            )
        with seeded(seed):
            images, shares = one(inputs[0], target.long())
        return (images,), shares

    return mixed
