"""An epoch after the first decodes nothing, and gives what it would have given."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import torch
from PIL import Image

from jetpress.pipeline.data.formats import pictures
from jetpress.pipeline.data.formats.marks import Boxes
from jetpress.pipeline.data.splits import Files, Memory
from jetpress.pipeline.recipe.sections.data import Augment, DataConfig

CONFIG = DataConfig(size=(24, 32))
KINDS = [kind for kind in get_args(Augment) if kind != "randaugment"]


def photographs(folder: Path, config: DataConfig, memory: Memory | None = None) -> Files:
    """Five, of several sizes, with a box each."""
    draw = np.random.default_rng(0)
    paths = []
    for number in range(5):
        paths.append(str(folder / f"{number}.png"))
        pixels = draw.integers(0, 255, (40 + number, 60 - number, 3), np.uint8)
        Image.fromarray(pixels).save(paths[-1])
    box = Boxes(np.array([[5, 5, 30, 30]], np.float32), np.array([1]), np.array([False]))
    return Files(
        config,
        0,
        tuple(paths),
        None,
        (box,) * 5,
        "letterbox",
        memory=memory if memory is not None else Memory(),
    )


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Paths of the images that were decoded."""
    seen: list[str] = []
    real = pictures.decoded

    def counted(path: str, channels: int) -> torch.Tensor:
        seen.append(path)
        return real(path, channels)

    monkeypatch.setattr(pictures, "decoded", counted)
    return seen


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_kept_gives_the_same_batches(kind: str, tmp_path: Path, decoded: list[str]) -> None:
    config = replace(CONFIG, augment=kind)  # type: ignore[arg-type]
    kept, fresh = photographs(tmp_path, config), photographs(tmp_path, config, Memory(0))
    numbers = list(range(5))
    for key in (1, 2, None, None):
        (one,), marks = kept.batch(numbers, key)
        (other,), wanted = fresh.batch(numbers, key)
        assert torch.equal(one, other)
        assert all(torch.equal(marks[name], wanted[name]) for name in wanted)
    assert not fresh.memory.known
    decoded.clear()
    kept.batch(numbers, 3)
    kept.subset(torch.tensor([4, 1])).batch([0, 1], None)
    assert not decoded


def test_no_more_is_kept_than_there_is_room_for(tmp_path: Path, decoded: list[str]) -> None:
    one = photographs(tmp_path, CONFIG)._begun(0, varied=False).bytes
    split = photographs(tmp_path, CONFIG, Memory(2 * one))
    split.batch(list(range(5)), None)
    decoded.clear()
    split.batch(list(range(5)), None)
    assert len(decoded) == 3


def test_processes_that_decode_keep_nothing(tmp_path: Path) -> None:
    split = photographs(tmp_path, replace(CONFIG, workers=2))
    split.batch([0], None)
    assert not split.memory.known
