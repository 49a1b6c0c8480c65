"""Objects with points, several in an image, such as people and their joints: detection, and the points of each object.

Average precision is COCO's by the similarity of points (OKS), by pycocotools: of at most 20 detections of a class in an
image; an object's area is 0.53 of its box, as Ultralytics has it where there is no outline; objects without points are
neither right nor wrong.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import torch
from torch import Tensor

from jetpress.deploy.errors import RecipeError
from jetpress.deploy.runner.decode.detections import Posed, poses
from jetpress.pipeline.graph.session import Array
from jetpress.pipeline.network.models import outputs_of
from jetpress.pipeline.store.facts.onnx_file import DetectionRules
from jetpress.pipeline.tasks import detection
from jetpress.pipeline.tasks.detection_metric import EVERYTHING, LIKELY, Seen, averaged, wanted_in
from jetpress.pipeline.tasks.drawing import Drawn
from jetpress.pipeline.tasks.keypoints import PERSON, falloffs
from jetpress.pipeline.tasks.metric import Metric, Setting

MOST, FILLED, SURE = 20, 0.53, 0.5
"""Detections of an image, share of its box that an object fills, and from when on a point is drawn."""


def mean_ap(setting: Setting) -> Metric:
    """Mean over classes and over the similarities 0.50 to 0.95."""
    return averaged("OKS mAP", setting, slice(None), _judged)


def mean_ap50(setting: Setting) -> Metric:
    """At a similarity of a half."""
    return averaged("OKS mAP50", setting, slice(0, 1), _judged)


def found_in(outputs: object, rules: DetectionRules | None) -> list[Posed]:
    """Boxes, scores, labels from 0 and points ``[k, points, 3]`` of each image.

    Raises:
        RecipeError: the network does not say how its outputs become that.
    """
    if rules is None or not rules.points:
        raise RecipeError(
            "the network does not say how its outputs become points of objects",
            'set task.head = "yolov8" and task.points = [17, 3]: points of an object, numbers of each',
        )
    given = outputs_of(outputs)
    read = {name: one.detach().float().cpu().numpy() for name, one in zip(rules.reads, given, strict=False)}
    return [(b, s, labels - rules.first_label, p) for b, s, labels, p in poses(read, asdict(rules))]


def _judged(outputs: object, target: Mapping[str, Tensor], rules: DetectionRules | None) -> list[Seen]:
    points = target["points"].detach().cpu().numpy()
    known = target["labels"].detach().cpu().numpy() >= 0
    found, wanted = found_in(outputs, rules), wanted_in(target)
    return [image(*one, points[at][known[at]]) for at, one in enumerate(zip(found, wanted, strict=True))]


def image(found: Posed, wanted: tuple[Array, Array, Array], points: Array) -> Seen:
    """pycocotools' evaluation of one image.

    Raises:
        RecipeError: network and data have different numbers of points.
    """
    from pycocotools.cocoeval import COCOeval

    count = points.shape[1]
    if len(points) and found[3].shape[1] != count:
        raise RecipeError(
            f"the network gives {found[3].shape[1]} points of an object, the data has {count}",
            "set task.points",
        )
    judge = COCOeval(iouType="keypoints")
    names = PERSON if count == len(PERSON) else ()
    judge.params.kpt_oks_sigmas = np.broadcast_to(falloffs(names) / 2, count)
    judge.params.maxDets = [MOST]
    for number, (box, label, crowd, shape) in enumerate(zip(*wanted, points, strict=True), 1):
        there = int((shape[:, 2] > 0).sum())
        flags = {"iscrowd": int(crowd), "ignore": int(crowd or not there), "num_keypoints": there}
        judge._gts[0, int(label)].append({**_as_coco(number, box, shape), **flags})  # noqa: SLF001
    for number, (box, score, label, shape) in enumerate(zip(*found, strict=True), 1):
        one = {**_as_coco(number, box, shape), "score": float(score)}
        judge._dts[0, int(label)].append(one)  # noqa: SLF001  without a whole COCO data set around each image
    labels = sorted({int(one) for one in (*wanted[1], *found[2])})
    judge.ious = {(0, label): judge.computeOks(0, label) for label in labels}
    return {label: judge.evaluateImg(0, label, EVERYTHING[0], MOST) for label in labels}


def _as_coco(number: int, box: Array, points: Array) -> dict[str, Any]:
    x1, y1, x2, y2 = (float(side) for side in box)
    area = FILLED * (x2 - x1) * (y2 - y1)
    return {
        "id": number,
        "bbox": [x1, y1, x2 - x1, y2 - y1],
        "area": area,
        "keypoints": points.ravel().tolist(),
    }


def as_targets(outputs: object, setting: Setting) -> list[dict[str, Tensor]]:
    """Detections of each image that are likely, with their ``scores`` and ``points``."""
    found = []
    for one in found_in(outputs, setting.rules()):
        likely = one[1] >= LIKELY
        parts = zip(("boxes", "scores", "labels", "points"), one, strict=True)
        found.append({name: torch.from_numpy(part[likely]) for name, part in parts})
    return found


def draw(picture: Drawn, target: Mapping[str, Tensor], classes: Sequence[str]) -> None:
    """Each box with its class, and a dot for each point that is there."""
    detection.draw(picture, target, classes)
    for label, points in zip(target["labels"].tolist(), target["points"].tolist(), strict=True):
        for number, (x, y, there) in enumerate(points):
            if label >= 0 and there >= SURE:
                picture.point(x, y, number)
