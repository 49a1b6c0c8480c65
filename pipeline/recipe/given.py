"""What is said of an ONNX file that is given: its shapes, and how its inputs come about. Imports no torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

TABLES = ("task", "export", "quantize", "equivalence", "build", "benchmark", "budget")
"""Tables of a recipe that mean something where there is no network to train."""
Sizes = tuple[int, ...]
Colour = Literal["rgb", "bgr"]
Fit = Literal["stretch", "crop", "letterbox", "letterbox-corner"]
COLOURS: tuple[Colour, ...] = ("rgb", "bgr")
FITS: tuple[Fit, ...] = ("stretch", "crop", "letterbox", "letterbox-corner")
LIGHT = 255.0


@dataclass(frozen=True)
class Sizing:
    """The shapes of one input: least, the one that is measured, largest; all alike where it is fixed."""

    min: Sizes
    opt: Sizes
    max: Sizes


@dataclass(frozen=True)
class Pixels:
    """How an image becomes an input ``[batch, channels, height, width]``: ``(pixel / scale - mean) / std``."""

    mean: tuple[float, ...] = (0.0,)
    """Per channel, in the file's order of colours; one for all."""
    std: tuple[float, ...] = (1.0,)
    """The same."""
    scale: float = LIGHT
    """What a pixel, 0 to 255, is divided by."""
    colour: Colour = "rgb"
    """Order of the channels: ``rgb`` or ``bgr``."""
    fit: Fit = "stretch"
    """``stretch`` to the input's size; ``crop`` its middle; ``letterbox``: whole, on grey (114), in the middle or in
    the corner at the top left."""

    def __str__(self) -> str:
        return f"{self.colour.upper()}, {self.fit}, (pixel / {self.scale:g} - {_row(self.mean)}) / {_row(self.std)}"


def _row(values: Sequence[float]) -> str:
    return ", ".join(f"{value:g}" for value in values) if len(set(values)) > 1 else f"{values[0]:g}"


@dataclass(frozen=True)
class Calibration:
    """Inputs that ranges are found on, and that the file is held against itself with."""

    source: str = ""
    """A folder of images, an ``.npz`` with arrays by the names of inputs, ``file.py:function``; empty: noise."""
    digest: str = ""
    pixels: Pixels = Pixels()
    count: int = 16
    """Samples at most."""
