"""The packaged Python example on photographs, against `infer` on the samples that the pipeline prepares of them.

::

    python -m studies.packages detector.onnx photographs --head yolox --colour bgr --scale 1 --fit letterbox-corner

The same photographs once more as other programs prepare them (OpenCV's filters, a black border): how many of the
detections stay, so that the packages' notes on what differs have a number. Needs OpenCV.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from jetpress.deploy.formats import package
from jetpress.deploy.runner.__main__ import main as runner
from jetpress.deploy.runner.system.files import digest
from jetpress.deploy.targets import find
from jetpress.pipeline.data import feeds
from jetpress.pipeline.data.given import file_digest
from jetpress.pipeline.recipe.configs import BundleConfig, GivenConfig, LowerConfig
from jetpress.pipeline.recipe.given import Calibration
from jetpress.pipeline.recipe.onnx_run import pixels
from jetpress.pipeline.recipe.sections.device import BenchmarkConfig, BuildConfig
from jetpress.pipeline.recipe.sections.export import ExportConfig
from jetpress.pipeline.recipe.sections.task import TaskConfig
from jetpress.pipeline.stages.bundle import bundle
from jetpress.pipeline.stages.given import given
from jetpress.pipeline.stages.lower import lower
from jetpress.pipeline.stages.samples import samples

Array = NDArray[Any]
Found = Mapping[str, Any]
WIDE = 1280
"""Pixels of a camera's rows."""
SURE = 0.3
"""Detections with a lower score are not compared: those at the threshold come and go."""


def a_run(root: Path, options: argparse.Namespace) -> Path:
    """The folder of a run of the file, by its stages: no benchmark is needed here."""
    told = pixels(options.mean, options.std, options.scale, options.colour, options.fit)
    task = TaskConfig(head=options.head)

    def draft(name: str) -> Path:
        (root / name).mkdir(parents=True)
        return root / name

    path = Path(options.model).resolve()
    file = given(GivenConfig(str(path), file_digest(path)), draft("given"))
    some = samples(Calibration(pixels=told), file, draft("samples"))
    made = lower(
        LowerConfig(ExportConfig(opset=17, ir_version=8, lower=(), int64_io=True), told, task),
        file,
        draft("low"),
    )
    packing = BundleConfig(
        "study",
        find("host"),
        BuildConfig(precision="fp32"),
        BenchmarkConfig(threads=1),
        0,
        alone=True,
        pixels=told,
    )
    bundle(packing, some, made, made, draft("run/bundle"))
    return root / "run"


def with_samples(place: Path, batch: Array) -> None:
    """Other samples in a bundle, whole inputs ``[samples, 1, ...]``, and its manifest."""
    plan = json.loads((place / "plan.json").read_text())
    file = place / "samples" / f"{plan['inputs'][0]['name']}.npy"
    np.save(file, batch[:, None], allow_pickle=False)
    manifest = json.loads((place / "manifest.json").read_text())
    sha256, size = digest(str(file))
    manifest["files"][f"samples/{file.name}"] = {"sha256": sha256, "size": size}
    (place / "manifest.json").write_text(json.dumps(manifest))


def inferred(run: Path, batch: Array, out: Path) -> list[Found]:
    """What the runner finds in these inputs."""
    with_samples(run / "bundle", batch)
    words = ["--bundle", str(run / "bundle"), "--engines", str(run / "engine"), "--out", str(out)]
    if runner(["infer", *words]):
        raise SystemExit("infer failed")
    rows: list[Found] = json.loads((out / "detections-compressed.json").read_text())
    return rows


def kept(one: Sequence[Found], other: Sequence[Found], score: float, iou: float) -> tuple[int, int]:
    """How many detections of ``one`` are in ``other``: same label, score and place within so much; and of how many."""
    same = total = 0
    for mine, theirs in zip(one, other, strict=True):
        for box, sure, label in zip(mine["boxes"], mine["scores"], mine["labels"], strict=True):
            if sure >= SURE:
                total += 1
                same += any(
                    label == name and abs(sure - near) <= score and overlap(box, place) >= iou
                    for place, near, name in zip(
                        theirs["boxes"], theirs["scores"], theirs["labels"], strict=True
                    )
                )
    return same, total


def overlap(one: Sequence[float], other: Sequence[float]) -> float:
    """Intersection over union of two boxes."""
    sides = [min(one[at + 2], other[at + 2]) - max(one[at], other[at]) for at in (0, 1)]
    common = max(sides[0], 0) * max(sides[1], 0)
    areas = sum((box[2] - box[0]) * (box[3] - box[1]) for box in (one, other))
    return float(common / (areas - common))


def otherwise(frame: Array, plan: Mapping[str, Any], filter: int, border: int) -> Array:  # noqa: A002
    """The input as a program with this filter and border prepares it."""
    import cv2

    image, (height, width) = plan["image"], plan["inputs"][0]["shape"][2:]
    scale = min(width / frame.shape[1], height / frame.shape[0])
    small = cv2.resize(
        frame, (round(frame.shape[1] * scale), round(frame.shape[0] * scale)), interpolation=filter
    )
    canvas = np.full((height, width, 3), border, np.uint8)
    corner = image["fit"] == "letterbox-corner"
    top, left = (0, 0) if corner else ((height - small.shape[0]) // 2, (width - small.shape[1]) // 2)
    canvas[top : top + small.shape[0], left : left + small.shape[1]] = small
    planes = canvas[..., ::-1] if image["colour"] == "bgr" else canvas
    made = (planes.astype(np.float32) / image["scale"] - np.float32(image["mean"])) / np.float32(image["std"])
    return np.ascontiguousarray(made.transpose(2, 0, 1), np.float32)


def photographs(folder: Path, count: int) -> list[Array]:
    """Of the most frequent size, enlarged to what a camera gives: a video has one size, and is shrunk."""
    files = feeds.files(folder)
    sizes = {one: Image.open(one).size for one in files}
    ((size, _),) = Counter(sizes.values()).most_common(1)
    chosen = [one for one in files if sizes[one] == size][:count]
    high = round(WIDE * size[1] / size[0])
    return [
        np.asarray(Image.open(one).convert("RGB").resize((WIDE, high), Image.Resampling.BICUBIC))
        for one in chosen
    ]


def asked() -> argparse.Namespace:
    """The command line."""
    told = argparse.ArgumentParser(description=__doc__)
    told.add_argument("model")
    told.add_argument("images", type=Path)
    told.add_argument("--frames", type=int, default=50)
    for name, value in {
        "head": "yolox",
        "colour": "rgb",
        "fit": "letterbox",
        "mean": "0",
        "std": "1",
    }.items():
        told.add_argument(f"--{name}", default=value)
    told.add_argument("--scale", type=float, default=255.0)
    return told.parse_args()


def main() -> None:
    """Run the example on the photographs, compare."""
    import cv2

    options = asked()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        run = a_run(root, options)
        runner(["build", "--bundle", str(run / "bundle"), "--out", str(run / "engine")])
        place = package(run, "python")
        plan = json.loads((run / "bundle" / "plan.json").read_text())
        frames = photographs(options.images, options.frames)
        (root / "frames").mkdir()
        for number, frame in enumerate(frames):
            Image.fromarray(frame).save(root / "frames" / f"{number:04}.png")
        pattern, lines = str(root / "frames" / "%04d.png"), root / "found.jsonl"
        subprocess.run([sys.executable, str(place / "example.py"), pattern, "--json", str(lines)], check=True)
        example = [json.loads(line) for line in lines.read_text().splitlines()]
        pixel = pixels(options.mean, options.std, options.scale, options.colour, options.fit)
        size = plan["inputs"][0]["shape"][2:]
        batch = np.stack(
            [feeds.picture(one, pixel, 3, size[0], size[1]) for one in sorted((root / "frames").iterdir())]
        )
        ours = [
            scaled(row, frame, plan)
            for row, frame in zip(inferred(run, batch, root / "out"), frames, strict=True)
        ]
        rows: list[tuple[str, Sequence[Found], float, float]] = [
            ("the packaged example", example, 1e-3, 0.99)
        ]
        ways: dict[str, Callable[[Array], Array]] = {
            "OpenCV, bilinear": lambda frame: otherwise(
                frame, plan, cv2.INTER_LINEAR, plan["image"]["border"]
            ),
            "OpenCV, by area": lambda frame: otherwise(frame, plan, cv2.INTER_AREA, plan["image"]["border"]),
            "OpenCV, bilinear, black border": lambda frame: otherwise(frame, plan, cv2.INTER_LINEAR, 0),
        }
        for name, way in ways.items():
            found = inferred(run, np.stack([way(frame) for frame in frames]), root / name.replace(" ", ""))
            rows.append(
                (name, [scaled(row, frame, plan) for row, frame in zip(found, frames, strict=True)], 1, 0.5)
            )
        for name, found_there, score, iou in rows:
            forth, back = kept(ours, found_there, score, iou), kept(found_there, ours, score, iou)
            print(
                f"{name}: {forth[0]} of {forth[1]} are there; {back[0]} of {back[1]} were in infer's",
                file=sys.stderr,
            )


def scaled(row: Found, frame: Array, plan: Mapping[str, Any]) -> Found:
    """Boxes in the frame's own pixels."""
    height, width = plan["inputs"][0]["shape"][2:]
    scale = min(width / frame.shape[1], height / frame.shape[0])
    wide, high = round(frame.shape[1] * scale), round(frame.shape[0] * scale)
    left, top = (
        (0, 0) if plan["image"]["fit"] == "letterbox-corner" else ((width - wide) // 2, (height - high) // 2)
    )
    shift, ratio = np.array([left, top] * 2), np.array([frame.shape[1] / wide, frame.shape[0] / high] * 2)
    return {**row, "boxes": ((np.array(row["boxes"]).reshape(-1, 4) - shift) * ratio).tolist()}


if __name__ == "__main__":
    main()
