"""What is marked in an image, as tensors that follow it through transforms; and several of them as one target.

A batch's target by what is marked: boxes ``{"boxes": [n, k, 4], "labels": [n, k], "crowd": [n, k]}``, in pixels of the
network's input, filled up with label -1, and ``points [n, k, points, 3]`` of each where they are asked for; masks
``[n, h, w]``, -100 where nothing is known; images and maps ``[n, channels, h, w]``, NaN where nothing is known; values
``[n, k]``; points ``[n, k, 5]``: x, y, whether it is there, height and width of the input.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms import v2

from jetpress.pipeline.data.formats.marks import (
    Boxes,
    Mark,
    MaskFile,
    Outlines,
    Points,
    Runs,
    TargetFile,
    Values,
    pixels_of,
)
from jetpress.pipeline.data.formats.pictures import class_numbers, numbers
from jetpress.pipeline.tasks.segmentation import VOID

Wrapped = dict[str, Tensor]
"""What is marked, as torchvision's transforms take it."""


class Target(tv_tensors.Image):  # type: ignore[misc]  # torchvision has no types
    """What is to be made of an image ``[channels, h, w]``, float32; NaN where it is not known."""


NONE = -1
"""Label of a row that only fills up."""
SMALLEST = 1.0
"""Side in pixels of a box that is kept."""


def wrapped(mark: Mark, height: int, width: int, void: int) -> Wrapped:
    """Of an upright image of this size."""
    size = (height, width)
    if isinstance(mark, Boxes):
        boxes = tv_tensors.BoundingBoxes(
            torch.from_numpy(mark.boxes), format=tv_tensors.BoundingBoxFormat.XYXY, canvas_size=size
        )
        return {
            "boxes": boxes,
            "labels": torch.from_numpy(mark.labels),
            "crowd": torch.from_numpy(mark.crowd),
            **({} if mark.points is None else _places(mark.points, size)),
        }
    if isinstance(mark, MaskFile):
        classes = class_numbers(mark.path)
        return {"mask": tv_tensors.Mask(torch.where(classes == void, VOID, classes)[None])}
    if isinstance(mark, TargetFile):
        return {"target": Target(numbers(mark.path))}
    if isinstance(mark, Outlines):
        return {"mask": tv_tensors.Mask(_painted(mark, height, width)[None])}
    if isinstance(mark, Points):
        return _places(mark.points, size)
    assert isinstance(mark, Values)
    return {"values": torch.from_numpy(mark.values)}


def _places(points: NDArray[np.float32], size: tuple[int, int]) -> Wrapped:
    """Of ``[..., points, 3]``."""
    whole = torch.from_numpy(points)
    return {"points": tv_tensors.KeyPoints(whole[..., :2], canvas_size=size), "there": whole[..., 2]}


def sizes(image: Tensor) -> tuple[int, int]:
    """Height and width."""
    return image.shape[-2], image.shape[-1]


def _painted(mark: Outlines, height: int, width: int) -> Tensor:
    canvas = Image.new("I", (width, height), mark.background)
    pen = ImageDraw.Draw(canvas)
    for label, area in zip(mark.labels, mark.areas, strict=True):
        fill = label if label >= 0 else VOID
        if isinstance(area, Runs):
            canvas.paste(fill, mask=Image.fromarray(pixels_of(area) * 255))
            continue
        for outline in area:
            if len(outline) >= 3:
                pen.polygon([tuple(map(float, corner)) for corner in outline], fill=fill)
    return torch.from_numpy(np.array(canvas).astype(np.int64))


def kept(marks: Wrapped, size: tuple[int, int]) -> Wrapped:
    """Boxes cut to the image, those outside of it left out; points outside are not there."""
    if "points" in marks:
        places = marks["points"].as_subclass(Tensor)
        inside = ((places >= 0) & (places < places.new_tensor([size[1], size[0]]))).all(-1)
        marks = {**marks, "points": places, "there": marks["there"] * inside}
    if "boxes" in marks:
        boxes = v2.functional.clamp_bounding_boxes(marks["boxes"]).as_subclass(Tensor)
        there = ((boxes[:, 2:] - boxes[:, :2]) >= SMALLEST).all(1)
        marks = {name: one[there] for name, one in {**marks, "boxes": boxes}.items()}
    return marks


def batched(rows: Sequence[Wrapped], size: tuple[int, int]) -> Any:
    """One target of several images of (height, width)."""
    if "boxes" in rows[0]:
        most = max(1, *(len(one["labels"]) for one in rows))
        fills = {"boxes": 0, "labels": NONE, "crowd": False}
        if "points" in rows[0]:
            fills["points"] = 0
            rows = [{**o, "points": torch.cat([o["points"], o["there"][..., None]], dim=-1)} for o in rows]
        return {
            name: torch.stack([_filled(one[name], most, fill) for one in rows])
            for name, fill in fills.items()
        }
    if "mask" in rows[0]:
        return torch.stack([one["mask"].as_subclass(Tensor)[0] for one in rows])
    if "target" in rows[0]:
        return torch.stack([one["target"].as_subclass(Tensor) for one in rows])
    if "points" in rows[0]:
        frame = torch.tensor(size, dtype=torch.float32)
        return torch.stack(
            [
                torch.cat([one["points"], one["there"][:, None], frame.expand(len(one["there"]), 2)], dim=1)
                for one in rows
            ]
        )
    return torch.stack([one["values"] for one in rows])


def listed(target: Mapping[str, Tensor], size: tuple[int, int]) -> dict[str, Tensor]:
    """The boxes of a batch one after another, as Ultralytics has them: ``batch_idx [m]``, ``cls [m, 1]``, ``bboxes
    [m, 4]``: centre, width, height in shares of the image of (height, width); ``keypoints [m, points, 3]`` likewise."""
    image, place = ((target["labels"] >= 0) & ~target["crowd"]).nonzero(as_tuple=True)
    low, high = target["boxes"][image, place].split(2, dim=1)
    shares = low.new_tensor([size[1], size[0]])
    posed = {}
    if "points" in target:
        points = target["points"][image, place]
        posed = {"keypoints": torch.cat([points[..., :2] / shares, points[..., 2:]], dim=-1)}
    return {
        **posed,
        "batch_idx": image.float(),
        "cls": target["labels"][image, place].float()[:, None],
        "bboxes": torch.cat([(low + high) / 2 / shares, (high - low) / shares], dim=1),
    }


def _filled(rows: Tensor, count: int, fill: float) -> Tensor:
    whole = rows.new_full((count, *rows.shape[1:]), fill)
    whole[: len(rows)] = rows
    return whole


def of_sample(target: Any, number: int) -> Any:
    """The target of one sample of a batch."""
    if isinstance(target, Mapping):
        return {name: one[number] for name, one in target.items()}
    return target[number]
