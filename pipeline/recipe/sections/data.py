"""Which data: ``[data]``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field

from jetpress.pipeline.recipe.sections.fields import AtLeastOne, Count, Positive, Section
from jetpress.pipeline.recipe.sections.known import TaskName


@dataclass(frozen=True)
class DataConfig(Section):
    """Which data, and how an image becomes a tensor."""

    source: str = "digits"
    """``digits`` (ships with scikit-learn), ``cifar10``, ``cifar100``, ``imagefolder``, or
    ``path/to/file.py:function`` returning ``{"train": dataset, "validation": dataset, "test": dataset}``."""
    root: str | None = None
    """Folder of the data: torchvision's layout for CIFAR; for ``imagefolder`` ``train/CLASS/*.jpg`` and
    ``val/CLASS/*.jpg`` (and ``test/``, if there is one; without it ``val/`` is the test split and validation images
    are cut off ``train/``), or just ``CLASS/*.jpg``, of which both are cut off. Relative to the recipe."""
    download: bool = False
    """Let torchvision download CIFAR into ``root``."""
    size: AtLeastOne = 32
    """Height and width in pixels that the network sees."""
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    """Per channel, subtracted after scaling to 0..1 (default: ImageNet's)."""
    std: tuple[Positive, Positive, Positive] = (0.229, 0.224, 0.225)
    """Per channel, divided by (default: ImageNet's)."""
    augment: Literal["none", "shift", "flip-crop", "resized-crop", "randaugment"] = "none"
    """Training only. ``shift``: up to 1/8 of the size; ``flip-crop``: CIFAR's; ``resized-crop``: ImageNet's;
    ``randaugment``: flip-crop and two random operations."""
    crop: Annotated[float, Field(gt=0, le=1)] = 0.875
    """``imagefolder``: share of the short side that the centre crop keeps where no random crop is taken."""
    batch_size: AtLeastOne = 64
    """Samples in a training step."""
    workers: Count = 0
    """Processes that decode images."""
    validation_fraction: Annotated[float, Field(gt=0, lt=0.9)] = 0.15
    """Share of the training data kept for validation where the data has no split of its own."""
    test_fraction: Annotated[float, Field(gt=0, lt=0.9)] = 0.15
    """Share kept for the final figure where the data has no test split of its own."""
    calibration_images: AtLeastOne = 64
    """Training images that equivalence and calibration look at."""
    sample_images: AtLeastOne = 256
    """Test images that travel with the bundle, so that the engine's own accuracy is measured."""
    max_corrupt: Count = 0
    """How many unreadable images are left out before the run ends with an error naming them."""
    task: TaskName | None = None
    """What the network is for. None: ``detection`` where it says how its boxes become detections (docs/detection.md),
    ``custom`` where ``loss`` is a function, otherwise ``classification``."""
    loss: str | None = None
    """``path/to/file.py:function(outputs, target)``, a scalar tensor. None: the task's own (``classification``:
    ``cross_entropy`` of the first output)."""
    metric: str | None = None
    """``path/to/file.py:function(outputs, target)`` giving the points of each sample (a tensor of batch length, 0 to
    100, higher is better). None: the task's own (``classification``: ``top1`` of the first output in percent)."""
