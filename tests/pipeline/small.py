"""A user's own files, as small as they can be and still learn the digits in seconds."""

from __future__ import annotations

from pathlib import Path

from jetpress.pipeline.recipe.configs import SensitivityConfig
from jetpress.pipeline.recipe.sections.compression import PruneConfig
from jetpress.pipeline.recipe.sections.data import DataConfig
from jetpress.pipeline.recipe.sections.model import ModelConfig
from jetpress.pipeline.stages import source
from jetpress.pipeline.stages.prune import prune
from jetpress.pipeline.stages.sensitivity import sensitivity
from jetpress.pipeline.store.artifact import Checkpoint

NETWORK = '''
import torch
from torch import nn

class Tiny(nn.Module):
    def __init__(self, classes=10, width=16):
        super().__init__()
        self.conv1 = nn.Conv2d(3, width, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, 2 * width, 3, padding=1, stride=2, bias=False)
        self.bn2 = nn.BatchNorm2d(2 * width)
        self.drop = nn.Dropout(0.1)
        self.head = nn.Linear(2 * width * 4, classes)

    def forward(self, x):
        x = torch.relu(self.bn1(self.conv1(x)))
        x = torch.relu(self.bn2(self.conv2(x)))
        return self.head(self.drop(nn.functional.max_pool2d(x, 2).flatten(1)))

def build(**arguments):
    return Tiny(**arguments)

def broken():
    return Tiny(classes=7)

def plain():
    """Every sample by itself: no BatchNorm, no dropout."""
    made = Tiny()
    made.bn1, made.bn2, made.drop = nn.GroupNorm(4, 16), nn.GroupNorm(4, 32), nn.Identity()
    return made

class Pair(nn.Module):
    """Two inputs, a dict of outputs."""
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(4, 8), nn.Linear(3, 8)
        self.scores, self.size = nn.Linear(8, 2), nn.Linear(8, 1)

    def forward(self, left, right):
        hidden = torch.tanh(self.a(left) + self.b(right))
        return {"scores": self.scores(hidden), "size": self.size(hidden)}

def pair():
    return Pair()
'''

DATA = '''
import random
import numpy as np
import torch

class Sums:
    """Is the sum of seven numbers positive? Given in two parts."""
    def __init__(self, count, seed):
        values = torch.randn(count, 7, generator=torch.Generator().manual_seed(seed))
        self.values, self.targets = values, (values.sum(1) > 0).long().tolist()

    def __len__(self):
        return len(self.targets)

    def __getitem__(self, i):
        left, right = self.values[i, :4].numpy().astype("float64"), self.values[i, 4:]
        return {"left": left, "right": right}, self.targets[i]

def sums():
    return {"train": Sums(300, 0), "validation": Sums(100, 1), "test": Sums(80, 2), "classes": ["no", "yes"]}

def one_name():
    return sums() | {"classes": ["no"]}

def only_train():
    return {"train": Sums(300, 0)}

def nothing():
    return {"train": []}

def no_dict():
    return [1, 2]

class Noisy(Sums):
    def __getitem__(self, i):
        noise = torch.rand(1).item() + random.random() + np.random.rand()
        return torch.full((2,), noise), self.targets[i]

def noisy():
    return {"train": Noisy(40, 0), "validation": Noisy(9, 0), "test": Noisy(9, 0)}

class Failing(Sums):
    def __getitem__(self, i):
        if i == 3:
            raise OSError("the disk is gone")
        return torch.zeros(i % 2 + 1), self.targets[i]

class Leaving(Sums):
    def __getitem__(self, i):
        if torch.utils.data.get_worker_info() is not None:
            raise SystemExit(0)
        return super().__getitem__(i)

def leaving():
    return {"train": Leaving(40, 0), "validation": Leaving(9, 0), "test": Leaving(9, 0)}

def failing():
    return {"train": Failing(40, 0), "validation": Failing(9, 0), "test": Failing(9, 0)}

def both(outputs, target):
    return torch.nn.functional.cross_entropy(outputs["scores"], target) + outputs["size"].square().mean()

def right(outputs, target):
    return 100.0 * (outputs["scores"].argmax(1) == target)

def one_number(outputs, target):
    return (outputs.argmax(1) == target).float().mean()
'''

DIGITS = DataConfig(size=8, augment="shift", batch_size=32)


def model(folder: Path, function: str = "build", **rest: object) -> ModelConfig:
    (folder / "network.py").write_text(NETWORK)
    return ModelConfig(builder=f"{folder / 'network.py'}:{function}", **rest)  # type: ignore[arg-type]


def data(folder: Path, function: str, **rest: object) -> DataConfig:
    (folder / "data.py").write_text(DATA)
    config: dict[str, object] = {"source": f"{folder / 'data.py'}:{function}", "batch_size": 25} | rest
    return DataConfig(**config)  # type: ignore[arg-type]


def draft(folder: Path, name: str) -> Path:
    (folder / name).mkdir()
    return folder / name


def start(folder: Path, name: str = "source", **rest: object) -> Checkpoint:
    """The tiny network, untrained, for the digits."""
    config = source.SourceConfig(model(folder, **rest), DIGITS)  # type: ignore[arg-type]
    return source.source(config, draft(folder, name))


def pruned(config: PruneConfig, model: Checkpoint, folder: Path, name: str = "pruned") -> Checkpoint:
    """Judge the channels of ``model``, and prune it."""
    judged = sensitivity(SensitivityConfig.of(config), model, draft(folder, f"{name}-judged"))
    return prune(config, model, judged, draft(folder, name))
