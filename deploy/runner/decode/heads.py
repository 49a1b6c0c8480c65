"""What detectors give, by the kind of their head: how raw outputs become every box and the scores of every class.

Each record says where the numbers are and what they mean; `clean` reads them in numpy, and the pipeline writes the same
as nodes of a graph. The layouts are the published ones:

    clean      boxes [n, anchors, 4] and scores [n, classes, anchors]: what detectors of our own give, and torchvision's
    yolov5     [n, anchors, 5 + classes]: also YOLOv7; https://github.com/ultralytics/yolov5
    yolov8     [n, 4 + classes, anchors]: also YOLOv9 and YOLO11; https://docs.ultralytics.com. Of those that find
               points, too: [n, 4 + classes + points * 3, anchors], x, y and how sure it is (or 2: x and y) of each
    yolov10    [n, detections, 6]: one box for each object (Wang et al., 2024)
    yolox      [n, anchors, 5 + classes]: relative to cells (Ge et al., 2021)
    detr       logits [n, queries, classes + 1] and boxes [n, queries, 4]: of the image's size (Carion et al., 2020)
"""

from typing import Dict, List, NamedTuple, Sequence, Tuple

import numpy as np

from ..interface.tensors import Array
from ..system.failures import BundleError


class Head(NamedTuple):
    """How raw outputs are to be read. Single outputs have four numbers for the box in front, then the scores."""

    outputs: Tuple[str, ...] = ("whole",)
    """The first outputs of the network, in order: `whole`, or `boxes` and `scores`."""
    classes_first: bool = False
    """`[n, numbers, anchors]` (of two outputs the scores alone) instead of `[n, anchors, numbers]`."""
    corners: bool = False
    """Boxes are x1, y1, x2, y2 instead of centre, width, height."""
    strides: Tuple[int, ...] = ()
    """Pixels of a cell, level by level: boxes are relative to their cell, their extent a logarithm. Empty: they are
    not."""
    shares: bool = False
    """Boxes are shares of the image's width and height instead of pixels."""
    scores: str = "each"
    """`each`: of every class; `object`: how likely there is an object, then of every class if there is; `softmax`:
    logits of every class and of none; `label`: one score and the number of its class."""
    suppressed: bool = True
    """Several boxes may be of one object."""


CLEAN = Head(outputs=("boxes", "scores"), classes_first=True, corners=True)
HEADS: Dict[str, Head] = {
    "ours": CLEAN,
    "torchvision": CLEAN,
    "yolov5": Head(scores="object"),
    "yolov8": Head(classes_first=True),
    "yolov10": Head(corners=True, scores="label", suppressed=False),
    "yolox": Head(strides=(8, 16, 32), scores="object"),
    "detr": Head(outputs=("scores", "boxes"), shares=True, scores="softmax", suppressed=False),
}


def clean(
    outputs: Sequence[Array], head: Head, size: Sequence[int], classes: int, points: Sequence[int] = ()
) -> Tuple[Array, Array]:
    """Boxes `[n, anchors, 4]` (x1, y1, x2, y2 in pixels of the network's input) and scores `[n, classes, anchors]`.

    Args:
        outputs: those of the network that the head names, in its order.
        head: its kind.
        size: height and width of the network's input.
        classes: how many there are, where a box has one label.
        points: how many an object has, and numbers of each; empty: none.
    """
    known = sizes_of([one.shape for one in outputs], head, classes, points)[1]
    boxes, scores = _parts(outputs, head)
    if points:
        scores = scores[..., :known]
    if head.strides:
        cells, steps = grid(head.strides, size)
        if boxes.shape[1] != len(cells):
            raise BundleError(
                "%d boxes, and %d x %d pixels have %d cells of %s"
                % (boxes.shape[1], size[0], size[1], len(cells), ", ".join(map(str, head.strides)))
            )
        boxes = np.concatenate([(boxes[..., :2] + cells) * steps, np.exp(boxes[..., 2:]) * steps], axis=-1)
    if head.shares:
        boxes = boxes * np.array([size[1], size[0]] * 2, boxes.dtype)
    if not head.corners:
        centre, half = boxes[..., :2], boxes[..., 2:] / 2
        boxes = np.concatenate([centre - half, centre + half], axis=-1)
    return boxes, _of_classes(scores, head, classes)


def points_in(outputs: Sequence[Array], head: Head, points: Sequence[int]) -> Array:
    """Points `[n, anchors, points, 3]`: x and y in pixels of the network's input, and how sure it is (1: not said)."""
    count, each = points
    numbers = _parts(outputs, head)[1][..., -count * each :]
    found = numbers.reshape(numbers.shape[:2] + (count, each))
    return found if each == 3 else np.concatenate([found, np.ones_like(found[..., :1])], axis=-1)


def sizes_of(
    shapes: Sequence[Sequence[int]], head: Head, classes: int, points: Sequence[int] = ()
) -> Tuple[int, int, int]:
    """Images, classes and anchors, from the shapes of the outputs.

    Raises:
        BundleError: they are not those of this head.
    """
    at = head.outputs.index("scores") if "scores" in head.outputs else 0
    if len(shapes) < len(head.outputs) or any(len(shape) != 3 for shape in shapes):
        raise BundleError(
            "a head with %s has %d outputs of three axes, here are %s"
            % (" and ".join(head.outputs), len(head.outputs), ", ".join(str(list(one)) for one in shapes))
        )
    images, anchors, numbers = shapes[at]
    if head.classes_first:
        anchors, numbers = numbers, anchors
    if len(head.outputs) > 1 and list(shapes[1 - at][1:]) != [anchors, 4]:
        raise BundleError("boxes have shape %s, scores %s" % (list(shapes[1 - at]), list(shapes[at])))
    if head.scores == "label" and numbers != 6:
        raise BundleError("shape %s has not six numbers: four of a box, score, class" % list(shapes[at]))
    numbers -= 4 * (at == 0 and len(head.outputs) == 1) + (head.scores in ("object", "softmax"))
    numbers -= points[0] * points[1] if points else 0
    if numbers < 1:
        raise BundleError("shape %s has no room for scores" % list(shapes[at]))
    return images, classes if head.scores == "label" else numbers, anchors


def _parts(outputs: Sequence[Array], head: Head) -> Tuple[Array, Array]:
    """Boxes `[n, anchors, 4]`, and what is said of classes `[n, anchors, numbers]`."""
    named = {name: outputs[place] for place, name in enumerate(head.outputs)}
    flipped = "whole" if "whole" in named else "scores"
    if head.classes_first:
        named[flipped] = named[flipped].transpose(0, 2, 1)
    if flipped == "scores":
        return named["boxes"], named["scores"]
    return named["whole"][..., :4], named["whole"][..., 4:]


def _of_classes(scores: Array, head: Head, classes: int) -> Array:
    """`[n, classes, anchors]`, 0 to 1."""
    if head.scores == "object":
        scores = scores[..., :1] * scores[..., 1:]
    elif head.scores == "softmax":
        raised = np.exp(scores - scores.max(axis=-1, keepdims=True))
        scores = (raised / raised.sum(axis=-1, keepdims=True))[..., :-1]
    elif head.scores == "label":
        scores = scores[..., :1] * (scores[..., 1:] == np.arange(classes, dtype=scores.dtype))
    return scores.transpose(0, 2, 1)


def grid(strides: Sequence[int], size: Sequence[int]) -> Tuple[Array, Array]:
    """Column and row of every cell `[anchors, 2]`, level by level, row by row, and its side `[anchors, 1]`."""
    cells: List[Array] = []
    steps: List[Array] = []
    for stride in strides:
        rows, columns = size[0] // stride, size[1] // stride
        y, x = np.mgrid[:rows, :columns]
        cells.append(np.stack([x, y], axis=-1).reshape(-1, 2))
        steps.append(np.full((rows * columns, 1), stride))
    return np.concatenate(cells).astype(np.float32), np.concatenate(steps).astype(np.float32)
