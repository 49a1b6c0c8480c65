"""How an image comes to the size that the network sees, and how it is varied on the way: one image by itself.

Everything is torchvision's transforms, so boxes, masks and points follow the image.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms import v2

from jetpress.deploy.errors import RecipeError
from jetpress.pipeline.data.augment import seeded
from jetpress.pipeline.data.targets import Target, Wrapped, kept
from jetpress.pipeline.recipe.sections.data import DataConfig
from jetpress.pipeline.tasks.segmentation import VOID

GREY = 114
"""Of 255: the border of a letterbox, as YOLO has it."""
SCALE, SHIFT = (0.5, 1.5), 0.1
"""``jitter``: how much larger, and how far it moves, in shares of the size; YOLO's."""
BRIGHTNESS, SATURATION, HUE = 0.4, 0.7, 0.015
"""YOLO's hsv_v, hsv_s and hsv_h."""


@dataclass(frozen=True)
class Sample:
    """An image ``[channels, h, w]`` with what is marked in it."""

    image: Tensor
    marks: Wrapped

    def through(self, transform: Callable[..., Any]) -> Sample:
        """Both transformed together."""
        image, marks = transform(tv_tensors.Image(self.image), self.marks)
        return Sample(image.as_subclass(Tensor), marks)

    def each(self, function: Callable[..., Any], *arguments: Any, **named: Any) -> Sample:
        """``function`` of torchvision.transforms.v2.functional for the image, and for what has a place in it."""

        def apply(value: Tensor) -> Tensor:
            placed = isinstance(value, tv_tensors.TVTensor)
            result: Tensor = function(value, *arguments, **named) if placed else value
            return result

        image = apply(tv_tensors.Image(self.image)).as_subclass(Tensor)
        return Sample(image, {name: apply(value) for name, value in self.marks.items()})

    @property
    def bytes(self) -> int:
        """In memory."""
        return sum(one.nbytes for one in (self.image, *self.marks.values()))

    @property
    def size(self) -> tuple[int, int]:
        """Height and width."""
        return self.image.shape[-2], self.image.shape[-1]


def placed(
    sample: Sample,
    config: DataConfig,
    how: str,
    seed: int | None = None,
    others: Callable[[], Sequence[Sample]] = list,
    swaps: Sequence[tuple[int, int]] = (),
) -> Sample:
    """An image of any size at the size that the network sees: :func:`begun`, then :func:`finished`.

    Args:
        sample: of any size.
        config: of the data.
        how: ``crop``, ``letterbox`` or ``stretch``.
        seed: of how it is varied, as ``config.augment`` says; None: not at all.
        others: three more, for a mosaic.
        swaps: points that change places in a mirror.

    Raises:
        RecipeError: what is marked cannot follow that.
    """
    return finished(begun(sample, config, how, seed is not None), config, seed, others, swaps)


def begun(sample: Sample, config: DataConfig, how: str, varied: bool) -> Sample:
    """The part that is the same in every epoch: the image at its size, as far as nothing is drawn."""
    kind = config.augment if varied else "none"
    target = sample.marks.get("target")
    if target is not None and target.shape[-2:] != sample.image.shape[-2:]:
        return _enlarged(sample, target.as_subclass(Tensor), config, how, kind)
    if kind == "resized-crop":
        return sample
    return (
        _whole(sample, config.shape) if kind == "mosaic" else fitted(sample, config.shape, how, config.crop)
    )


def finished(
    sample: Sample,
    config: DataConfig,
    seed: int | None,
    others: Callable[[], Sequence[Sample]] = list,
    swaps: Sequence[tuple[int, int]] = (),
) -> Sample:
    """What was begun, varied as the seed says."""
    kind = config.augment if seed is not None else "none"
    if kind == "randaugment" and any(isinstance(one, tv_tensors.TVTensor) for one in sample.marks.values()):
        raise RecipeError(
            'data.augment = "randaugment" moves the image, and boxes, masks and points do not follow',
            'take "jitter", "mosaic" or "flip-crop"',
        )
    done = sample
    if kind != "none":
        with seeded(seed or 0):
            done = _varied(sample, config.shape, kind, others, swaps)
    return Sample(done.image, kept(done.marks, done.size))


def _enlarged(sample: Sample, target: Tensor, config: DataConfig, how: str, kind: str) -> Sample:
    """A target that is some times as large as its image stays so."""
    if kind != "none":
        raise RecipeError(
            f'data.augment = "{kind}", and the targets are larger than their images',
            'take data.augment = "none"',
        )
    times = target.shape[-2] // sample.image.shape[-2]
    size = times * config.shape[0], times * config.shape[1]
    large = fitted(Sample(torch.zeros_like(target), {"target": Target(target)}), size, how, config.crop)
    small = fitted(Sample(sample.image, {}), config.shape, how, config.crop)
    return Sample(small.image, large.marks)


def _varied(
    sample: Sample,
    size: tuple[int, int],
    kind: str,
    others: Callable[[], Sequence[Sample]],
    swaps: Sequence[tuple[int, int]],
) -> Sample:
    height, width = size
    if kind == "resized-crop":
        return _mirrored(sample.through(v2.RandomResizedCrop((height, width), antialias=True)), swaps)
    if kind == "mosaic":
        sample = _mosaic([sample, *others()], size)
    if kind in ("jitter", "mosaic"):
        fill = _fill(sample.image, GREY)
        moved = sample.through(v2.RandomAffine(0, (SHIFT, SHIFT), SCALE, fill=fill))
        moved = moved.each(v2.functional.center_crop, [height, width])
        return _coloured(_mirrored(moved, swaps))
    border = max(1, height // 8), max(1, width // 8)
    padding = [border[1], border[0], border[1], border[0]]
    sample = sample.through(v2.RandomCrop((height, width), padding=padding, fill=_fill(sample.image, 0)))
    if kind != "shift":
        sample = _mirrored(sample, swaps)
    return sample.through(v2.RandAugment()) if kind == "randaugment" else sample


def _fill(image: Tensor, grey: int) -> dict[type, float]:
    return {
        tv_tensors.Image: grey if image.dtype == torch.uint8 else grey / 255,
        tv_tensors.Mask: VOID,
        Target: torch.nan,
    }


def _mirrored(sample: Sample, swaps: Sequence[tuple[int, int]]) -> Sample:
    """Half of them; left and right points change their numbers."""
    if torch.rand(1) >= 0.5:
        return sample
    flipped = sample.each(v2.functional.horizontal_flip)
    if "points" in flipped.marks:
        order = list(range(flipped.marks["there"].shape[-1]))
        for one, other in swaps:
            order[one], order[other] = other, one
        points, there = flipped.marks["points"], flipped.marks["there"][..., order]
        points = tv_tensors.wrap(points[..., order, :], like=points)
        return Sample(flipped.image, {**flipped.marks, "points": points, "there": there})
    return flipped


def _coloured(sample: Sample) -> Sample:
    """Brightness, saturation and hue of the colours; depth and other channels are no colours."""
    channels = len(sample.image)
    if channels not in (1, 3, 4):
        return sample
    colours = sample.image[: min(channels, 3)]
    if channels == 1:
        varied = v2.ColorJitter(brightness=BRIGHTNESS)(colours)
    else:
        varied = v2.ColorJitter(brightness=BRIGHTNESS, saturation=SATURATION, hue=HUE)(colours)
    return Sample(torch.cat([varied, sample.image[3:]]), sample.marks)


def _mosaic(four: Sequence[Sample], size: tuple[int, int]) -> Sample:
    """Four images around a point, on a canvas of twice the size (Bochkovskiy et al., 2020)."""
    height, width = size
    x, y = (int(side * (0.5 + torch.rand(1))) for side in (width, height))
    image = four[0].image
    canvas = image.new_full(
        (len(image), 2 * height, 2 * width), GREY if image.dtype == torch.uint8 else GREY / 255
    )
    parts = []
    for number, sample in enumerate(four):
        one = _whole(sample, size)
        h, w = one.size
        left, top = x - w if number % 2 == 0 else x, y - h if number < 2 else y
        border = [left, top, 2 * width - left - w, 2 * height - top - h]
        part = one.through(v2.Pad(border, fill=_fill(image, GREY)))
        rows, columns = slice(max(top, 0), top + h), slice(max(left, 0), left + w)
        canvas[:, rows, columns] = part.image[:, rows, columns]
        parts.append((Sample(part.image, kept(part.marks, part.size)), rows, columns))
    return Sample(canvas, _together(parts, (2 * height, 2 * width)))


def _together(parts: Sequence[tuple[Sample, slice, slice]], size: tuple[int, int]) -> Wrapped:
    """What is marked in all of them."""
    first = parts[0][0].marks
    if "boxes" in first:
        whole = {name: torch.cat([one.marks[name] for one, _, _ in parts]) for name in first}
        whole["boxes"] = tv_tensors.BoundingBoxes(whole["boxes"], format="XYXY", canvas_size=size)
        if "points" in whole:
            whole["points"] = tv_tensors.KeyPoints(whole["points"], canvas_size=size)
        return whole
    if "mask" in first:
        mask = torch.full((1, *size), VOID)
        for one, rows, columns in parts:
            mask[:, rows, columns] = one.marks["mask"].as_subclass(Tensor)[:, rows, columns]
        return {"mask": tv_tensors.Mask(mask)}
    raise RecipeError('data.augment = "mosaic" is for boxes and masks', 'take "jitter"')


def _whole(sample: Sample, size: tuple[int, int]) -> Sample:
    """As large as fits into ``size``."""
    height, width = sample.size
    scale = min(size[0] / height, size[1] / width)
    target = [max(1, round(height * scale)), max(1, round(width * scale))]
    return sample if target == [height, width] else sample.each(v2.functional.resize, target, antialias=True)


def fitted(sample: Sample, size: tuple[int, int], how: str, crop: float = 1.0) -> Sample:
    """Brought to ``size``.

    Args:
        sample: of any size.
        size: height and width.
        how: ``crop``: the middle, of which the short side keeps the share ``crop``; ``letterbox``; ``stretch``.
        crop: see there.
    """
    if how == "stretch":
        return (
            sample if sample.size == size else sample.each(v2.functional.resize, list(size), antialias=True)
        )
    if how == "letterbox":
        inner = _whole(sample, size)
        top, left = (size[0] - inner.size[0]) // 2, (size[1] - inner.size[1]) // 2
        padding = [left, top, size[1] - inner.size[1] - left, size[0] - inner.size[0] - top]
        if not any(padding):
            return inner
        fill = _fill(inner.image, GREY)
        return inner.through(v2.Pad(padding, fill=fill))
    height, width = sample.size
    scale = max(size[0] / height, size[1] / width) / crop
    if size[0] == size[1]:  # torchvision rounds the longer side by itself
        short = round(size[0] / crop)
        resized = (
            sample
            if min(height, width) == short
            else sample.each(v2.functional.resize, [short], antialias=True)
        )
    else:
        target = [max(size[0], round(height * scale)), max(size[1], round(width * scale))]
        resized = sample.each(v2.functional.resize, target, antialias=True)
    return resized.each(v2.functional.center_crop, list(size))
