"""Ultralytics' own trainer between jetpress's pruning and its export, by a recipe and by the library.

``python -m studies.trainers.yolo PYTHON DATA FOLDER``: PYTHON is of an environment that has Ultralytics (AGPL: it is
neither imported here nor depended upon) beside what jetpress needs; DATA a folder in YOLO's layout, with
``images/train2017`` and ``images/val2017``; FOLDER where the user's files and the runs are written. Weights begin at
random and epochs are few: what is shown is that the pieces fit, not an accuracy.
"""

from __future__ import annotations

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
        self.net = DetectionModel("yolov8n.yaml", nc=80, verbose=False)
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
DATA = """
from pathlib import Path
import torch
from PIL import Image
from torch.utils.data import Dataset
from torchvision.ops import box_iou, nms
from torchvision.transforms.functional import pil_to_tensor

class Photos(Dataset):
    def __init__(self, name):
        self.files = sorted((Path(ROOT) / "images" / name).glob("*.jpg"))
    def __len__(self):
        return len(self.files)
    def __getitem__(self, number):
        file = self.files[number]
        image = pil_to_tensor(Image.open(file).convert("RGB").resize((SIZE, SIZE))).float() / 255
        target = torch.full((100, 5), -1.0)
        labels = Path(str(file).replace("images", "labels")).with_suffix(".txt")
        rows = [list(map(float, line.split())) for line in labels.read_text().splitlines()] if labels.exists() else []
        for row, (kind, x, y, w, h) in zip(target, rows):
            row[:] = torch.tensor([x - w / 2, y - h / 2, x + w / 2, y + h / 2, kind / SIZE]) * SIZE
        return image, target

def load():
    return {"train": Photos("train2017"), "validation": Photos("val2017")}

def found(outputs, target):
    points = []
    for out, wanted in zip(outputs, target):
        wanted = wanted[wanted[:, 4] >= 0]
        scores, kinds = out[4:].max(0)
        best = scores.topk(100).indices
        x, y, w, h = out[:4, best]
        boxes = torch.stack([x - w / 2, y - h / 2, x + w / 2, y + h / 2], 1)
        kept = nms(boxes, scores[best], 0.6)
        close = box_iou(wanted[:, :4], boxes[kept]) > 0.5
        right = close & (wanted[:, 4:] == kinds[best][kept])
        points.append(100.0 * right.any(1).float().mean() if len(wanted) else torch.tensor(100.0))
    return torch.stack(points)
"""
RECIPE = """
name = "yolov8n"
[model]
builder = "yolo.py:Yolo"
[data]
source = "photos.py:load"
metric = "photos.py:found"
task = "custom"
size = SIZE
batch_size = 8
calibration_images = 16
sample_images = 16
mean = [0.0, 0.0, 0.0]
std = [1.0, 1.0, 1.0]
[train]
trainer = "yolo.py:train"
epochs = 2
[prune]
ratio = 0.3
rounds = 1
ignore = ["net.model.22.*"]
[sparsify]
mode = "off"
[finetune]
epochs = 1
[budget]
accuracy_drop = 100.0
"""
LIBRARY = """
import torch, jetpress
from ultralytics.models.yolo.detect import DetectionTrainer
from ultralytics.nn.tasks import DetectionModel

net = DetectionModel("yolov8n.yaml", nc=80, verbose=False)  # yours: YOLO("best.pt").model
slim = jetpress.prune(net, torch.rand(1, 3, SIZE, SIZE), ratio=0.3, ignore=["model.22.*"])
print(slim.summary().splitlines()[0])
trainer = DetectionTrainer(overrides=dict(OPTIONS, epochs=1))
trainer.model = slim.module
trainer.train()
print(jetpress.export(slim.module, torch.rand(2, 3, SIZE, SIZE), "yolov8n.onnx", target="orin-nano"))
"""
SIZE = 160


def main(python: str, data: str, folder: str) -> None:
    """Both ways, and how many lines the user wrote."""
    place = Path(folder).resolve()
    place.mkdir(parents=True, exist_ok=True)
    (place / "coco.yaml").write_text(
        f"path: {Path(data).resolve()}\ntrain: images/train2017\nval: images/val2017\nnames:\n"
        + "".join(f"  {number}: c{number}\n" for number in range(80))
    )
    options = {
        "model": "yolov8n.yaml", "data": str(place / "coco.yaml"), "imgsz": SIZE, "batch": 8, "workers": 0,
        "device": "cpu", "val": False, "plots": False, "save": False, "amp": False, "verbose": False,
        "optimizer": "AdamW", "lr0": 0.001,
    }  # fmt: skip
    head = f"OPTIONS = {options!r}\nSIZE = {SIZE}\nROOT = {str(Path(data).resolve())!r}\n"
    (place / "yolo.py").write_text(head + TRAINER)
    (place / "photos.py").write_text(head + DATA)
    (place / "yolov8n.toml").write_text(RECIPE.replace("SIZE", str(SIZE)))
    (place / "functions.py").write_text(head + LIBRARY)
    for name, text in (("trainer and network", TRAINER), ("library", LIBRARY), ("data and metric", DATA)):
        print(f"{name}: {sum(bool(line.strip()) for line in text.splitlines())} lines")
    surroundings = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "YOLO_CONFIG_DIR": str(place),
        "YOLO_OFFLINE": "true",
    }
    surroundings["JETPRESS_RUNS"] = str(place / "runs")
    for words in (
        ["-m", "jetpress.pipeline.cli", "run", "yolov8n.toml", "--target", "orin-nano"],
        ["functions.py"],
    ):
        began = time.monotonic()
        done = subprocess.run([python, *words], cwd=place, env=surroundings, check=False)
        print(f"{' '.join(words)}: exit code {done.returncode}, {time.monotonic() - began:.0f} s", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
