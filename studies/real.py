"""Real trained networks and real images for the benchmarks, read from a folder that is not part of jetpress.

``weights/*.pth`` (plain state_dicts), ``cifar10/*.npz`` (JPEG bytes), ``imagenet_val650``, ``imagenette224`` and
``imagenet_calib1000`` (folders of JPEGs). What is not there is left out, and said so.
"""

from __future__ import annotations

import csv
import io
import itertools
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from jetpress.pipeline.data.splits import Images
from jetpress.pipeline.network import checkpoints, models
from jetpress.pipeline.network.models import Network
from jetpress.pipeline.recipe.sections.data import DataConfig
from jetpress.pipeline.recipe.sections.model import InputConfig, ModelConfig
from studies.resnet_cifar import resnet

IMAGENET = DataConfig(size=224, batch_size=16)
CIFAR = DataConfig(size=32, batch_size=128, augment="flip-crop")
FILES = {
    "mobilenet_v2": "imagenet_mobilenet_v2_tvV1",
    "resnet20": "cifar10_resnet20_jpegft2ep",
    "resnet56": "cifar10_resnet56",
}
"""Network -> its weights."""


def trained(data: Path) -> Iterator[tuple[str, Network]]:
    """The real weights that are there."""
    for name, file in FILES.items():
        path = data / "weights" / f"{file}.pth"
        if not path.is_file():
            print(f"{path} is not there: left out")
            continue
        network = named(name)
        checkpoints.load_weights(network.module, path)
        yield name, network


def named(name: str) -> Network:
    """A network, freshly initialised."""
    if name.startswith("resnet") and name[6:] in ("20", "32", "56"):
        inputs, data, module = (InputConfig(shape=(3, 32, 32)),), CIFAR, resnet(int(name[6:]))
    else:
        inputs, data = (InputConfig(shape=(3, 224, 224)),), IMAGENET
        module = models.build(ModelConfig(builder=f"torchvision:{name}"))
    return Network(module.eval(), ModelConfig(builder=name, inputs=inputs), data)


def imagenet(data: Path) -> dict[str, Images]:
    """650 validation images of many classes, and imagenette's validation images among all 1000 classes."""
    folder = data / "imagenet_val650"
    with (folder / "labels.csv").open() as file:
        listed = [(folder / one["path"], int(one["class_index"])) for one in csv.DictReader(file)]
    order = sorted(one.name for one in (data / "imagenet_calib1000").iterdir() if one.is_dir())
    others = [
        (path, order.index(path.parent.name))
        for path in sorted((data / "imagenette224" / "val").rglob("*.*"))
    ]
    return {
        name: Images(
            IMAGENET, 0, decoded([path for path, _ in some]), torch.tensor([label for _, label in some])
        )
        for name, some in (("val650", listed), ("imagenette", others))
    }


def one_of_each(data: Path) -> Images:
    """ImageNet training images, one of each class."""
    folders = sorted(one for one in (data / "imagenet_calib1000").iterdir() if one.is_dir())
    pixels = decoded([next(iter(sorted(one.iterdir()))) for one in folders])
    return Images(IMAGENET, 0, pixels, torch.arange(len(folders)))


def decoded(paths: list[Path]) -> Tensor:
    """Centre crops ``[n, 3, 224, 224]``, uint8."""
    arrays = []
    for path in paths:
        image = Image.open(path).convert("RGB")
        left, top = (image.width - 224) // 2, (image.height - 224) // 2
        arrays.append(np.asarray(image.crop((left, top, left + 224, top + 224))))
    return torch.from_numpy(np.stack(arrays)).permute(0, 3, 1, 2).contiguous()


def cifar(data: Path, split: str) -> Images:
    """All images of a split, from their JPEG bytes."""
    found = np.load(data / "cifar10" / f"cifar10_jpeg_{split}.npz")
    stream, ends = found["jpeg"].tobytes(), found["offsets"].tolist()
    arrays = [
        np.asarray(Image.open(io.BytesIO(stream[a:b])).convert("RGB")) for a, b in itertools.pairwise(ends)
    ]
    pixels = torch.from_numpy(np.stack(arrays)).permute(0, 3, 1, 2).contiguous()
    return Images(CIFAR, 0, pixels, torch.from_numpy(found["labels"].astype(np.int64)))
