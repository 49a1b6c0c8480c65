"""Formats of data, a file each: what lies in a folder -> images, and what is marked in them."""

from __future__ import annotations

from collections.abc import Callable

from jetpress.pipeline.data.formats import coco, masks, table, voc, yolo
from jetpress.pipeline.data.marks import Marked
from jetpress.pipeline.recipe.sections.data import DataConfig
from jetpress.pipeline.recipe.sections.task import TaskConfig

FORMATS: dict[str, Callable[[DataConfig, TaskConfig], Marked]] = {
    "yolo": yolo.read,
    "coco": coco.read,
    "voc": voc.read,
    "masks": masks.read,
    "csv": table.read,
}
