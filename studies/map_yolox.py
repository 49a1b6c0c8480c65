"""Is our mAP COCO's? YOLOX-Nano on 128 photographs of COCO val, whose mAP is known: 0.3397, mAP50 0.4944.

    python -m studies.map_yolox ../shared/data

Once with the images where YOLOX has them (top left, as the known figure was measured), once as ``data.fit =
"letterbox"`` places them (in the middle).
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import onnx
import onnx_ir as ir
import onnxruntime
import torch
from onnx import version_converter
from torch import Tensor
from torchvision.transforms import v2

from jetpress.pipeline.data import targets
from jetpress.pipeline.data.formats import pictures
from jetpress.pipeline.data.loading import load
from jetpress.pipeline.data.placing import GREY, Sample, placed
from jetpress.pipeline.data.splits import Files
from jetpress.pipeline.graph.suppress import suppress
from jetpress.pipeline.network.detectors import of_head
from jetpress.pipeline.recipe.sections.data import DataConfig
from jetpress.pipeline.recipe.sections.model import InputConfig, ModelConfig
from jetpress.pipeline.recipe.sections.task import TaskConfig
from jetpress.pipeline.store.facts.onnx_file import DetectionRules
from jetpress.pipeline.tasks.detection_metric import mean_ap, mean_ap50
from jetpress.pipeline.tasks.metric import Result, Setting

SIDE = 416


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


def searched(path: Path, rules: DetectionRules) -> onnx.ModelProto:
    """The file with head and search as its last nodes."""
    model = ir.from_proto(version_converter.convert_version(onnx.load(path), 17))
    suppress(model, rules)
    return ir.to_proto(model)


def main(folder: Path) -> None:
    """All figures, the runner's search beside that of the graph."""
    path = folder / "weights" / "coco_yolox_nano_416.onnx"
    data = load(DataConfig(source="yolo", root=str(folder / "coco128"), size=SIDE), 0)
    assert isinstance(data.test, Files)
    plain = onnxruntime.InferenceSession(path)
    names = tuple(one.name for one in plain.get_outputs())
    task = TaskConfig(kind="detection", head="yolox", classes=data.classes, detections=300)
    rules = of_head(task, ModelConfig(inputs=(InputConfig((3, SIDE, SIDE)),), outputs=names))
    ended = onnxruntime.InferenceSession(searched(path, rules).SerializeToString())
    setting = Setting(data.classes, lambda: rules)
    metrics = (mean_ap(setting), mean_ap50(setting))
    for name, images in (("top left", as_yolox), ("in the middle", as_ours)):
        seen: dict[tuple[str, str], list[Any]] = {}
        for image, target in images(data.test):
            fed = {"images": image.flip(0)[None].float().numpy()}  # BGR, 0 to 255
            raw = [torch.from_numpy(one) for one in plain.run(None, fed)]
            found = zip(
                ("boxes", "scores", "labels"), map(torch.from_numpy, ended.run(None, fed)), strict=True
            )
            for where, outputs in (("runner", raw), ("graph", dict(found))):
                for metric in metrics:
                    seen.setdefault((where, metric.measured), []).extend(metric.shown(outputs, target))
        for (where, measured), some in seen.items():
            metric = next(one for one in metrics if one.measured == measured)
            result = Result(metric, some, metric.total(some))
            error = f"standard error {result.error:.2f}, {len(some)} images"
            print(f"{name}, {where}: {measured} {result.points:.2f}, {error}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
