"""TASKS: one frozen record for each thing that a network can be for. To add one: a file here, and a record.

The recipe knows their names (``task.kind``) without importing this: it reads the keys from the source.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from torch import nn

from jetpress.pipeline.graph.ends import DETECTIONS, SEARCHED
from jetpress.pipeline.graph.suppress import LABELS, raw
from jetpress.pipeline.network.heads import first_output
from jetpress.pipeline.recipe.sections.data import DataConfig
from jetpress.pipeline.recipe.sections.fields import is_file_reference
from jetpress.pipeline.recipe.sections.task import TaskConfig
from jetpress.pipeline.tasks import (
    classification,
    custom,
    detection,
    detection_metric,
    imitation,
    keypoints,
    multilabel,
    pose,
    regression,
    segmentation,
)
from jetpress.pipeline.tasks.task import Decoded, Task, nothing_found

DETECTION = Task(
    loss=detection.no_loss,
    metrics={"map": detection_metric.mean_ap, "map50": detection_metric.mean_ap50},
    guessing={"map": nothing_found, "map50": nothing_found},
    places=True,
    counted=detection.counted,
    imitation=imitation.dense,
    scores=detection.scores_output,
    outputs=detection.OUTPUTS,
    check_network=detection.check_network,
    check_outputs=detection.check_outputs,
    found=detection_metric.as_targets,
    draw=detection.draw,
)
TASKS: dict[str, Task] = {
    "classification": Task(
        loss=classification.cross_entropy,
        loss_name="cross_entropy",
        metrics={
            "top1": classification.accuracy,
            "top5": classification.top5,
            "macro_f1": classification.macro_f1,
        },
        class_scores=True,
        counted=first_output,
        imitation=imitation.classes,
        check_labels=classification.check_labels,
        check_outputs=classification.check_outputs,
        guessing={"top1": classification.guessing},
        draw=classification.draw,
    ),
    "multilabel": Task(
        loss=multilabel.binary_cross_entropy,
        loss_name="binary_cross_entropy",
        metrics={"f1": multilabel.f1, "right_labels": multilabel.right_labels},
        guessing={"f1": nothing_found},
        counted=first_output,
        check_outputs=multilabel.check_outputs,
        draw=multilabel.draw,
    ),
    "detection": DETECTION,
    "pose": replace(
        DETECTION,
        metrics={"oks_map": pose.mean_ap, "oks_map50": pose.mean_ap50, "map": detection_metric.mean_ap},
        guessing={"oks_map": nothing_found, "oks_map50": nothing_found, "map": nothing_found},
        found=pose.as_targets,
        draw=pose.draw,
    ),
    "segmentation": Task(
        loss=segmentation.cross_entropy,
        loss_name="cross_entropy",
        metrics={"miou": segmentation.miou, "dice": segmentation.dice, "pixels": segmentation.pixels},
        guessing={"miou": nothing_found, "dice": nothing_found},
        places=True,
        class_scores=True,
        counted=first_output,
        imitation=imitation.classes,
        check_outputs=segmentation.check_outputs,
        found=segmentation.as_targets,
        draw=segmentation.draw,
    ),
    "regression": Task(
        loss=regression.smooth_l1,
        loss_name="smooth_l1",
        metrics={"mae": regression.mae, "rmse": regression.rmse, "psnr": regression.psnr},
        counted=first_output,
        imitation=imitation.lengths,
        check_outputs=regression.check_outputs,
        draw=regression.draw,
    ),
    "keypoints": Task(
        loss=keypoints.distance,
        loss_name="distance",
        metrics={"pck": keypoints.pck, "oks": keypoints.oks},
        places=True,
        check_outputs=keypoints.check_outputs,
        draw=keypoints.draw,
    ),
    "custom": Task(
        loss=custom.no_loss,
        metrics={"top1": classification.accuracy},
        guessing={"top1": classification.guessing},
    ),
}
DECODED: tuple[Decoded, ...] = (
    Decoded(
        name=DETECTIONS,
        asked=SEARCHED,
        raw=raw,
        outputs=(*detection.OUTPUTS, LABELS),
        held=detection.search,
        found_again=detection.found_again,
    ),
)
"""How a graph may end beside scores, classes and shares of classes. Apart from the tasks: what is close enough to be
the same detection is no reason to train again."""
FORMATS = {
    "yolo": "detection",
    "coco": "detection",
    "voc": "detection",
    "masks": "segmentation",
    "pairs": "regression",
    "csv": "regression",
}
"""Formats of data whose targets say what the network is for."""


def decided(task: TaskConfig, data: DataConfig, module: nn.Module | None = None) -> str:
    """The kind that the recipe gives; otherwise what data, loss and network say."""
    if task.kind is not None:
        return task.kind
    if task.head is not None or (module is not None and detection.is_detector(module)):
        return "detection"
    if data.source in FORMATS:
        return FORMATS[data.source]
    return "custom" if is_file_reference(data.loss) else "classification"


def task_of(task: TaskConfig) -> Task:
    """The record of what a network is for; its kind is decided."""
    return TASKS[task.kind or "classification"]


def decoded_as(output: str) -> Decoded | None:
    """How a graph with this ``export.output`` is decoded; None where it ends with the network's own outputs."""
    return next((one for one in DECODED if output in one.asked), None)


def decoded_by(outputs: Sequence[str]) -> Decoded | None:
    """The same, of an engine with these outputs."""
    return next((one for one in DECODED if one.outputs == tuple(outputs)), None)
