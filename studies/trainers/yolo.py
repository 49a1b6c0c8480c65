"""Ultralytics' own trainer between jetpress's pruning and its export, by a recipe and by the library: blood cells.

``python -m studies.trainers.yolo PYTHON BCCD FOLDER [EPOCHS [AGAIN [WEIGHTS]]]``: PYTHON is of an environment that has
Ultralytics (AGPL: it is neither imported here nor depended upon) beside what jetpress needs; BCCD a folder in COCO's
layout; FOLDER where the user's files and the runs are written. Its trainer trains for EPOCHS, jetpress prunes, its
trainer trains AGAIN epochs. WEIGHTS is an ONNX file of YOLOv8n with BatchNorm folded; without it weights begin at
random; with it a twin, dense, is trained for EPOCHS + AGAIN. The mAP of all is jetpress's, on the test split.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TRAINER = """
from ultralytics import YOLO
from ultralytics.models.yolo.detect import DetectionTrainer

def build():
    return YOLO("start.pt").model

def train(module, epochs, folder):
    trainer = DetectionTrainer(overrides=dict(OPTIONS, epochs=epochs, project=str(folder)))
    trainer.model = module
    trainer.train()
    return trainer.ema.ema
"""
"""What the user writes for ``trainer``; ``OPTIONS`` are Ultralytics' own, ``start.pt`` is a checkpoint of its."""
RECIPE = """
name = "NAME"
model = { builder = "yolo.py:build", weights = "plain.pt" }
task = { kind = "detection", head = "yolov8" }
data = { source = "yolo", root = "data.yaml", size = SIZE, mean = [0, 0, 0], std = [1, 1, 1], batch_size = 8 }
train = { trainer = "yolo.py:train", epochs = EPOCHS }
prune = { macs = SHARE, rounds = 1, scope = "measured" }
finetune = { trainer = "yolo.py:train", epochs = AGAIN }
budget = { accuracy_drop = 100 }
"""
LIBRARY = """
import torch, jetpress
from ultralytics import YOLO
from ultralytics.models.yolo.detect import DetectionTrainer

slim = jetpress.prune(YOLO("start.pt").model, torch.rand(1, 3, SIZE, SIZE), macs=0.3)
print(slim.summary().splitlines()[0])
trainer = DetectionTrainer(overrides=dict(OPTIONS, epochs=1))
trainer.model = slim.module
trainer.train()
print(jetpress.export(trainer.ema.ema, torch.rand(2, 3, SIZE, SIZE), "yolov8n.onnx", target="orin-nano"))
"""
START = """
import sys, torch
from pathlib import Path
from ultralytics.nn.tasks import DetectionModel
from jetpress.pipeline.data.loading import batches, load
from jetpress.pipeline.pruning.norms import settle
from jetpress.pipeline.recipe.sections.data import DataConfig
from jetpress.pipeline.sparse.walking import traced
from studies.trainers import folded

torch.manual_seed(0)
net = DetectionModel("yolov8n.yaml", nc=3, verbose=False)
if len(sys.argv) > 1:
    trained = DetectionModel("yolov8n.yaml", nc=80, verbose=False).eval()
    assert not folded.load(trained, Path(sys.argv[1]))
    data = load(DataConfig("yolo", root="data.yaml", size=SIZE, mean=(0.0,) * 3, std=(1.0,) * 3, batch_size=16), 0)
    shown = [one for one, _ in batches(data.train, None)]
    settle(traced(trained, shown), shown)
    net.load(trained)  # what fits: the layers of the classes are new, and their BatchNorm normalises
torch.save({"model": net}, "start.pt")
torch.save(net.state_dict(), "plain.pt")
"""
"""Not the user's: the checkpoint that is begun with, and its weights without code."""
SIZE = 160


def in_yolos_layout(bccd: Path, place: Path) -> None:
    """``data.yaml``, ``images/`` (links) and ``labels/``: both read the same."""
    for split in ("train", "val", "test"):
        told = json.loads((bccd / f"{split}.json").read_text())
        images, labels = place / "images" / split, place / "labels" / split
        for folder in (images, labels):
            folder.mkdir(parents=True, exist_ok=True)
        known = {image["id"]: image for image in told["images"]}
        lines: dict[int, list[str]] = {number: [] for number in known}
        for one in told["annotations"]:
            (x, y, w, h), image = one["bbox"], known[one["image_id"]]
            middle = ((x + w / 2) / image["width"], (y + h / 2) / image["height"])
            shares = (*middle, w / image["width"], h / image["height"])
            lines[image["id"]].append(
                f"{one['category_id'] - 1} {' '.join(f'{share:.6f}' for share in shares)}"
            )
        for number, image in known.items():
            link = images / Path(image["file_name"]).name
            if not link.exists():
                link.symlink_to(bccd / image["file_name"])
            (labels / link.with_suffix(".txt").name).write_text("\n".join(lines[number]))
    (place / "data.yaml").write_text(
        f"path: {place}\ntrain: images/train\nval: images/val\ntest: images/test\nnames: [RBC, WBC, Platelets]\n"
    )


def main(
    python: str, bccd: str, folder: str, epochs: str = "10", again: str = "5", weights: str | None = None
) -> None:
    """Both ways, and how many lines the user wrote."""
    place = Path(folder).resolve()
    place.mkdir(parents=True, exist_ok=True)
    in_yolos_layout(Path(bccd).resolve(), place)
    options = {
        "model": "yolov8n.yaml", "data": str(place / "data.yaml"), "imgsz": SIZE, "batch": 8, "workers": 0,
        "device": "cpu", "val": False, "plots": False, "save": False, "amp": False, "verbose": False,
        "close_mosaic": 3, "cache": True,
    }  # fmt: skip
    head = f"OPTIONS = {options!r}\nSIZE = {SIZE}\n"
    twin = str(int(epochs) + int(again))
    for name, text in (
        ("start.py", head + START),
        ("yolo.py", head + TRAINER),
        ("yolov8n.toml", recipe("yolov8n", epochs, "0.5", again)),
        ("twin.toml", recipe("twin", twin, "0.0", "0")),
        ("functions.py", head + LIBRARY),
    ):
        (place / name).write_text(text)
    for name, text in (("trainer and network", TRAINER), ("library", LIBRARY), ("recipe", RECIPE)):
        print(f"{name}: {sum(bool(line.strip()) for line in text.splitlines())} lines", flush=True)
    surroundings = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "YOLO_CONFIG_DIR": str(place),
        "YOLO_OFFLINE": "true",
        "JETPRESS_RUNS": str(place / "runs"),
    }
    run = ["-m", "jetpress.pipeline.cli", "run"]
    start = ["start.py", *([str(Path(weights).resolve())] if weights else [])]
    again_dense = [[*run, "twin.toml", "--target", "host"]] if weights else []
    for words in (start, [*run, "yolov8n.toml", "--target", "host"], *again_dense, ["functions.py"]):
        began = time.monotonic()
        done = subprocess.run([python, *words], cwd=place, env=surroundings, check=False)
        print(f"{' '.join(words)}: exit code {done.returncode}, {time.monotonic() - began:.0f} s", flush=True)


def recipe(name: str, epochs: str, share: str, again: str) -> str:
    """The user's, for these."""
    text = RECIPE.replace("NAME", name).replace("SIZE", str(SIZE)).replace("SHARE", share)
    return text.replace("EPOCHS", epochs).replace("AGAIN", again)


if __name__ == "__main__":
    main(*sys.argv[1:])
