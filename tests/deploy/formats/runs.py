"""Finished runs of untrained networks, one for each task: real bundles and engines, made by the stages in seconds."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from jetpress.deploy.runner.__main__ import main as runner
from jetpress.deploy.targets import find
from jetpress.pipeline.recipe.configs import BundleConfig, SourceConfig
from jetpress.pipeline.recipe.reading import Recipe, overridden
from jetpress.pipeline.recipe.resolve import resolve
from jetpress.pipeline.stages.bundle import bundle
from jetpress.pipeline.stages.export import export
from jetpress.pipeline.stages.quantize import quantize
from jetpress.pipeline.stages.source import source
from tests.benchmarks.runs import bare
from tests.test_prose import ROOT

Frames = NDArray[np.uint8]
COUNT = 6
NETWORKS = '''
import importlib.util
import torch
from torch import nn

class Classifier(nn.Module):
    def __init__(self, classes):
        super().__init__()
        self.conv, self.head = nn.Conv2d(3, 8, 3, stride=4), nn.Linear(8, classes)

    def forward(self, x):
        return self.head(torch.relu(self.conv(x)).mean((2, 3)))

def classifier(classes):
    made = Classifier(classes)
    made.head.weight.data *= 20
    return made

def recipe(name, **arguments):
    spec = importlib.util.spec_from_file_location(name, "{root}/recipes/" + name + ".py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.build(**arguments)

def detector(classes):
    """Untrained: its scores are spread, so that it finds much."""
    made = recipe("detect", classes=classes, widths=(8, 8, 16), depth=1)
    made.last.weight.data[4:] *= 400
    made.last.bias.data[4:] = -1
    return made

def segmenter(classes):
    made = recipe("segment", classes=classes, widths=(4, 8, 8), depth=1)
    made.head.weight.data *= 100
    made.head.bias.data *= 0
    return made
'''
DATA = '''
import torch

class Frames:
    """Pixels of 0 to 255, normalised as the recipe says."""
    def __init__(self, seed, config, target):
        self.seed, self.config, self.target = seed, config, target

    def __len__(self):
        return 6

    def __getitem__(self, index):
        draw = torch.Generator().manual_seed(100 * self.seed + index)
        small = torch.rand(1, 3, 9, 7, generator=draw)
        height, width = self.config.shape
        frame = (255 * torch.nn.functional.interpolate(small, (height, width))[0]).round()
        mean, std = (torch.tensor(row).view(3, 1, 1) for row in (self.config.mean, self.config.std))
        return (frame / 255 - mean) / std, self.target(index, height, width)

def splits(config, target, classes):
    return {name: Frames(n, config, target) for n, name in enumerate(("train", "validation", "test"))} | {
        "classes": classes}

def named(config):
    return splits(config, lambda index, h, w: index % 3, ["cat", "dog", "owl"])

def boxes(config):
    target = {"boxes": torch.tensor([[2.0, 2, 9, 9]]), "labels": torch.tensor([1]), "crowd": torch.tensor([False])}
    return splits(config, lambda index, h, w: target, [*"0123"])

def masks(config):
    return splits(config, lambda index, h, w: torch.zeros(h, w, dtype=torch.long), [*"01234"])
'''
TASKS = {
    "classification": ("classifier", {"classes": 3}, "named"),
    "detection": ("detector", {"classes": 4}, "boxes"),
    "segmentation": ("segmenter", {"classes": 5}, "masks"),
}
GREY = ["data.mean=[0.5,0.5,0.5]", "data.std=[0.5,0.5,0.5]"]


def a_run(folder: Path, task: str, target: str = "host", *settings: str, engine: bool = True) -> Path:
    """A finished run's folder."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "networks.py").write_text(NETWORKS.replace("{root}", str(ROOT)))
    (folder / "data.py").write_text(DATA)
    builder, arguments, data = TASKS[task]
    table: dict[str, Any] = {
        "name": task,
        "model": {"builder": f"{folder}/networks.py:{builder}", "arguments": arguments},
        "task": {"kind": task},
        "data": {
            "source": f"{folder}/data.py:{data}",
            "size": [48, 64],
            "sample_images": COUNT,
            "fit": "letterbox",
        },
        "prune": {"ratio": 0.0},
    }
    for setting in settings:
        overridden(table, setting)
    recipe = resolve(Recipe.parse(table), find(target)).recipe
    run = folder / "runs" / f"{task}-{target}-0123abcd"
    packing = BundleConfig(recipe.name, find(target), recipe.build, recipe.benchmark, 0, alone=True)
    network = source(SourceConfig(recipe.model, recipe.data, task=recipe.task), _draft(folder, "source"))
    file = dense = export(recipe.export, network, _draft(folder, "export"))
    if recipe.build.precision == "int8":
        quick = replace(recipe.quantize, images=COUNT, sensitivity_images=COUNT, mixed=False, method="max")
        file = quantize(quick, network, dense, _draft(folder, "int8"))
    bundle(packing, network, file, dense, _draft(run, "bundle"))
    if engine and target == "host":
        assert runner(["build", "--bundle", str(run / "bundle"), "--out", str(run / "engine")]) == 0
    (run / "report.json").write_text(json.dumps(bare()))
    return run


def _draft(folder: Path, name: str) -> Path:
    place = folder / name
    place.mkdir(parents=True)
    return place


def frames(run: Path) -> Frames:
    """The bundle's samples as the pixels that they came from, ``[n, height, width, 3]``."""
    plan = json.loads((run / "bundle" / "plan.json").read_text())
    image = plan["image"]
    array = np.load(run / "bundle" / "samples" / f"{image['input']}.npy")
    if image["layout"] == "nhwc":
        return np.asarray(array)
    light = array.transpose(0, 2, 3, 1) * np.float32(image["std"]) + np.float32(image["mean"])
    return np.asarray((light * image["scale"]).round(), np.uint8)


def as_files(run: Path, folder: Path) -> str:
    """The same as PNG files; their pattern."""
    folder.mkdir()
    for number, frame in enumerate(frames(run)):
        Image.fromarray(frame).save(folder / f"{number:04}.png")
    return str(folder / "%04d.png")


def inferred(run: Path, out: Path) -> Path:
    """What `runner.pyz infer` leaves."""
    words = ["infer", "--bundle", str(run / "bundle"), "--engines", str(run / "engine"), "--out", str(out)]
    assert runner(words) == 0
    return out
