"""A user's images and network, as small as they can be."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

NETWORK = """
from torch import nn

def build(num_classes=2):
    return nn.Sequential(
        nn.Conv2d(3, 32, 3, padding=1, stride=2, bias=False), nn.BatchNorm2d(32), nn.ReLU(),
        nn.Conv2d(32, 64, 3, padding=1, stride=2, bias=False), nn.BatchNorm2d(64), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, num_classes),
    )

def shapeless():
    return nn.Sequential(nn.Flatten(0), nn.LazyLinear(3))
"""
CLASSES = ("bright", "dark")


def write(folder: Path, counts: dict[str, int], side: int = 32) -> Path:
    """Bright and dark noise, ``counts`` of each class in each split; the split "" is the folder itself."""
    drawn = np.random.default_rng(0)
    for split, count in counts.items():
        for name in CLASSES:
            place = folder / split / name
            place.mkdir(parents=True, exist_ok=True)
            for number in range(count):
                pixels = drawn.integers(0, 128, (side, side, 3)) + (128 if name == "bright" else 0)
                Image.fromarray(pixels.astype("uint8")).save(place / f"{number}.png")
    return folder


def network(folder: Path) -> Path:
    """The file of a network."""
    (folder / "network.py").write_text(NETWORK)
    return folder / "network.py"
