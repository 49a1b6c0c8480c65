"""Samples in memory, as arrays or as a loader gives them, come to the file one by one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

from jetpress.deploy.errors import RecipeError
from jetpress.pipeline.data.feeds import samples
from jetpress.pipeline.data.given import given_samples
from jetpress.pipeline.recipe.given import Pixels
from jetpress.pipeline.store.facts.onnx_file import TensorSpec

IMAGES = torch.arange(10 * 12, dtype=torch.float32).reshape(10, 3, 2, 2)
LABELLED = TensorDataset(IMAGES, torch.arange(10))


@pytest.mark.parametrize(("given", "batch", "count"), [
    (list(IMAGES.numpy()), 1, 10),
    (list(IMAGES), 1, 10),
    ([{"x": one[None]} for one in IMAGES.numpy()], 1, 10),
    (DataLoader(LABELLED, 4), 1, 10),
    (DataLoader(LABELLED, 4), 2, 5),
    (DataLoader(TensorDataset(IMAGES), 5), 1, 10),
    ([({"x": one}, label) for one, label in DataLoader(LABELLED, 4)], 1, 10),
    (list(torch.split(IMAGES, 4)), 1, 10),
    (list(torch.split(IMAGES, 5)), 1, 10),
])  # fmt: skip
def test_samples_and_batches(tmp_path: Path, given: Any, batch: int, count: int) -> None:
    inputs = [TensorSpec("x", "float32", (batch, 3, 2, 2))]
    found = samples(given_samples(given, Pixels(), tmp_path), inputs)
    assert len(found) == count
    assert np.array_equal(np.concatenate([one["x"] for one in found]), IMAGES.numpy())


@pytest.mark.parametrize("given", [[], [object()], [[1.0, 2.0]], [IMAGES[0], IMAGES[0, 0]], [({}, 1)]])
def test_what_is_no_sample_is_one_message(tmp_path: Path, given: Any) -> None:
    with pytest.raises(RecipeError):
        samples(given_samples(given, Pixels(), tmp_path), [TensorSpec("x", "float32", (1, 3, 2, 2))])
