"""Where samples come from: handwritten digits, CIFAR, folders of images, a function of the user's own."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from jetpress.deploy.errors import RecipeError
from jetpress.pipeline import tasks
from jetpress.pipeline.data import digests
from jetpress.pipeline.data.augment import seeded
from jetpress.pipeline.data.formats import coco, masks, pairs, table, voc, yolo
from jetpress.pipeline.data.formats.folders import files_below
from jetpress.pipeline.data.formats.marks import Boxes, Mark, Marked, Values
from jetpress.pipeline.data.formats.pictures import SUFFIXES, unreadable
from jetpress.pipeline.data.splits import Files, Images, Samples, Split, tensors_of
from jetpress.pipeline.network import user_code
from jetpress.pipeline.recipe.sections.data import DataConfig
from jetpress.pipeline.recipe.sections.task import TaskConfig


@dataclass(frozen=True)
class Format:
    """How a folder is read, and what the network may be for."""

    read: Callable[[DataConfig, TaskConfig], Marked]
    kinds: tuple[str, ...]


OBJECTS = ("detection", "segmentation", "keypoints", "multilabel")
FORMATS = {
    "yolo": Format(yolo.read, (*OBJECTS, "pose")),
    "coco": Format(coco.read, (*OBJECTS, "pose")),
    "voc": Format(voc.read, ("detection", "segmentation", "multilabel")),
    "masks": Format(masks.read, ("segmentation",)),
    "pairs": Format(pairs.read, ("regression",)),
    "csv": Format(table.read, ("regression", "classification", "multilabel", "keypoints")),
}
FOLDERS = {"train": "train", "val": "validation", "test": "test"}
"""Folder of an image folder data set -> split."""


@dataclass(frozen=True)
class Found:
    """What a source has, before the missing splits are cut off the training data."""

    splits: Mapping[str, Split]
    origin: Mapping[str, str]
    classes: tuple[str, ...]
    names: tuple[str, ...] = ("input",)
    corrupt: Mapping[str, str] = field(default_factory=dict)


def read(config: DataConfig, seed: int, task: TaskConfig) -> Found:
    """What ``config.source`` names, for what the network is for.

    Raises:
        RecipeError: it is not there, is empty, or is not laid out as it must be.
    """
    if config.source == "digits":
        return _digits(config, seed)
    if config.source in ("cifar10", "cifar100"):
        return _cifar(config, seed)
    if config.source == "imagefolder":
        return _image_folder(config, seed)
    if config.source in FORMATS:
        return _marked(config, seed, task)
    return _function(config, seed, task)


def _digits(config: DataConfig, seed: int) -> Found:
    rows = torch.from_numpy(np.loadtxt(digests.digits(), delimiter=",", dtype=np.float32))  # 64 pixels, label
    pixels = rows[:, :64].reshape(-1, 1, 8, 8) / 16
    pixels = F.interpolate(pixels, config.shape, mode="bilinear").expand(-1, 3, -1, -1).contiguous()
    images = Images(config, seed, pixels, rows[:, 64].long())
    return Found({"train": images}, {"train": "scikit-learn's digits"}, tuple("0123456789"))


def _cifar(config: DataConfig, seed: int) -> Found:
    from torchvision import datasets

    kind = datasets.CIFAR10 if config.source == "cifar10" else datasets.CIFAR100
    # CIFAR is published as pickles: torchvision compares each file with its known digest before opening it.
    try:
        parts = {
            name: kind(str(config.root), train=name == "train", download=config.download)
            for name in ("train", "test")
        }
    except (RuntimeError, OSError) as error:
        raise RecipeError(
            f"{config.source} cannot be read from {config.root}: {error}",
            "set data.root to the folder that holds torchvision's files, or data.download = true",
        ) from error
    splits = {
        name: Images(
            config, seed, torch.from_numpy(p.data).permute(0, 3, 1, 2).contiguous(), torch.tensor(p.targets)
        )
        for name, p in parts.items()
    }
    origin = {name: f"{config.source}'s {name} images" for name in splits}
    return Found(splits, origin, tuple(parts["train"].classes))


def _image_folder(config: DataConfig, seed: int) -> Found:
    root = Path(str(config.root))
    classes, listed = listing(root)
    corrupt = unreadable([path for files in listed.values() for path, _ in files])
    splits = {}
    for split, files in listed.items():
        sound = [(path, label) for path, label in files if path not in corrupt]
        labels = torch.tensor([label for _, label in sound], dtype=torch.int64)
        splits[split] = Files(
            config, seed, tuple(path for path, _ in sound), labels, fit=config.fit or "crop"
        )
    names = {split: f"{name}/" for name, split in FOLDERS.items()}
    origin = {split: names[split] if (root / "train").is_dir() else f"{root.name}/" for split in splits}
    return Found(splits, origin, classes, corrupt=corrupt)


def _marked(config: DataConfig, seed: int, task: TaskConfig) -> Found:
    """Images with boxes, masks, values or points in them."""
    known = FORMATS[config.source]
    if task.kind not in (*known.kinds, "custom"):
        raise RecipeError(
            f'data.source = "{config.source}" is no data for task.kind = "{task.kind}"',
            f"it is for {', '.join(known.kinds)}",
        )
    told = known.read(config, task)
    corrupt = unreadable([path for rows in told.splits.values() for path, _ in rows])
    how = config.fit or ("letterbox" if tasks.task_of(task).places else "crop")
    splits = dict[str, Split]()
    for split, rows in told.splits.items():
        sound = [row for row in rows if row[0] not in corrupt]
        paths, marks = tuple(path for path, _ in sound), tuple(mark for _, mark in sound)
        if task.kind == "classification":
            labels = torch.tensor([int(one.values[0]) for one in marks if isinstance(one, Values)])
            splits[split] = Files(config, seed, paths, labels, fit=how)
        else:
            splits[split] = Files(config, seed, paths, _kinds(marks), marks, how, told.swaps)
    return Found(splits, told.origin, told.classes, corrupt=corrupt)


def _kinds(marks: Sequence[Mark]) -> Tensor | None:
    """What images are alike in, for even samples: the class that has most boxes in it, or one number for none."""
    if not marks or not isinstance(marks[0], Boxes):
        return None
    return torch.tensor(
        [
            int(np.bincount(one.labels).argmax()) + 1 if isinstance(one, Boxes) and len(one.labels) else 0
            for one in marks
        ]
    )


def listing(root: Path) -> tuple[tuple[str, ...], dict[str, list[tuple[str, int]]]]:
    """The classes of a folder of images, and ``(path, class number)`` of every image of each of its splits.

    A folder without ``train/``, ``val/`` and ``test/`` whose folders hold images is all training data.

    Raises:
        RecipeError: it is laid out otherwise, or the splits have not the same classes.
    """
    present = {split: root / name for name, split in FOLDERS.items() if (root / name).is_dir()}
    folders = present or ({"train": root} if _holds_classes(root) else {})
    if "train" not in folders:
        raise RecipeError(
            f"there is no folder {root / 'train'}",
            "data.root must hold train/CLASS/*.jpg and val/CLASS/*.jpg (and test/, if there is one), or CLASS/*.jpg",
        )
    classes = tuple(sorted(entry.name for entry in os.scandir(folders["train"]) if entry.is_dir()))
    if not classes:
        raise RecipeError(
            f"{folders['train']} has no folders", "put the images of each class into a folder of its own"
        )
    return classes, {split: _listing(folder, classes) for split, folder in folders.items()}


def _holds_classes(root: Path) -> bool:
    """Whether images lie in folders right below ``root``."""
    return any(file.suffix.lower() in SUFFIXES for file in root.glob("*/*"))


def _listing(folder: Path, classes: tuple[str, ...]) -> list[tuple[str, int]]:
    """``(path, class number)`` of every image, in the order of names."""
    present = sorted(entry.name for entry in os.scandir(folder) if entry.is_dir())
    if tuple(present) != classes:
        missing, unknown = sorted(set(classes) - set(present)), sorted(set(present) - set(classes))
        raise RecipeError(
            f"{folder} has not the classes of train/: "
            + "; ".join(
                f"{what}: {', '.join(n[:5])}" for what, n in (("missing", missing), ("new", unknown)) if n
            ),
            "every split needs one folder for each class",
        )
    files = []
    for label, name in enumerate(classes):
        found = sorted(
            str(path) for path in files_below(folder / name) if path.name.lower().endswith(SUFFIXES)
        )
        if not found:
            raise RecipeError(f"{folder / name} holds no images", f"add images ({' '.join(SUFFIXES)})")
        files += [(path, label) for path in found]
    return files


def _function(config: DataConfig, seed: int, task: TaskConfig) -> Found:
    function = user_code.load(config.source)
    known = inspect.signature(function).parameters
    offered = {"root": config.root, "config": config, "task": task}
    found = function(**{name: value for name, value in offered.items() if name in known})
    if not isinstance(found, Mapping) or "train" not in found:
        raise RecipeError(
            f"{config.source} returned no training data",
            'it must return {"train": dataset, "validation": dataset, "test": dataset}',
        )
    splits = {}
    for name in ("train", "validation", "test"):
        if name in found:
            dataset = found[name]
            if not (hasattr(dataset, "__len__") and hasattr(dataset, "__getitem__")):
                raise RecipeError(
                    f"{config.source}: {name!r} has no length or no items", "give map-style datasets"
                )
            splits[name] = Samples(config, seed, dataset, torch.arange(len(dataset)), _labels(dataset))
    if len(splits["train"]) == 0:
        raise RecipeError(f"{config.source}: the training data is empty", "add samples")
    with seeded(seed):
        inputs = found["train"][0][0]
    classes = found.get("classes", getattr(found["train"], "classes", ()))
    names = tuple(str(n) for n in inputs) if isinstance(inputs, Mapping) else ()
    if not names:
        names = ("input", *(f"input_{i}" for i in range(1, len(tensors_of(inputs)))))
    return Found(
        splits, {name: f"{name!r} of {config.source}" for name in splits}, tuple(map(str, classes)), names
    )


def _labels(dataset: Any) -> Tensor | None:
    """Class numbers ``[n]`` of a user's dataset, where it has them at hand."""
    for name in ("targets", "labels"):
        found = getattr(dataset, name, None)
        if found is not None and len(found) == len(dataset):
            labels = torch.as_tensor(found)
            if labels.ndim == 1 and not labels.is_floating_point():
                return labels.long()
    return None
