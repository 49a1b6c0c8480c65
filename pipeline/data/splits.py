"""The three kinds of splits: :class:`Images` in memory, :class:`Files` decoded when they are needed, and
:class:`Samples` of a user's own dataset. All have a length, ``labels``, ``batch`` and ``subset``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import default_collate
from torchvision.transforms import v2

from jetpress.deploy.errors import RecipeError
from jetpress.pipeline.data import augment, targets
from jetpress.pipeline.data.augment import WHOLE, mix, seeded
from jetpress.pipeline.data.formats import pictures
from jetpress.pipeline.data.formats.marks import Mark
from jetpress.pipeline.data.placing import Sample, begun, finished, placed
from jetpress.pipeline.recipe.sections.data import DataConfig

Batch = tuple[tuple[Tensor, ...], Any]
"""Inputs, target."""


@dataclass(frozen=True, eq=False)
class Images:
    """Small images, all in memory."""

    config: DataConfig
    seed: int
    pixels: Tensor
    """``[n, channels, h, w]``: uint8, or float32 in 0..1."""
    labels: Tensor
    """``[n]``, int64."""

    def __len__(self) -> int:
        return len(self.labels)

    def batch(self, indices: Sequence[int], key: int | None, part: slice = WHOLE) -> Batch:
        """The images of these numbers; ``key`` seeds the augmentation, None leaves them as they are.

        Of them only ``part`` is made, as it is in the whole.
        """
        kind = self.config.augment if key is not None else "none"
        first, whole, indices = indices[0], len(indices), indices[part]
        pixels = self.pixels[list(indices)]
        if kind in augment.IN_BATCH:
            if pixels.shape[-2:] != self.config.shape:
                pixels = v2.functional.resize(pixels, list(self.config.shape), antialias=True)
            pixels = augment.batch(pixels, kind, mix(key or 0, first), whole, part)
        else:
            config = replace(self.config, crop=1.0)
            pixels = torch.stack(
                [
                    placed(Sample(one, {}), config, "crop", mix(key or 0, index)).image
                    for one, index in zip(pixels, indices, strict=True)
                ]
            )
        return (_normalise(pixels, self.config),), self.labels[list(indices)]

    def subset(self, indices: Tensor) -> Images:
        """These images only."""
        return replace(self, pixels=self.pixels[indices], labels=self.labels[indices])


MEMORY = 2**29
"""Bytes of decoded images that a split keeps."""


class Memory:
    """Of images that were decoded and brought to their size; once it is full, nothing is added."""

    def __init__(self, room: int = MEMORY) -> None:
        self.room = room
        self.known: dict[object, Sample] = {}

    def get(self, key: object, made: Callable[[], Sample]) -> Sample:
        """What is known by that key, or is made now."""
        if key in self.known:
            return self.known[key]
        sample = made()
        if sample.bytes <= self.room:
            self.room -= sample.bytes
            self.known[key] = sample
        return sample


@dataclass(frozen=True, eq=False)
class Files:
    """Image files, decoded when they are needed, with a class number or what is marked in them."""

    config: DataConfig
    seed: int
    paths: tuple[str, ...]
    labels: Tensor | None
    """``[n]``, int64; None where an image has not one class."""
    marks: tuple[Mark, ...] = ()
    """Of each image; empty: its label is all."""
    fit: str = "crop"
    """How an image comes to the size that the network sees."""
    swaps: tuple[tuple[int, int], ...] = ()
    """Points that change places in a mirrored image."""
    memory: Memory = field(default_factory=Memory)
    """Of what was read already."""

    def __len__(self) -> int:
        return len(self.paths)

    def batch(self, indices: Sequence[int], key: int | None, part: slice = WHOLE) -> Batch:
        """The images of these numbers, of which only ``part`` is made; ``key`` seeds the augmentation, None leaves
        them as they are."""
        indices = indices[part]
        samples = [self._placed(index, key) for index in indices]
        images = _normalise(torch.stack([one.image for one in samples]), self.config)
        if self.marks:
            return (images,), targets.batched([one.marks for one in samples], self.config.shape)
        assert self.labels is not None
        return (images,), self.labels[list(indices)]

    def _placed(self, index: int, key: int | None) -> Sample:
        def others() -> list[Sample]:
            return [self._begun(one, True) for one in torch.randint(len(self), (3,)).tolist()]

        seed = None if key is None else mix(key, index)
        return finished(self._begun(index, key is not None), self.config, seed, others, self.swaps)

    def _begun(self, index: int, varied: bool) -> Sample:
        """Decoded and at its size: in an epoch that is not the first, and fits into memory, at once."""

        def made() -> Sample:
            image = pictures.decoded(self.paths[index], len(self.config.mean))
            sizes, marks = targets.sizes(image), dict[str, Tensor]()
            if self.marks:
                marks = targets.wrapped(self.marks[index], *sizes, self.config.void)
            return begun(Sample(image, marks), self.config, self.fit, varied)

        if self.config.workers:  # each process would have a memory of its own, for one epoch
            return made()
        return self.memory.get((self.paths[index], varied and self.config.augment), made)

    def subset(self, indices: Tensor) -> Files:
        """These files only."""
        numbers = indices.tolist()
        return replace(
            self,
            paths=tuple(self.paths[i] for i in numbers),
            labels=None if self.labels is None else self.labels[indices],
            marks=tuple(self.marks[i] for i in numbers) if self.marks else (),
        )


@dataclass(frozen=True, eq=False)
class Samples:
    """Samples of a user's own dataset, as it gives them: ``(input or tuple or dict of inputs, target)``."""

    config: DataConfig
    seed: int
    dataset: Any
    indices: Tensor
    labels: Tensor | None

    def __len__(self) -> int:
        return len(self.indices)

    def batch(self, indices: Sequence[int], key: int | None, part: slice = WHOLE) -> Batch:
        """The samples of these numbers, of which only ``part`` is made; what the dataset draws at random follows from
        ``key``."""
        rows, targets = [], []
        for number in self.indices[list(indices[part])].tolist():
            try:
                with seeded(mix(key or 0, number)):
                    inputs, target = self.dataset[number]
                rows.append(tensors_of(inputs))
            except Exception as error:  # the user's code may raise anything
                raise RecipeError(
                    f"{self.config.source}: sample {number} failed: {type(error).__name__}: {error}",
                    "a sample is (input or tuple or dict of inputs, target), inputs tensors or arrays",
                ) from error
            targets.append(target)
        try:
            return tuple(torch.stack(column) for column in zip(*rows, strict=True)), default_collate(targets)
        except (RuntimeError, ValueError, TypeError) as error:
            raise RecipeError(
                f"{self.config.source}: samples do not fit into one batch: {error}",
                "all samples must have inputs of the same shapes, and targets that torch can stack",
            ) from error

    def subset(self, indices: Tensor) -> Samples:
        """These samples only."""
        labels = None if self.labels is None else self.labels[indices]
        return replace(self, indices=self.indices[indices], labels=labels)


Split = Images | Files | Samples


def _normalise(pixels: Tensor, config: DataConfig) -> Tensor:
    scaled = v2.functional.to_dtype(pixels, torch.float32, scale=True)
    normal: Tensor = v2.functional.normalize(scaled, list(config.mean), list(config.std))
    return normal


def tensors_of(inputs: Any) -> tuple[Tensor, ...]:
    """The inputs of one sample as tensors, in order; float64 becomes float32."""
    values = inputs.values() if isinstance(inputs, Mapping) else inputs
    if isinstance(values, Tensor | np.ndarray | float | int):
        values = (values,)
    tensors = tuple(torch.as_tensor(value) for value in values)
    return tuple(t.float() if t.dtype == torch.float64 else t for t in tensors)
