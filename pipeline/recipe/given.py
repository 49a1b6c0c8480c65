"""What the stages are told of an ONNX file that is given, and how its inputs come about. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from jetpress.pipeline.recipe.sections.compression import PruneConfig, QuantizeConfig
from jetpress.pipeline.recipe.sections.export import EquivalenceConfig, ExportConfig
from jetpress.pipeline.recipe.sections.task import UNDECIDED, TaskConfig

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
    scale: float = LIGHT
    """What a pixel, 0 to 255, is divided by."""
    colour: Colour = "rgb"
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


@dataclass(frozen=True)
class GivenConfig:
    """The file, and the shapes that it is to take."""

    path: str
    digest: str
    """Of the file and of the weights beside it."""
    shapes: Mapping[str, Sizing] = field(default_factory=dict, hash=False)


@dataclass(frozen=True)
class LowerConfig:
    """How the file is written for a target."""

    export: ExportConfig
    pixels: Pixels
    task: TaskConfig = UNDECIDED
    """The head of a detector, and how its detections are searched for."""


@dataclass(frozen=True)
class PruneFileConfig:
    """What goes from the file, by what its samples show."""

    prune: PruneConfig
    equivalence: EquivalenceConfig
    """Within this the network that is pruned is the file."""


@dataclass(frozen=True)
class SameConfig:
    """How far the file may differ from what it became."""

    equivalence: EquivalenceConfig
    pixels: Pixels


@dataclass(frozen=True)
class QuantizeFileConfig:
    """How the file is brought to eight bits."""

    quantize: QuantizeConfig
    pixels: Pixels


@dataclass(frozen=True)
class OnnxRun:
    """All that is told of a file."""

    given: GivenConfig
    calibration: Calibration
    reproduce: str
    """The command line, without the device."""
    prunes: bool = False
