"""What the outputs of an engine mean, image by image, by the plan: what an application would go on with."""

from typing import Any, Dict, List, Mapping, Optional

import numpy as np

from ..interface.tensors import Array
from .detections import poses

FIRST = 5  # classes of an image, best first


def meaning(outputs: Mapping[str, Array], plan: Mapping[str, Any]) -> List[Dict[str, Any]]:
    """For each image `boxes`, `scores`, `labels` and, of who finds them, `points`; or a `mask`; nothing where the plan
    does not say what it is.

    Args:
        outputs: of one run, by their names.
        plan: of the bundle.
    """
    rules, task = plan.get("detection") or {}, plan.get("task") or {}
    if rules:
        return [_detected(*found) for found in poses(outputs, rules)]
    if task.get("kind") == "detection" and {"boxes", "scores", "labels"} <= set(outputs):
        return [_searched(outputs, image) for image in range(len(outputs["scores"]))]
    first = outputs[str((plan.get("outputs") or [{"name": sorted(outputs)[0]}])[0]["name"])]
    if task.get("output") == "argmax":
        kind = "mask" if first.ndim == 3 else "labels"
        return [{kind: one if kind == "mask" else [int(one)]} for one in first]
    if first.ndim == 4:
        return [{"mask": one} for one in first.argmax(axis=1).astype(np.uint8)]
    if first.ndim == 2 and task.get("kind") in (None, "classification"):
        return [_ranked(row, task.get("output") == "softmax") for row in first.astype(np.float32)]
    return [{} for _ in range(len(first))]


def _detected(boxes: Array, scores: Array, labels: Array, points: Optional[Array] = None) -> Dict[str, Any]:
    found = {"boxes": boxes.tolist(), "scores": scores.tolist(), "labels": labels.tolist()}
    if points is not None and points.shape[1]:
        found["points"] = points.tolist()
    return found


def _searched(outputs: Mapping[str, Array], image: int) -> Dict[str, Any]:
    """The graph itself ends with the search; what is not there scores 0."""
    there = outputs["scores"][image] > 0
    return _detected(*(outputs[name][image][there] for name in ("boxes", "scores", "labels")))


def _ranked(row: Array, shares: bool) -> Dict[str, Any]:
    """The best classes and their shares."""
    if not shares:
        row = np.exp(row - row.max())
        row = row / row.sum()
    best = np.argsort(-row, kind="mergesort")[:FIRST]
    return {"labels": best.tolist(), "scores": row[best].tolist()}
