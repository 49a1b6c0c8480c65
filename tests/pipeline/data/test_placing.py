"""What is marked follows the image, whatever is done to that."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import torch
from PIL import Image

from jetpress.deploy.errors import RecipeError
from jetpress.pipeline.data import targets
from jetpress.pipeline.data.formats import pictures
from jetpress.pipeline.data.formats.marks import Boxes, Points
from jetpress.pipeline.data.placing import Sample, fitted, placed
from jetpress.pipeline.data.targets import batched, kept, wrapped
from jetpress.pipeline.recipe.sections.data import Augment, DataConfig
from jetpress.pipeline.tasks.segmentation import VOID

CONFIG = DataConfig(size=(48, 64))
BOX = (10, 20, 40, 50)
"""In an image of 90 x 60: white there, black elsewhere."""
PLACES = [kind for kind in get_args(Augment) if kind != "randaugment"]


def sample(kind: str) -> Sample:
    image = torch.zeros(3, 60, 90, dtype=torch.uint8)
    x1, y1, x2, y2 = BOX
    image[:, y1:y2, x1:x2] = 255
    if kind == "mask":
        mask = torch.zeros(1, 60, 90, dtype=torch.int64)
        mask[:, y1:y2, x1:x2] = 1
        return Sample(image, {"mask": targets.tv_tensors.Mask(mask)})
    if kind == "points":
        middle = np.array([[25, 35, 1], [85, 5, 1]], np.float32)
        return Sample(image, wrapped(Points(middle), 60, 90, 255))
    points = np.array([[[10, 20, 1], [39, 49, 1], [0, 0, 0]]], np.float32) if kind == "pose" else None
    box = Boxes(np.array([BOX], np.float32), np.array([2]), np.array([False]), points)
    return Sample(image, wrapped(box, 60, 90, 255))


@pytest.mark.parametrize("how", ["letterbox", "stretch", "crop"])
@pytest.mark.parametrize("augment", PLACES)
def test_boxes_lie_around_what_they_lay_around(augment: str, how: str) -> None:
    config = replace(CONFIG, augment=augment, crop=1.0)  # type: ignore[arg-type]
    checked = 0
    for seed in range(6):
        done = placed(sample("boxes"), config, how, seed, lambda: [sample("boxes")] * 3)
        assert done.image.shape == (3, 48, 64)
        bright = done.image.float().mean(0) > 125
        inside = torch.zeros_like(bright)
        for x1, y1, x2, y2 in done.marks["boxes"].round().int().tolist():
            inside[y1:y2, x1:x2] = True
        if bright.any():
            checked += 1
            both, either = (bright & inside).sum(), (bright | inside).sum()
            assert both / either > 0.75
        assert (done.marks["labels"] == 2).all()
    assert checked >= 4


@pytest.mark.parametrize("augment", PLACES)
def test_masks_cover_what_they_covered(augment: str) -> None:
    config = replace(CONFIG, augment=augment)  # type: ignore[arg-type]
    for seed in range(4):
        done = placed(sample("mask"), config, "letterbox", seed, lambda: [sample("mask")] * 3)
        mask, light = done.marks["mask"][0], done.image.float().mean(0)
        assert mask.shape == (48, 64)
        assert set(mask.unique().tolist()) <= {0, 1, VOID}
        assert (light[mask == 1] > 125).float().mean() > 0.9
        assert (light[mask == 0] < 125).float().mean() > 0.9


def test_mirrored_points_change_sides() -> None:
    config, turned = replace(CONFIG, augment="flip-crop"), 0
    for seed in range(8):
        done = placed(sample("points"), config, "stretch", seed, swaps=((0, 1),))
        (x1, _), (x2, _) = done.marks["points"].tolist()
        assert x1 < x2  # the left one is the left one, mirrored or not
        turned += int(
            float(done.image[0, :, :32].float().mean()) < float(done.image[0, :, 32:].float().mean())
        )
    assert 0 < turned < 8


@pytest.mark.parametrize("augment", ["flip-crop", "jitter", "mosaic"])
def test_points_stay_in_the_corners_of_their_boxes(augment: str) -> None:
    config, sides = replace(CONFIG, augment=augment), set()  # type: ignore[arg-type]
    for seed in range(12):
        done = placed(sample("pose"), config, "stretch", seed, lambda: [sample("pose")] * 3, swaps=((0, 1),))
        whole = batched([done.marks], done.size)
        for (x1, y1, x2, y2), points in zip(
            whole["boxes"][0].tolist(), whole["points"][0].tolist(), strict=True
        ):
            assert points[2][2] == 0
            for x, y, there in points[:2]:
                assert not there or (min(abs(x - x1), abs(x - x2)) < 2 and min(abs(y - y1), abs(y - y2)) < 2)
            if points[0][2] and points[1][2]:
                sides.add(points[0][1] < points[1][1])  # in a mirror the upper one is the second
    assert sides == {True, False}


def test_the_same_seed_gives_the_same() -> None:
    config = replace(CONFIG, augment="mosaic")
    first, second, other = (
        placed(sample("boxes"), config, "letterbox", seed, lambda: [sample("boxes")] * 3)
        for seed in (3, 3, 4)
    )
    assert torch.equal(first.image, second.image)
    assert not torch.equal(first.image, other.image)


def test_what_cannot_follow_is_refused() -> None:
    with pytest.raises(RecipeError, match="randaugment"):
        placed(sample("boxes"), replace(CONFIG, augment="randaugment"), "letterbox", 0)
    with pytest.raises(RecipeError, match="for boxes and masks"):
        placed(
            sample("points"),
            replace(CONFIG, augment="mosaic"),
            "letterbox",
            0,
            lambda: [sample("points")] * 3,
        )


def test_a_letterbox_is_grey_and_void() -> None:
    done = fitted(sample("mask"), (60, 60), "letterbox")
    assert done.image[:, 0, 0].tolist() == [114] * 3
    assert int(done.marks["mask"][0, 0, 0]) == VOID
    deep = fitted(Sample(torch.zeros(1, 10, 20), {}), (20, 20), "letterbox")
    assert float(deep.image[0, 0, 0]) == pytest.approx(114 / 255)


def test_targets_of_different_lengths_are_one_batch() -> None:
    rows = [kept(sample("boxes").marks, (60, 90)) for _ in range(2)]
    rows[1] = {name: one[:0] for name, one in rows[1].items()}
    target = batched(rows, (60, 90))
    assert target["boxes"].shape == (2, 1, 4)
    assert target["labels"].tolist() == [[2], [-1]]
    assert targets.of_sample(target, 0)["labels"].tolist() == [2]


@pytest.mark.parametrize(
    ("mode", "channels"), [("L", 1), ("RGB", 3), ("RGBA", 4), ("P", 3), ("I;16", 1), ("RGB", 1), ("L", 3)]
)
def test_images_of_any_mode(tmp_path: Path, mode: str, channels: int) -> None:
    path = str(tmp_path / "a.png")
    if mode == "I;16":
        Image.fromarray(np.full((4, 6), 32768, np.uint16)).save(path)
    else:
        Image.new(mode, (6, 4)).save(path)
    pixels = pictures.decoded(path, channels)
    assert pixels.shape == (channels, 4, 6)
    if mode == "I;16":
        assert float(pixels[0, 0, 0]) == pytest.approx(0.5, abs=1e-4)
        assert float(pictures.decoded(path, 3).max()) == pytest.approx(0.5, abs=1e-4)
        assert pictures.decoded(path, 4)[:, 0, 0].tolist() == pytest.approx([0.5, 0.5, 0.5, 1], abs=1e-4)


def test_floats_of_a_picture_stay_as_they_are(tmp_path: Path) -> None:
    path = str(tmp_path / "a.tif")
    Image.fromarray(np.full((4, 6), 0.25, np.float32)).save(path)
    assert pictures.channels_of(path) == 1
    assert pictures.decoded(path, 1).unique().tolist() == [0.25]
    assert pictures.decoded(path, 3).unique().tolist() == [0.25]


def test_arrays_are_images_of_any_number_of_channels(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.full((4, 6, 5), 65535, np.uint16))
    assert pictures.decoded(str(tmp_path / "a.npy"), 5).shape == (5, 4, 6)
    assert float(pictures.decoded(str(tmp_path / "a.npy"), 5).max()) == 1
    assert pictures.size_of(str(tmp_path / "a.npy")) == (6, 4)
    with pytest.raises(RecipeError, match=r"has shape \[4, 6, 5\]"):
        pictures.decoded(str(tmp_path / "a.npy"), 3)


def test_images_are_upright(tmp_path: Path) -> None:
    image = Image.new("RGB", (8, 4))
    image.putpixel((0, 0), (255, 255, 255))
    exif = Image.Exif()
    exif[pictures.ORIENTATION] = 6  # turned a quarter to the right
    image.save(tmp_path / "a.png", exif=exif)
    pixels = pictures.decoded(str(tmp_path / "a.png"), 3)
    assert pixels.shape == (3, 8, 4)
    assert pictures.size_of(str(tmp_path / "a.png")) == (4, 8)
    assert pixels[0].argmax() == 3
