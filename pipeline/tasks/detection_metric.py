"""Mean average precision as COCO has it (Lin et al., 2014), by pycocotools.

What an image shows is pycocotools' own evaluation of it: which detections of which class match which boxes, at ten
overlaps. Images do not depend on each other until all are put together.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import torch
from torch import Tensor

from jetpress.deploy.errors import RecipeError
from jetpress.deploy.runner.decode.detections import Detected, detections
from jetpress.pipeline.graph.session import Array
from jetpress.pipeline.network.models import outputs_of
from jetpress.pipeline.store.facts.onnx_file import DetectionRules
from jetpress.pipeline.tasks.metric import Metric, Parts, Setting

MOST = 100
"""Detections of an image that count, by COCO's rule."""
EVERYTHING = [[0.0, 1e10]]
"""Areas in square pixels: those of COCO mean nothing in the network's pixels."""
LIKELY = 0.4
"""Score from which on a detection is drawn."""
OUTPUTS = ("boxes", "scores", "labels")
Seen = Mapping[int, Mapping[str, Any]]
"""Class -> pycocotools' evaluation of one image, for the classes that are in it."""


def mean_ap(setting: Setting) -> Metric:
    """Mean over classes and over the overlaps 0.50 to 0.95."""
    return averaged("mAP", setting, slice(None), _judged)


def mean_ap50(setting: Setting) -> Metric:
    """At an overlap of a half."""
    return averaged("mAP50", setting, slice(0, 1), _judged)


def _judged(outputs: object, target: Any, rules: DetectionRules | None) -> list[Seen]:
    return [image(*pair) for pair in zip(found_in(outputs, rules), wanted_in(target), strict=True)]


def averaged(
    name: str,
    setting: Setting,
    overlaps: slice,
    judged: Callable[[object, Any, DetectionRules | None], list[Seen]],
) -> Metric:
    """Mean over classes and over some of the ten overlaps of what was judged, image by image."""
    rules = setting.rules()

    def shown(outputs: object, target: Any) -> list[Seen]:
        return judged(outputs, target, rules)

    def parts(seen: Sequence[Seen]) -> Parts:
        each = average_precision(seen)[:, overlaps].mean(1)
        names = setting.classes
        return {
            names[k] if k < len(names) else str(k): float(p)
            for k, p in zip(classes_in(seen), each, strict=True)
        }

    def total(seen: Sequence[Seen]) -> float:
        each = average_precision(seen)[:, overlaps]
        return float(each.mean()) if each.size else 0.0

    return Metric(name, shown, total, parts)


def found_in(outputs: object, rules: DetectionRules | None) -> list[Detected]:
    """Detections of each image, labels counted from 0.

    Raises:
        RecipeError: the network does not say how its outputs become detections.
    """
    if isinstance(outputs, Mapping) and "labels" in outputs:  # of a graph with the suppression in it
        return [_real(one, rules.first_label if rules else 0) for one in _arrays(outputs, *OUTPUTS)]
    if rules is None:
        raise RecipeError(
            "the network does not say how its outputs become boxes",
            "set task.head, or give it a method rules(shape): docs/detection.md",
        )
    given = outputs_of(outputs)
    read = {name: one.detach().float().cpu().numpy() for name, one in zip(rules.reads, given, strict=False)}
    return [(b, s, labels - rules.first_label) for b, s, labels in detections(read, asdict(rules))]


def as_targets(outputs: object, setting: Setting) -> list[dict[str, Tensor]]:
    """Detections of each image that are likely, with their ``scores``."""
    found = []
    for boxes, scores, labels in found_in(outputs, setting.rules()):
        likely = scores >= LIKELY
        parts = {"boxes": boxes[likely], "labels": labels[likely], "scores": scores[likely]}
        found.append({name: torch.from_numpy(part) for name, part in parts.items()})
    return found


def _arrays(values: Mapping[str, Tensor], *names: str) -> Iterator[tuple[Array, ...]]:
    """Of each image."""
    return zip(*(values[name].detach().cpu().numpy() for name in names), strict=True)


def _real(one: tuple[Array, ...], first: int) -> Detected:
    """Boxes, scores and labels without what fills up."""
    boxes, scores, labels = one
    there = scores > 0
    return boxes[there], scores[there], labels[there] - first


def wanted_in(target: Mapping[str, Tensor]) -> list[tuple[Array, Array, Array]]:
    """Boxes ``[k, 4]``, labels ``[k]`` and whether they are crowds ``[k]`` of each image, without the padding."""
    return [
        (boxes[labels >= 0], labels[labels >= 0], crowd[labels >= 0])
        for boxes, labels, crowd in _arrays(target, "boxes", "labels", "crowd")
    ]


def image(found: Detected, wanted: tuple[Array, Array, Array]) -> Seen:
    """pycocotools' evaluation of one image."""
    from pycocotools.cocoeval import COCOeval

    judge = COCOeval(iouType="bbox")
    for number, (box, label, crowd) in enumerate(zip(*wanted, strict=True), 1):
        judge._gts[0, int(label)].append(  # noqa: SLF001  without a whole COCO data set around each image
            {**_as_coco(number, box), "iscrowd": int(crowd), "ignore": int(crowd)}
        )
    for number, (box, score, label) in enumerate(zip(*found, strict=True), 1):
        judge._dts[0, int(label)].append({**_as_coco(number, box), "score": float(score)})  # noqa: SLF001
    labels = sorted({int(one) for one in (*wanted[1], *found[2])})
    judge.params.maxDets = [MOST]
    judge.ious = {(0, label): judge.computeIoU(0, label) for label in labels}
    return {label: judge.evaluateImg(0, label, EVERYTHING[0], MOST) for label in labels}


def _as_coco(number: int, box: Array) -> dict[str, Any]:
    x1, y1, x2, y2 = (float(side) for side in box)
    return {"id": number, "bbox": [x1, y1, x2 - x1, y2 - y1], "area": (x2 - x1) * (y2 - y1)}


def classes_in(seen: Sequence[Seen]) -> list[int]:
    """Those that have boxes to be found: the others have no average precision."""
    return sorted({k for one in seen for k, judged in one.items() if not np.all(judged["gtIgnore"])})


def average_precision(seen: Sequence[Seen]) -> Array:
    """``[classes, 10]``, in percent, of the classes in :func:`classes_in`."""
    from pycocotools.cocoeval import COCOeval

    labels = classes_in(seen)
    judge = COCOeval(iouType="bbox")
    judge.params.maxDets, judge.params.areaRng, judge.params.areaRngLbl = [MOST], EVERYTHING, ["all"]
    judge.params.imgIds, judge.params.catIds = list(range(len(seen))), labels
    judge._paramsEval = judge.params  # noqa: SLF001
    judge.evalImgs = [one.get(label) for label in labels for one in seen]
    with contextlib.redirect_stdout(io.StringIO()):  # it tells what it does
        judge.accumulate()
    precision: Array = judge.eval["precision"][:, :, :, 0, 0]  # overlaps, recalls, classes
    each: Array = 100 * precision.mean(1).T
    return each
