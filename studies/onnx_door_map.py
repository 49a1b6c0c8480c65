"""mAP of YOLOX-Nano files on the 128 validation images of ``../shared/data/coco128``, by COCO's rule.

::

    python -m studies.onnx_door_map FILE.onnx [FILE.onnx ...]

Letterboxed at the top left, BGR from 0 to 255; NMS at 0.65 within a class, threshold 0.01; areas are scaled to a
longest side of 640, which the images had.
"""

from __future__ import annotations

import argparse
import contextlib
import io
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from torchvision.ops import batched_nms

from jetpress.pipeline.data.feeds import picture
from jetpress.pipeline.graph import session
from jetpress.pipeline.recipe.given import Pixels

DATA = Path(__file__).resolve().parents[2] / "shared" / "data" / "coco128"
SIDE, WHOLE = 416, 640
PIXELS = Pixels(scale=1.0, colour="bgr", fit="letterbox-corner")


def main() -> None:
    """A line for each file."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("files", nargs="+", type=Path)
    truth, sizes = ground_truth()
    for path in parser.parse_args().files:
        run = session.load(path)
        found: list[dict[str, Any]] = []
        for number, image in enumerate(images()):
            (output,) = run({"images": picture(image, PIXELS, 3, SIDE, SIDE)[None]}).values()
            found += boxes(output[0], number, sizes[number])
        with contextlib.redirect_stdout(io.StringIO()):
            judged = COCOeval(truth, truth.loadRes(found), "bbox")
            judged.evaluate()
            judged.accumulate()
            judged.summarize()
        print(f"{path}: mAP {judged.stats[0]:.4f}, mAP50 {judged.stats[1]:.4f}", flush=True)


def images() -> list[Path]:
    """In the order of their names."""
    return sorted((DATA / "images" / "val2017").glob("*.jpg"))


def ground_truth() -> tuple[COCO, list[tuple[int, int]]]:
    """COCO's record of the labels, boxes scaled to the size that the images had; width and height of each image."""
    records: dict[str, list[Any]] = {
        "images": [],
        "annotations": [],
        "categories": [{"id": n} for n in range(80)],
    }
    sizes = []
    for number, path in enumerate(images()):
        width, height = Image.open(path).size
        sizes.append((width, height))
        records["images"].append({"id": number})
        scale = WHOLE / max(width, height)
        lines = DATA / "labels" / "val2017" / f"{path.stem}.txt"
        for line in lines.read_text().splitlines() if lines.is_file() else ():
            kind, x, y, w, h = map(float, line.split()[:5])
            w, h = w * width * scale, h * height * scale
            box = [x * width * scale - w / 2, y * height * scale - h / 2, w, h]
            place = len(records["annotations"]) + 1
            more = {"area": w * h, "iscrowd": 0, "category_id": int(kind)}
            records["annotations"].append({"id": place, "image_id": number, "bbox": box, **more})
    truth = COCO()
    truth.dataset = records
    with contextlib.redirect_stdout(io.StringIO()):
        truth.createIndex()
    return truth, sizes


def boxes(output: NDArray[Any], number: int, size: tuple[int, int]) -> list[dict[str, Any]]:
    """Decoded, searched, as COCO's results."""
    grids, strides = [], []
    for step in (8, 16, 32):
        side = SIDE // step
        y, x = np.mgrid[:side, :side]
        grids.append(np.stack([x, y], -1).reshape(-1, 2))
        strides.append(np.full((side * side, 1), step))
    grid, stride = np.concatenate(grids), np.concatenate(strides)
    centre, sides = (output[:, :2] + grid) * stride, np.exp(output[:, 2:4]) * stride
    scores = output[:, 4:5] * output[:, 5:]
    where, kind = np.nonzero(scores > 0.01)
    corners = np.concatenate([centre - sides / 2, centre + sides / 2], 1)[where]
    corners *= max(size) / SIDE * WHOLE / max(size)
    sure = scores[where, kind]
    tensors = (torch.tensor(corners, dtype=torch.float32), torch.tensor(sure), torch.tensor(kind))
    kept = batched_nms(*tensors, 0.65)[:300].numpy()
    return [
        {
            "image_id": number,
            "category_id": int(kind[k]),
            "bbox": [*map(float, corners[k][:2]), *map(float, corners[k][2:] - corners[k][:2])],
            "score": float(sure[k]),
        }
        for k in kept
    ]


if __name__ == "__main__":
    main()
