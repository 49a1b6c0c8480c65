"""From a detector's raw outputs to detections: threshold, best candidates, non-maximum suppression.

The engine gives every box and its scores, as its head has them (`heads`); how many of them mean something depends on
the image, so this comes after it, on the CPU. It is torchvision's own post-processing (`postprocess_detections` of
RetinaNet, FCOS and SSD) in numpy alone, by the rules in the bundle's plan. In a program of one's own, with `runner.pyz`
on `sys.path`:

    from runner.decode.detections import detections
    for boxes, scores, labels in detections(outputs, plan["detection"]): ...
"""

from typing import Any, Iterator, List, Mapping, NamedTuple, Tuple

import numpy as np

from ..interface.tensors import Array
from ..system.failures import BundleError
from .heads import HEADS, clean, points_in

Detected = Tuple[Array, Array, Array]
Posed = Tuple[Array, Array, Array, Array]


class Rules(NamedTuple):
    """How detections are chosen; see docs/detection.md."""

    score: float
    iou: float
    candidates: int
    detections: int
    first_label: int
    levels: List[int]  # anchors of each; empty: candidates are of each class
    head: str  # of HEADS
    reads: List[str]  # the outputs that it reads, in its order
    size: List[int]  # height and width of the network's input
    classes: int  # how many there are
    points: List[int]  # how many an object has, and numbers of each; empty: none


def detections(outputs: Mapping[str, Array], rules: Mapping[str, object]) -> List[Detected]:
    """For each image its boxes `[n, 4]`, scores `[n]` and labels `[n]`, best first.

    Boxes are x1, y1, x2, y2 in pixels of the network's input.

    Args:
        outputs: of the engine, by their names.
        rules: those of the bundle's plan, see `Rules`.
    """
    return [one[:3] for one in poses(outputs, rules)]


def poses(outputs: Mapping[str, Array], rules: Mapping[str, object]) -> List[Posed]:
    """The same, and points `[n, points, 3]`: x, y, how sure it is. Without points in the rules there are none."""
    known = read_rules(rules)
    missing = [name for name in known.reads if name not in outputs]
    if missing:
        raise BundleError("the plan asks for detections, and there is no output %s" % " and ".join(missing))
    read = [outputs[name] for name in known.reads]
    boxes, scores = clean(read, HEADS[known.head], known.size, known.classes, known.points)
    points = np.zeros(boxes.shape[:2] + (0, 3), boxes.dtype)
    if known.points:
        points = points_in(read, HEADS[known.head], known.points)
    return [_of_image(boxes[at], scores[at], points[at], known) for at in range(len(boxes))]


def in_common(one: Mapping[str, Array], other: Mapping[str, Array], score: float, pixels: float) -> float:
    """The share of detections that two searches in the same images have in common, 0 to 1.

    Args:
        one: `boxes` [images, n, 4], `scores` [images, n] (0: nothing is there) and `labels` [images, n].
        other: the same of the other search.
        score: by how much the scores of two that are the same may differ.
        pixels: and by how much a side of their boxes.
    """
    shares = []
    for at in range(len(one["scores"])):
        first, second = (
            tuple(side[name][at][side["scores"][at] > 0] for name in ("boxes", "scores", "labels"))
            for side in (one, other)
        )
        shares += [_among(first, second, score, pixels), _among(second, first, score, pixels)]
    return float(np.mean(shares))


def _among(some: Tuple[Array, ...], others: Tuple[Array, ...], score: float, pixels: float) -> float:
    """Share of detections that are among the others: same label, score and box within so much."""
    if not len(some[1]):
        return 1.0
    near = np.abs(some[0][:, None] - others[0]).max(-1, initial=0) < pixels
    same = (some[2][:, None] == others[2]) & (np.abs(some[1][:, None] - others[1]) < score)
    return float((near & same).any(1).mean())


def read_rules(rules: Mapping[str, object]) -> Rules:
    """The rules of a plan. Raises BundleError where one is missing or is no number."""
    levels = rules.get("levels") or []
    if not isinstance(levels, (list, tuple)) or not all(isinstance(count, int) for count in levels):
        raise BundleError("plan.json: detection.levels must be whole numbers")
    head = rules.get("head", "ours")
    if head not in HEADS:
        raise BundleError("plan.json: detection.head is %r, this runner knows %s" % (head, ", ".join(HEADS)))
    return Rules(
        score=_number(rules, "score"),
        iou=_number(rules, "iou"),
        candidates=int(_number(rules, "candidates")),
        detections=int(_number(rules, "detections")),
        first_label=int(_number(rules, "first_label")),
        levels=list(levels),
        head=str(head),
        reads=_list(rules, "reads") or ["boxes", "scores"],
        size=_list(rules, "size"),
        classes=int(_number({"classes": 0, **rules}, "classes")),
        points=_list(rules, "points"),
    )


def _list(rules: Mapping[str, object], name: str) -> List[Any]:
    value = rules.get(name) or []
    if not isinstance(value, (list, tuple)):
        raise BundleError("plan.json: detection.%s must be a list" % name)
    return list(value)


def _number(rules: Mapping[str, object], name: str) -> float:
    value = rules.get(name)
    if not isinstance(value, (int, float)):
        raise BundleError("plan.json: detection.%s must be a number" % name)
    return value


def _of_image(boxes: Array, scores: Array, points: Array, rules: Rules) -> Posed:
    parts = list(_candidates(scores, rules))
    classes, anchors = [np.concatenate([part[place] for part in parts]) for place in (0, 1)]
    boxes, scores = boxes[anchors], scores[classes, anchors]
    kept = [
        members[suppress(boxes[members], scores[members], rules.iou)]
        for members in (np.flatnonzero(classes == label) for label in np.unique(classes))
    ]
    chosen = np.concatenate(kept) if kept else np.zeros(0, np.int64)
    chosen = chosen[_descending(scores[chosen])][: rules.detections]
    return boxes[chosen], scores[chosen], classes[chosen] + rules.first_label, points[anchors[chosen]]


def _candidates(scores: Array, rules: Rules) -> Iterator[Tuple[Array, Array]]:
    """Classes and anchors of the best above the threshold: of each level, or of each class."""
    if rules.levels:
        first = 0
        for count in rules.levels:
            level = scores[:, first : first + count].T  # as torchvision has it: all classes of an anchor
            anchors, classes = np.divmod(_best(level.reshape(-1), rules), level.shape[1])
            yield classes, anchors + first
            first += count
    else:
        for number, row in enumerate(scores):
            anchors = _best(row, rules)
            yield np.full(len(anchors), number, np.int64), anchors


def _best(scores: Array, rules: Rules) -> Array:
    above = np.flatnonzero(scores > rules.score)
    return above[_descending(scores[above])][: rules.candidates]


def suppress(boxes: Array, scores: Array, iou: float) -> Array:
    """Which boxes stay, best first: each removes those that overlap it by more than `iou` and score less."""
    left, kept = _descending(scores), []
    areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    while len(left):
        best, left = left[0], left[1:]
        kept.append(best)
        sides = np.minimum(boxes[best, 2:], boxes[left, 2:]) - np.maximum(boxes[best, :2], boxes[left, :2])
        common = np.prod(np.maximum(sides, 0), axis=1)
        with np.errstate(invalid="ignore"):  # two boxes without area: 0 / 0 is no overlap
            left = left[~(common / (areas[best] + areas[left] - common) > iou)]
    return np.array(kept, np.int64)


def _descending(scores: Array) -> Array:
    return np.argsort(-scores, kind="mergesort")  # the stable one, also in numpy 1.13
