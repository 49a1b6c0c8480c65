"""Which data: ``[data]``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field

from jetpress.pipeline.recipe.sections.fields import AtLeastOne, Count, Positive, Section

Augment = Literal["none", "shift", "flip-crop", "resized-crop", "randaugment", "jitter", "mosaic"]


@dataclass(frozen=True)
class DataConfig(Section):
    """Which data, and how an image becomes a tensor."""

    source: str = "digits"
    """``digits`` (ships with scikit-learn), ``cifar10``, ``cifar100``, ``imagefolder``, ``yolo`` (data.yaml
    and label files), ``coco`` (JSON), ``voc`` (Pascal VOC's XML), ``masks`` (a folder of images and one of masks),
    ``pairs`` (a folder of images and one of what is to be made of them: depth, clean or larger images), ``csv`` (a
    column of paths, columns of values), or ``path/to/file.py:function`` returning ``{"train": dataset, "validation":
    dataset, "test": dataset}``; it is given ``root`` and ``config`` if it takes them. docs/data.md."""
    root: str | None = None
    """Folder of the data: torchvision's layout for CIFAR; for ``imagefolder`` ``train/CLASS/*.jpg`` and
    ``val/CLASS/*.jpg`` (and ``test/``, if there is one; without it ``val/`` is the test split and validation images
    are cut off ``train/``), or just ``CLASS/*.jpg``, of which both are cut off. Of the other
    formats: docs/data.md. Relative to the recipe."""
    download: bool = False
    """Let torchvision download CIFAR into ``root``."""
    size: AtLeastOne | tuple[AtLeastOne, AtLeastOne] = 32
    """Pixels that the network sees: one number for a square, or ``[height, width]``."""
    fit: Literal["crop", "letterbox", "stretch"] | None = None
    """How an image comes to ``size``. ``crop``: its middle; ``letterbox``: whole, with a grey border; ``stretch``:
    both sides scaled by themselves. None: ``letterbox`` where the target is places in the image, otherwise ``crop``."""
    mean: Annotated[tuple[float, ...], Field(min_length=1)] = (0.485, 0.456, 0.406)
    """Per channel, subtracted after scaling to 0..1 (default: ImageNet's). As many as the network sees channels: 1 is
    grey, 3 RGB, 4 RGBA (alpha may be depth); more are read from ``.npy`` files."""
    std: Annotated[tuple[Positive, ...], Field(min_length=1)] = (0.229, 0.224, 0.225)
    """Per channel, divided by (default: ImageNet's)."""
    augment: Augment = "none"
    """Training only; boxes, masks and points follow. ``shift``: up to 1/8 of the size; ``flip-crop``: CIFAR's;
    ``resized-crop``: ImageNet's; ``randaugment``: flip-crop and two random operations; ``jitter``: mirrored, scaled by
    0.5 to 1.5, moved, colours varied; ``mosaic``: four images in one, then ``jitter``, as YOLO is trained."""
    crop: Annotated[float, Field(gt=0, le=1)] = 0.875
    """With ``fit = "crop"``: share of the short side that the centre crop keeps where no random crop is taken."""
    void: Annotated[int, Field(ge=0, le=65535)] = 255
    """``masks``: the value of pixels that are neither learnt nor judged."""
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
    loss: str | None = None
    """``path/to/file.py:function(outputs, target)`` or ``function(model, outputs, target)``: a scalar tensor, or a dict
    of such that are added up. None: the network's own method ``loss(outputs, target)``, otherwise the task's
    (``classification``: ``cross_entropy`` of the first output)."""
    metric: str | None = None
    """``path/to/file.py:function(outputs, target)`` giving the points of each sample (a tensor of batch length, 0 to
    100, higher is better), or a class with ``update(outputs, target)`` and ``compute()``, as torchmetrics has them: a
    figure over the whole data set. None: the task's own, see docs/tasks.md."""

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width."""
        return (self.size, self.size) if isinstance(self.size, int) else self.size
