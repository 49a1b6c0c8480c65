"""What the network is for: ``[task]``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field

from jetpress.pipeline.recipe.sections.fields import AtLeastOne, Section, Share
from jetpress.pipeline.recipe.sections.known import TaskName

Head = Literal["ours", "torchvision", "yolov5", "yolov8", "yolov10", "yolox", "detr"]


@dataclass(frozen=True)
class TaskConfig(Section):
    """What the network is for: it decides how targets are read, the loss, the figure that is reported."""

    kind: TaskName | None = None
    """None: ``detection`` where the network says how its boxes become detections (docs/detection.md) or the data has
    boxes, ``segmentation`` where it has masks, ``regression`` where it has values, ``custom`` where ``data.loss`` is a
    function, otherwise ``classification``."""
    classes: tuple[str, ...] = ()
    """Names of the classes, in the order of the network's scores. Empty: those of the data."""
    head: Head | None = None
    """How a detector's outputs are to be read: docs/detection.md has the layouts. Outputs that the head does not read
    are left out of the file. None: the network says it by its method ``rules``."""
    score: Share | None = None
    """Detections with a lower score are dropped. None: what the network says, or 0.01."""
    iou: Annotated[float, Field(gt=0, le=1)] | None = None
    """Of two boxes of one class that overlap more than this, the one with the lower score is dropped. None: what the
    network says, or 0.65; 1 where the head has one box for each object."""
    points: tuple[AtLeastOne, Annotated[int, Field(ge=2, le=3)]] | None = None
    """Of ``pose``: how many points an object has, and the numbers that the network gives of each: 2 for x and y, 3 with
    how sure it is. They follow its scores; ``kpt_shape`` in Ultralytics' files."""
    detections: AtLeastOne | None = None
    """The most that are kept for one image. None: what the network says, or 100."""


UNDECIDED = TaskConfig()
"""Everything is left open."""
