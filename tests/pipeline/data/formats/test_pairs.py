"""Images and what is to be made of them: from files to loss and figure."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from jetpress.deploy.errors import RecipeError
from jetpress.pipeline.data.loading import load
from jetpress.pipeline.recipe.sections.data import DataConfig
from jetpress.pipeline.recipe.sections.task import TaskConfig
from jetpress.pipeline.tasks import TASKS
from jetpress.pipeline.tasks.metric import Setting
from tests.pipeline.data.formats import small

WIDTH, HEIGHT = small.SIZE
KIND = TaskConfig(kind="regression")


def scene(folder: Path, times: int = 1, suffix: str = "png") -> Path:
    """Six images; the target of a pixel is its red, enlarged."""
    rng = np.random.default_rng(0)
    for split, count in (("train", 6), ("val", 2)):
        for kind in ("images", "targets"):
            (folder / split / kind).mkdir(parents=True)
        for number in range(count):
            pixels = rng.integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
            Image.fromarray(pixels).save(folder / split / "images" / f"{number}.png")
            red = pixels[..., 0].repeat(times, 0).repeat(times, 1)
            path = folder / split / "targets" / f"{number}.{suffix}"
            if suffix == "npy":
                numbers = red.astype(np.float32)
                numbers[0, 0] = np.nan
                np.save(path, numbers)
            else:
                Image.fromarray(red).save(path)
    return folder


def config(root: Path, **more: object) -> DataConfig:
    plain = {
        "mean": (0.0,) * 3,
        "std": (1.0,) * 3,
        "size": (HEIGHT, WIDTH),
        "batch_size": 2,
        "fit": "stretch",
    }
    return DataConfig(source="pairs", root=str(root), **{**plain, **more})  # type: ignore[arg-type]


@pytest.mark.parametrize("augment", ["none", "flip-crop", "jitter"])
def test_targets_follow_their_images(tmp_path: Path, augment: str) -> None:
    """Wherever the image is, its target is the red of it; where the image is border, nothing is known."""
    data = load(config(scene(tmp_path), augment=augment), 0, KIND)
    (images,), target = data.train.batch([0, 1, 2, 3], 7)
    assert target.shape == (4, 1, HEIGHT, WIDTH)
    known = target.isfinite()
    assert known.float().mean() > 0.2
    assert known.all() == (augment == "none")
    if augment != "jitter":  # which varies the colours of the image alone
        assert torch.allclose(images[:, :1][known], target[known], atol=1e-6)


def test_a_target_may_be_larger(tmp_path: Path) -> None:
    root = scene(tmp_path, times=2)
    data = load(config(root), 0, KIND)
    (images,), target = data.train.batch([0], None)
    assert target.shape == (1, 1, 2 * HEIGHT, 2 * WIDTH)
    assert torch.allclose(torch.nn.functional.interpolate(images[:, :1], scale_factor=2.0), target, atol=1e-6)
    with pytest.raises(RecipeError, match="targets are larger than their images"):
        load(config(root, augment="jitter"), 0, KIND).train.batch([0], 1)


def test_numbers_and_holes(tmp_path: Path) -> None:
    """Of arrays the numbers themselves; NaN is neither learnt nor judged."""
    data = load(config(scene(tmp_path, suffix="npy")), 0, KIND)
    (images,), target = data.test.batch([0, 1], None)
    assert target.isnan().sum() == 2
    task, guess = TASKS["regression"], 255 * images[:, :1] + 3
    assert task.loss(guess, target, 0.0).item() == pytest.approx(2.5, abs=1e-4)
    metric = task.metrics["mae"](Setting())
    assert metric.total(metric.shown(guess, target)) == pytest.approx(-3, abs=1e-4)
    metric = task.metrics["psnr"](Setting())
    assert metric.total(metric.shown(guess / 255, target / 255)) == pytest.approx(20 * np.log10(85), abs=1e-3)


def test_what_does_not_fit_is_told(tmp_path: Path) -> None:
    root = scene(tmp_path)
    Image.new("L", (WIDTH + 1, HEIGHT)).save(root / "train" / "targets" / "0.png")
    Image.new("RGB", (WIDTH, HEIGHT)).save(root / "train" / "targets" / "2.png")
    (root / "train" / "targets" / "3.png").unlink()
    with pytest.raises(RecipeError) as caught:
        load(config(root), 0, KIND)
    for words in ("is 41 x 20, its image 40 x 20", "has no target in", "channels and 1 times the size"):
        assert words in caught.value.what
    with pytest.raises(RecipeError, match="holds no images and targets"):
        load(config(tmp_path / "nothing"), 0, KIND)
