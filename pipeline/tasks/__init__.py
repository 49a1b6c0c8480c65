"""TASKS: one frozen record for each thing that a network can be for. To add one: a file here, and a record.

The recipe knows their names (``data.task``) without importing this: it reads the keys from the source.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from jetpress.pipeline.graph.ends import DETECTIONS
from jetpress.pipeline.graph.suppress import LABELS, RAW
from jetpress.pipeline.recipe.sections.data import DataConfig
from jetpress.pipeline.recipe.sections.fields import is_file_reference
from jetpress.pipeline.tasks import classification, custom, detection
from jetpress.pipeline.tasks.task import Decoded, Task

TASKS: dict[str, Task] = {
    "classification": Task(
        loss=classification.cross_entropy,
        loss_name="cross_entropy",
        metric=classification.top1,
        class_scores=True,
        check_labels=classification.check_labels,
        check_outputs=classification.check_outputs,
        guessing=classification.guessing,
    ),
    "detection": Task(
        loss=detection.no_loss,
        metric=classification.top1,
        scores=detection.SCORES,
        outputs=detection.OUTPUTS,
        check_network=detection.check_network,
    ),
    "custom": Task(loss=custom.no_loss, metric=classification.top1, guessing=classification.guessing),
}
DECODED: tuple[Decoded, ...] = (
    Decoded(
        name=DETECTIONS,
        raw=RAW,
        outputs=(*detection.OUTPUTS, LABELS),
        held=detection.search,
        found_again=detection.found_again,
    ),
)
"""How a graph may end beside scores, classes and shares of classes. Apart from the tasks: what is close enough to be
the same detection is no reason to train again."""


def name_of(data: DataConfig, module: nn.Module | None = None) -> str:
    """What the recipe says; otherwise what its loss says, and the network where it is known."""
    if data.task is not None:
        return data.task
    if module is not None and detection.is_detector(module):
        return "detection"
    return "custom" if is_file_reference(data.loss) else "classification"


def task_of(data: DataConfig) -> Task:
    """The record of what a network for ``data`` is for."""
    return TASKS[name_of(data)]


def decoded_as(output: str) -> Decoded | None:
    """How a graph with this ``export.output`` is decoded; None where it ends with the network's own outputs."""
    return next((one for one in DECODED if one.name == output), None)


def decoded_by(outputs: Sequence[str]) -> Decoded | None:
    """The same, of an engine with these outputs."""
    return next((one for one in DECODED if one.outputs == tuple(outputs)), None)
