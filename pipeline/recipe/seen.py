"""What was seen of data and network, for a recipe that is yet to be written; imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Mean and standard deviation that ``[data]`` has by itself."""


@dataclass(frozen=True)
class DataSeen:
    """What was seen of a data set without reading it whole."""

    source: str
    """As ``data.source``."""
    root: str | None
    """As ``data.root``: relative to the recipe."""
    classes: int
    train: int
    """Samples that there are to learn from, before missing splits are cut off."""
    test: int
    """Samples that the result is judged on, as the recipe splits them."""
    splits: str
    """Where validation and test samples come from, in words."""
    side: int | None = None
    """Median of the images' shorter sides in pixels; None: not images."""
    download: bool = False
    kind: str = "classification"
    """As ``task.kind``."""
    why_kind: str = ""
    names: tuple[str, ...] = ()
    """Of the classes, where they are known."""
    sides: tuple[int, int] | None = None
    """Median height and width of the images in pixels; None: not images, or squares."""
    marks: int = 0
    """Boxes or areas in the training images."""
    points: int = 0
    """Of an object, where several have some."""


@dataclass(frozen=True)
class NetworkSeen:
    """What was seen of a network by building it."""

    builder: str
    size: int | tuple[int, int]
    """Pixels that it will see, as ``data.size``."""
    why_size: str
    mean: tuple[float, ...] = IMAGENET[0]
    std: tuple[float, ...] = IMAGENET[1]
    weights: str | None = None
    """Relative to the recipe."""
    new: str = ""
    """The layers that the weights do not fit, in words."""
    layer_norm: bool = False
    """It normalises as transformers do, so it learns with AdamW."""
    head: str | None = None
    """As ``task.head``."""
    points: tuple[int, int] | None = None
    """As ``task.points``."""
    arguments: Mapping[str, Any] = field(default_factory=dict, hash=False)
    """As ``model.arguments``: what the builder does not do without."""
    loss: str | None = None
    """As ``data.loss``."""

    @property
    def longest(self) -> int:
        """Pixels of the longer side."""
        return self.size if isinstance(self.size, int) else max(self.size)
