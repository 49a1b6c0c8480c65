"""The real images of the recovery studies, as a user's own data sets: `data.source = "file.py:function"`.

Where they lie is `studies.real`'s folder, which is not part of jetpress.
"""

from __future__ import annotations

import io
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms import v2

from studies.real import imagenet, one_of_each

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@dataclass
class Pictures:
    """Images in memory, normalised when they are asked for."""

    pixels: Tensor
    """``[n, 3, h, w]``, uint8."""
    targets: list[int]
    vary: v2.Transform | None = None

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, number: int) -> tuple[Tensor, int]:
        image = self.pixels[number]
        image = self.vary(image) if self.vary else image
        scaled = v2.functional.to_dtype(image, torch.float32, scale=True)
        return v2.functional.normalize(scaled, MEAN, STD), self.targets[number]


@dataclass
class Photos:
    """Image files of any size, decoded when they are asked for."""

    paths: Sequence[Path]
    targets: list[int]
    vary: v2.Transform

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, number: int) -> tuple[Tensor, int]:
        with Image.open(self.paths[number]) as image:
            pixels = self.vary(v2.functional.pil_to_tensor(image.convert("RGB")))
        scaled = v2.functional.to_dtype(pixels, torch.float32, scale=True)
        return v2.functional.normalize(scaled, MEAN, STD), self.targets[number]


@dataclass(frozen=True)
class Jpegs:
    """CIFAR-10 as JPEG bytes."""

    path: Path

    @cached_property
    def found(self) -> Any:
        """The arrays of the file."""
        return np.load(self.path)

    def pictures(self, first: int, last: int, vary: v2.Transform | None = None) -> Pictures:
        """Images ``first`` to ``last``, decoded."""
        stream, ends = self.found["jpeg"], self.found["offsets"][first : last + 1].tolist()
        arrays = []
        for start, end in itertools.pairwise(ends):
            with Image.open(io.BytesIO(stream[start:end].tobytes())) as image:
                arrays.append(np.asarray(image.convert("RGB")))
        pixels = torch.from_numpy(np.stack(arrays)).permute(0, 3, 1, 2).contiguous()
        return Pictures(pixels, self.found["labels"][first:last].astype(int).tolist(), vary)


def cifar(root: str, images: int, tested: int, judged: int = 1000) -> dict[str, Any]:
    """Training on the first ``images``; validation on the last ``judged`` of the training images, which the network
    given has seen: only the test split says how good it is."""
    varied = v2.Compose([v2.RandomCrop(32, padding=4), v2.RandomHorizontalFlip()])
    train, test = (Jpegs(Path(root) / "cifar10" / f"cifar10_jpeg_{name}.npz") for name in ("train", "test"))
    known = len(train.found["labels"])
    return {
        "train": train.pictures(0, images, varied),
        "validation": train.pictures(known - judged, known),
        "test": test.pictures(0, tested),
        "classes": [str(name) for name in train.found["classes"]],
    }


def _resized(pixels: Tensor, size: int) -> Tensor:
    """``[n, 3, size, size]``, uint8."""
    return v2.functional.resize(pixels, [size, size], antialias=True) if pixels.shape[-1] != size else pixels


def imagenet_small(root: str, images: int, tested: int, size: int = 224) -> dict[str, Any]:
    """Of 1000 classes: training on one image of each and, for the rest, on those of ten classes; ``size`` pixels.

    Validation on half of the 650 validation images, the test on the other half and on those of the ten classes.
    """
    folder = Path(root)
    order = sorted(one.name for one in (folder / "imagenet_calib1000").iterdir() if one.is_dir())
    paths = sorted((folder / "imagenet_calib1000").rglob("*.JPEG")) or sorted(
        path for path in (folder / "imagenet_calib1000").rglob("*.*") if path.is_file()
    )
    few = sorted((folder / "imagenette224" / "train").rglob("*.*"))
    more = max(0, images - len(paths))
    paths = paths[:images] + few[:: max(1, len(few) // more)][:more] if more else paths[:images]
    varied = v2.Compose(
        [v2.RandomResizedCrop(size, scale=(0.35, 1.0), antialias=True), v2.RandomHorizontalFlip()]
    )
    judged = {name: (_resized(some.pixels, size), some.labels) for name, some in imagenet(folder).items()}
    many, classes = judged["val650"]
    halves = [Pictures(many[n::2], classes[n::2].tolist()) for n in (0, 1)]
    ten, theirs = judged["imagenette"]
    both, labels = torch.cat([halves[1].pixels, ten]), halves[1].targets + theirs.tolist()
    test = Pictures(both[:tested], labels[:tested])
    train = Photos(paths, [order.index(path.parent.name) for path in paths], varied)
    return {"train": train, "validation": halves[0], "test": test, "classes": order}


def imagenet_untrained(root: str, tested: int, size: int = 224) -> dict[str, Pictures]:
    """Where nothing is trained: centre crops of one image of each class, and all 1,150 validation images, shuffled."""
    folder = Path(root)
    shown, judged = one_of_each(folder), imagenet(folder).values()
    pixels, labels = torch.cat([one.pixels for one in judged]), torch.cat([one.labels for one in judged])
    some = torch.randperm(len(labels), generator=torch.Generator().manual_seed(1))[:tested]
    return {
        "train": Pictures(_resized(shown.pixels, size), shown.labels.tolist()),
        "test": Pictures(_resized(pixels[some], size), labels[some].tolist()),
    }
