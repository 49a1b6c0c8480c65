"""Is our mAP COCO's? YOLOX-Nano on 128 photographs of COCO val, whose mAP is known: 0.3397, mAP50 0.4944.

    python -m studies.map_yolox ../shared/data

Once with the images where YOLOX has them (top left, as the known figure was measured), once as ``data.fit =
"letterbox"`` places them (in the middle).
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch
from torch import Tensor
from torchvision.transforms import v2

from jetpress.pipeline.data import targets
from jetpress.pipeline.data.formats import pictures
from jetpress.pipeline.data.loading import load
from jetpress.pipeline.data.placing import GREY, Sample, placed
from jetpress.pipeline.data.splits import Files
from jetpress.pipeline.recipe.sections.data import DataConfig
from jetpress.pipeline.store.facts.onnx_file import DetectionRules
from jetpress.pipeline.tasks.detection_metric import mean_ap, mean_ap50
from jetpress.pipeline.tasks.metric import Result, Setting

SIDE, STRIDES = 416, (8, 16, 32)
RULES = DetectionRules(score=0.01, iou=0.65, candidates=3549, detections=300, first_label=0, levels=())


def decoded(raw: np.ndarray[Any, Any]) -> dict[str, Tensor]:
    """Boxes and scores of what the network gives ``[n, 3549, 85]``."""
    grids, steps = [], []
    for stride in STRIDES:
        count = SIDE // stride
        y, x = np.mgrid[:count, :count]
        grids.append(np.stack([x, y], -1).reshape(-1, 2))
        steps.append(np.full(count * count, stride))
    grid, step = np.concatenate(grids), np.concatenate(steps)[:, None]
    centre, extent = (raw[..., :2] + grid) * step, np.exp(raw[..., 2:4]) * step
    boxes = np.concatenate([centre - extent / 2, centre + extent / 2], -1)
    scores = (raw[..., 4:5] * raw[..., 5:]).transpose(0, 2, 1)
    return {"boxes": torch.from_numpy(boxes.astype(np.float32)), "scores": torch.from_numpy(scores)}


def as_yolox(split: Files) -> Iterator[tuple[Tensor, Any]]:
    """Images at the top left."""
    for path, mark in zip(split.paths, split.marks, strict=True):
        image = pictures.decoded(path, 3)
        height, width = image.shape[-2:]
        scale = min(SIDE / height, SIDE / width)
        sample = Sample(image, targets.wrapped(mark, height, width, 255))
        sample = sample.each(v2.functional.resize, [int(height * scale), int(width * scale)], antialias=True)
        canvas = torch.full((3, SIDE, SIDE), GREY, dtype=torch.uint8)
        canvas[:, : sample.size[0], : sample.size[1]] = sample.image
        yield canvas, targets.batched([targets.kept(sample.marks, (SIDE, SIDE))], (SIDE, SIDE))


def as_ours(split: Files) -> Iterator[tuple[Tensor, Any]]:
    """Images in the middle."""
    for path, mark in zip(split.paths, split.marks, strict=True):
        image = pictures.decoded(path, 3)
        sample = placed(
            Sample(image, targets.wrapped(mark, *targets.sizes(image), 255)), split.config, "letterbox"
        )
        yield sample.image, targets.batched([sample.marks], (SIDE, SIDE))


def main(folder: Path) -> None:
    """Both figures, both ways."""
    session = onnxruntime.InferenceSession(folder / "weights" / "coco_yolox_nano_416.onnx")
    data = load(DataConfig(source="yolo", root=str(folder / "coco128"), size=SIDE), 0)
    assert isinstance(data.test, Files)
    setting = Setting(data.classes, partial(lambda rules: rules, RULES))
    for name, images in (("top left", as_yolox), ("in the middle", as_ours)):
        for metric in (mean_ap(setting), mean_ap50(setting)):
            seen = list[Any]()
            for image, target in images(data.test):
                fed = image.flip(0)[None].float().numpy()  # BGR, 0 to 255
                seen += metric.shown(decoded(session.run(None, {"images": fed})[0]), target)
            result = Result(metric, seen, metric.total(seen))
            print(
                f"{name}: {metric.measured} {result.points:.2f}, standard error {result.error:.2f}, {len(seen)} images"
            )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
