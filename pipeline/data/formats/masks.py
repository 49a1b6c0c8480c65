"""Folders of images and of masks: a mask has the name of its image, and the number of the class as grey value.

::

    train/images/a.jpg  train/masks/a.png       or  images/train/a.jpg  masks/train/a.png
    val/...  test/...   classes.txt             or  images/a.jpg  masks/a.png   (all training data)
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from jetpress.deploy.console import progress
from jetpress.deploy.errors import RecipeError
from jetpress.pipeline.data.formats.marks import Findings, Marked, MaskFile, text_of
from jetpress.pipeline.data.formats.pictures import class_numbers, images_in, size_of
from jetpress.pipeline.recipe.sections.data import DataConfig
from jetpress.pipeline.recipe.sections.task import TaskConfig

SPLITS = {"train": "train", "val": "validation", "valid": "validation", "test": "test"}
"""Folder -> split."""
IMAGES, MASKS = ("images", "image", "img"), ("masks", "labels", "annotations", "mask")


def read(config: DataConfig, task: TaskConfig) -> Marked:
    """Every image with its mask.

    Raises:
        RecipeError: the folders are others, a mask is missing, of another size, or has a class that there is not.
    """
    root = Path(str(config.root))
    folders = dict(folders_in(root))
    if "train" not in folders:
        raise RecipeError(
            f"{root} holds no images and masks",
            "it must hold train/images and train/masks (or labels), images/train and masks/train, or images and masks",
        )
    findings, splits = Findings(str(root)), {}
    for split, (images, masks) in folders.items():
        splits[split] = [(image, MaskFile(mask)) for image, mask in pairs(images, masks, "mask", findings)]
    classes = task.classes or _listed(root)
    highest = _look(splits, len(classes), config.void, findings)
    findings.tell()
    if highest == 0:
        raise RecipeError(
            f"{root}: the masks have no class beside 0; pixels of data.void = {config.void} count as unknown",
            f"a mask has the number of the class as its grey value: write 1, not {config.void}, for the second",
        )
    names = classes or tuple(str(number) for number in range(highest + 1))
    origin = {split: str(images.relative_to(root)) + "/" for split, (images, _) in folders.items()}
    return Marked(splits, origin, names)


def folders_in(
    root: Path, of_images: tuple[str, ...] = IMAGES, of_masks: tuple[str, ...] = MASKS
) -> Iterator[tuple[str, tuple[Path, Path]]]:
    """Split, and its folder of images, folder of masks."""
    for name, split in SPLITS.items():
        for base, below in ((root / name, ""), (root, name)):
            pair = _first(base, of_images, below), _first(base, of_masks, below)
            if pair[0] and pair[1]:
                yield split, (pair[0], pair[1])
                break
    images, masks = _first(root, of_images), _first(root, of_masks)
    if images and masks and not any((images / name).is_dir() for name in SPLITS):
        yield "train", (images, masks)


def _first(base: Path, names: tuple[str, ...], below: str = "") -> Path | None:
    return next((base / name / below for name in names if (base / name / below).is_dir()), None)


def pairs(images: Path, masks: Path, what: str, findings: Findings) -> list[tuple[str, str]]:
    """Every image with the file of its name in the other folder; ``what`` that is."""
    there = {path.relative_to(masks).with_suffix(""): path for path in images_in(masks)}
    found, both = images_in(images), list[tuple[str, str]]()
    if not found:
        findings.wrong(images, "holds no images")
    for path in found:
        mask = there.pop(path.relative_to(images).with_suffix(""), None)
        if mask is None:
            findings.wrong(path, f"has no {what} in {masks}")
        else:
            both.append((str(path), str(mask)))
    for mask in there.values():
        findings.note(mask, f"{what}s have no image and are left out")
    return both


def _listed(root: Path) -> tuple[str, ...]:
    path = root / "classes.txt"
    return tuple(filter(None, map(str.strip, text_of(path).splitlines()))) if path.is_file() else ()


def _look(splits: dict[str, list[tuple[str, MaskFile]]], classes: int, void: int, findings: Findings) -> int:
    """The highest class; every mask is read once, so that a wrong one is not met after hours."""
    highest, whole = 0, [pair for split in splits.values() for pair in split]

    def look(pair: tuple[str, MaskFile]) -> tuple[set[int], str]:
        try:
            numbers = class_numbers(pair[1].path).numpy()
        except RecipeError as error:
            return set(), error.what.removeprefix(pair[1].path).strip(" :")
        size = size_of(pair[0])
        other = size is not None and size != numbers.shape[::-1]
        words = (
            f"is {numbers.shape[1]} x {numbers.shape[0]}, its image {size[0]} x {size[1]}"
            if other and size
            else ""
        )
        return set(np.unique(numbers).tolist()) - {void}, words

    with progress("reading masks", len(whole)) as line, ThreadPoolExecutor(2) as pool:
        for pair, (found, fault) in zip(whole, pool.map(look, whole), strict=True):
            line.step()
            highest = max(highest, *found, 0)
            if fault:
                findings.wrong(pair[1].path, fault)
            elif wrong := sorted(one for one in found if classes and one >= classes):
                findings.wrong(
                    pair[1].path, f"has class {wrong[-1]}, there are {classes}, from 0 (data.void is {void})"
                )
    return highest
