"""What a GPU is to train, without one: recipes are recipes, the twin trains as long, the whole script runs small."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_digits

from jetpress.pipeline.recipe.reading import Recipe
from studies import gpu_training
from studies.gpu_training import PIECES, Asked
from studies.vgg_cifar import vgg16

ROOT = Path(__file__).parents[2]


def test_the_twin_trains_for_as_many_epochs_as_the_pruned_network_in_all() -> None:
    for piece in PIECES.values():
        dense, each = piece.epochs(pruned=True, epochs=30)
        assert each * piece.rounds == 30
        assert piece.epochs(pruned=False, epochs=30)[0] == dense + 30


def test_vgg_is_torchvisions_features_and_one_layer() -> None:
    network = vgg16()
    assert sum(one.numel() for one in network.parameters()) == 14_728_266
    assert network.eval()(torch.zeros(2, 3, 32, 32)).shape == (2, 10)


def test_the_recipe_asks_for_what_is_claimed(tmp_path: Path) -> None:
    asked = Asked(dense=30, each=10, small=False)
    path = tmp_path / "recipe.toml"
    path.write_text(gpu_training.written(PIECES["vgg16"], tmp_path, tmp_path, asked, pruned=True))
    recipe = Recipe.load(path)
    assert (recipe.prune.params, recipe.prune.rounds, recipe.train.epochs) == (0.92, 3, 30)
    assert recipe.finetune.distill > 0
    assert recipe.sparsify.mode == "off"
    path.write_text(gpu_training.written(PIECES["vgg16"], tmp_path, tmp_path, asked, pruned=False))
    assert Recipe.load(path).prune.ratio == 0


def test_a_piece_that_is_not_known_is_said(tmp_path: Path) -> None:
    done = subprocess.run(
        ["bash", ROOT / "studies" / "gpu.sh"],
        env=os.environ | {"PIECE": "vgg19", "OUT": str(tmp_path), "WORK": str(tmp_path / "work")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "PIECE=vgg19 is not known" in done.stdout


def _as_cifar(folder: Path) -> None:
    """The digits in CIFAR's file of JPEG bytes, as :mod:`studies.recovery_data` reads it."""
    pixels, labels = load_digits(return_X_y=True)
    folder.mkdir(parents=True)
    for name, part in (("train", slice(0, 400)), ("test", slice(400, 600))):
        stream = []
        for image in pixels[part]:
            small = Image.fromarray((image.reshape(8, 8) * 15.9).astype(np.uint8))
            small.resize((32, 32)).convert("RGB").save(held := io.BytesIO(), "JPEG")
            stream.append(held.getvalue())
        np.savez(
            folder / f"cifar10_jpeg_{name}.npz",
            jpeg=np.frombuffer(b"".join(stream), np.uint8),
            offsets=np.cumsum([0, *map(len, stream)]),
            labels=labels[part].astype(np.uint8),
            classes=np.array([str(n) for n in range(10)]),
        )


@pytest.mark.slow
def test_the_whole_script_runs_small_and_does_nothing_twice(tmp_path: Path) -> None:
    _as_cifar(tmp_path / "data" / "cifar10")
    told = {"PIECE": "vgg16", "SMALL": "1", "DATA": str(tmp_path / "data"), "PYTHON": sys.executable}

    def called(out: str, **more: str) -> str:
        env = os.environ | told | {"OUT": str(tmp_path / out), "WORK": str(tmp_path / "work")} | more
        script = ["bash", str(ROOT / "studies" / "gpu.sh")]
        return subprocess.run(script, env=env, capture_output=True, text=True, check=True).stdout

    called("first")
    found = json.loads((tmp_path / "first" / "vgg16.json").read_text())
    pruned, twin = (found[f"vgg16 {which}"]["result"] for which in ("pruned", "twin"))
    assert pruned["compressed"]["parameters"] <= 0.09 * pruned["dense"]["parameters"]
    assert twin["dense"]["parameters"] == pruned["dense"]["parameters"]
    assert twin["epochs"]["dense"] == 4
    again = called("second", EARLIER=str(tmp_path / "first" / "vgg16.json"))
    assert "vgg16 pruned: known" in again
    assert "vgg16 twin: known" in again
