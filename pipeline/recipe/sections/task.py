"""What the network is for: ``[task]``."""

from __future__ import annotations

from dataclasses import dataclass

from jetpress.pipeline.recipe.sections.fields import Section
from jetpress.pipeline.recipe.sections.known import TaskName


@dataclass(frozen=True)
class TaskConfig(Section):
    """What the network is for: it decides how targets are read, the loss, the figure that is reported."""

    kind: TaskName | None = None
    """None: ``detection`` where the network says how its boxes become detections (docs/detection.md) or the data has
    boxes, ``segmentation`` where it has masks, ``regression`` where it has values, ``custom`` where ``data.loss`` is a
    function, otherwise ``classification``."""
    classes: tuple[str, ...] = ()
    """Names of the classes, in the order of the network's scores. Empty: those of the data."""


UNDECIDED = TaskConfig()
"""Everything is left open."""
