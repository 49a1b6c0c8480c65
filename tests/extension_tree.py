"""A copy of the tree that an extension is written into, and a user's small network, data and recipe beside it."""

from __future__ import annotations

import difflib
import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
COPIED = ("jetpress", "pipeline", "deploy", "benchmarks", "recipes", "tests/probes")

NETWORK = '''
import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import nn


def build(outputs=10):
    return nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 3, padding=1, bias=False), nn.BatchNorm2d(32), nn.ReLU(),
        nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(128, outputs),
    )


class Traits:
    """Of a digit: is it even, is it above four, does it have a hole?"""

    def __init__(self, part):
        found = load_digits()
        self.images = np.repeat(found.images[part, None].astype("float32") / 16, 3, 1)
        self.traits = np.stack([found.target % 2 == 0, found.target > 4, np.isin(found.target, [0, 6, 8, 9])], 1)
        self.traits = self.traits[part].astype("float32")

    def __len__(self):
        return len(self.images)

    def __getitem__(self, i):
        return torch.from_numpy(self.images[i]), torch.from_numpy(self.traits[i])


def traits():
    return {"train": Traits(slice(0, 1200)), "validation": Traits(slice(1200, 1500)), "test": Traits(slice(1500, None))}
'''

RECIPE = """
name = "small"
model = { builder = "net.py:build" }
data = { source = "digits", size = 8, batch_size = 64, sample_images = 16, calibration_images = 8 }
train = { epochs = 1, learning_rate = 0.1, precision = "float32" }
prune = { ratio = 0 }
equivalence = { edge_cases = false }
budget = { accuracy_drop = 100 }
"""

STEPS = """
from pathlib import Path
import jetpress
assert Path(jetpress.__file__).is_relative_to(Path.cwd().parent / "tree"), jetpress.__file__
from jetpress.pipeline.recipe.reading import Recipe
from jetpress.pipeline.recipe.resolve import resolve
from jetpress.pipeline.recipe.configs import BundleConfig, SensitivityConfig, SourceConfig
from jetpress.deploy.targets import TARGETS, find

def stage(function, config, *inputs):
    (draft := Path(f"{function.__name__}-{len(list(Path().iterdir()))}")).mkdir()
    return function(config, *inputs, draft)
"""


@dataclass
class Tree:
    """A copy of ours, and a folder beside it where a user works."""

    root: Path

    def new(self, path: str, text: str) -> None:
        """A file of its own."""
        assert not (self.root / path).exists()
        (self.root / path).write_text(text)

    def insert(self, path: str, before: str, text: str) -> None:
        """New lines before a line."""
        lines = (self.root / path).read_text().splitlines(keepends=True)
        at = lines.index(f"{before}\n")
        (self.root / path).write_text("".join([*lines[:at], text, *lines[at:]]))

    def changed(self) -> dict[str, int]:
        """Files that are not as in our tree -> in how many blocks of lines; a new file is one."""
        found = {}
        for path in sorted(self.root.rglob("*")):
            name = path.relative_to(self.root)
            if path.is_file() and "__pycache__" not in name.parts:
                old = (ROOT / name).read_bytes().splitlines() if (ROOT / name).exists() else []
                blocks = difflib.SequenceMatcher(None, old, path.read_bytes().splitlines(), autojunk=False)
                if count := sum(block[0] != "equal" for block in blocks.get_opcodes()):
                    found[str(name)] = count
        return found

    def python(self, code: str) -> Any:
        """What the code says, in a process that knows the copy alone; its last line is JSON."""
        return json.loads(self.run(sys.executable, "-c", STEPS + code).strip().splitlines()[-1])

    def run(self, *command: object, codes: tuple[int, ...] = (0,)) -> str:
        """A command in the user's folder, which ends with one of these codes; its output."""
        user = self.root.parent / "user"
        user.mkdir(exist_ok=True)
        (user / "net.py").write_text(NETWORK)
        (user / "recipe.toml").write_text(RECIPE)
        known = {"PYTHONPATH": str(self.root), "OMP_NUM_THREADS": "1", "JETPRESS_RUNS": str(user / "runs")}
        words = list(map(str, command))
        done = subprocess.run(words, cwd=user, env=os.environ | known, capture_output=True, text=True)
        assert done.returncode in codes, done.stderr
        return done.stdout


def copied(place: Path) -> Tree:
    """The tree as it is, with its links and what Python compiled of it: a file that is changed is compiled anew."""
    for name in COPIED:
        shutil.copytree(ROOT / name, place / name, symlinks=True)
    return Tree(place)
