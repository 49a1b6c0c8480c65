"""Ultralytics' own trainer between jetpress's pruning and its export, by a recipe and by the library: blood cells.

``python -m studies.trainers.yolo PYTHON BCCD FOLDER [EPOCHS [AGAIN]]``: PYTHON is of an environment that has
Ultralytics (AGPL: it is neither imported here nor depended upon) beside what jetpress needs; BCCD a folder in COCO's
layout; FOLDER where the user's files and the runs are written. Weights begin at random; its trainer trains for EPOCHS,
jetpress prunes, its trainer trains AGAIN epochs. The mAP of both is jetpress's, on the test split.
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
from torch import nn
from ultralytics.models.yolo.detect import DetectionTrainer
from ultralytics.nn.tasks import DetectionModel

class Yolo(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = DetectionModel("yolov8n.yaml", nc=3, verbose=False)
    def forward(self, x):
        out = self.net(x)
        return out[0] if isinstance(out, tuple) else out

def train(module, epochs, folder):
    trainer = DetectionTrainer(overrides=dict(OPTIONS, epochs=epochs, project=str(folder)))
    trainer.model = module.net
    trainer.train()
    return module
"""
"""What the user writes for ``trainer``; ``OPTIONS`` are Ultralytics' own."""
RECIPE = """
name = "yolov8n"
[model]
builder = "yolo.py:Yolo"
[task]
kind = "detection"
head = "yolov8"
[data]
source = "yolo"
root = "data.yaml"
size = SIZE
mean = [0.0, 0.0, 0.0]
std = [1.0, 1.0, 1.0]
batch_size = 8
[train]
trainer = "yolo.py:train"
epochs = EPOCHS
[prune]
macs = 0.5
rounds = 1
ignore = ["net.model.22.*"]
[sparsify]
mode = "off"
[finetune]
trainer = "yolo.py:train"
epochs = AGAIN
[budget]
accuracy_drop = 100.0
"""
LIBRARY = """
import torch, jetpress
from ultralytics.models.yolo.detect import DetectionTrainer
from ultralytics.nn.tasks import DetectionModel

net = DetectionModel("yolov8n.yaml", nc=3, verbose=False)  # yours: YOLO("best.pt").model
slim = jetpress.prune(net, torch.rand(1, 3, SIZE, SIZE), ratio=0.3, ignore=["model.22.*"])
print(slim.summary().splitlines()[0])
trainer = DetectionTrainer(overrides=dict(OPTIONS, epochs=1))
trainer.model = slim.module
trainer.train()
print(jetpress.export(slim.module, torch.rand(2, 3, SIZE, SIZE), "yolov8n.onnx", target="orin-nano"))
"""
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


def main(python: str, bccd: str, folder: str, epochs: str = "10", again: str = "5") -> None:
    """Both ways, and how many lines the user wrote."""
    place = Path(folder).resolve()
    place.mkdir(parents=True, exist_ok=True)
    in_yolos_layout(Path(bccd).resolve(), place)
    options = {
        "model": "yolov8n.yaml", "data": str(place / "data.yaml"), "imgsz": SIZE, "batch": 8, "workers": 0,
        "device": "cpu", "val": False, "plots": False, "save": False, "amp": False, "verbose": False,
        "optimizer": "AdamW", "lr0": 0.001, "close_mosaic": 3, "cache": True, "nbs": 8, "warmup_epochs": 1,
    }  # fmt: skip
    head = f"OPTIONS = {options!r}\nSIZE = {SIZE}\n"
    (place / "yolo.py").write_text(head + TRAINER)
    recipe = RECIPE.replace("SIZE", str(SIZE)).replace("EPOCHS", epochs).replace("AGAIN", again)
    (place / "yolov8n.toml").write_text(recipe)
    (place / "functions.py").write_text(head + LIBRARY)
    for name, text in (("trainer and network", TRAINER), ("library", LIBRARY), ("recipe", RECIPE)):
        print(f"{name}: {sum(bool(line.strip()) for line in text.splitlines())} lines")
    surroundings = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "YOLO_CONFIG_DIR": str(place),
        "YOLO_OFFLINE": "true",
        "JETPRESS_RUNS": str(place / "runs"),
    }
    for words in (
        ["-m", "jetpress.pipeline.cli", "run", "yolov8n.toml", "--target", "host"],
        ["functions.py"],
    ):
        began = time.monotonic()
        done = subprocess.run([python, *words], cwd=place, env=surroundings, check=False)
        print(f"{' '.join(words)}: exit code {done.returncode}, {time.monotonic() - began:.0f} s", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
