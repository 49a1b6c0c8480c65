from __future__ import annotations

import base64
import io
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from jetpress.pipeline.data.loading import load
from jetpress.pipeline.recipe.sections.task import TaskConfig
from jetpress.pipeline.store.facts.network import DISAGREEMENTS, PREDICTIONS
from jetpress.pipeline.training.predictions import LARGEST, Named, chosen, keep, picture
from tests.pipeline import small


def opened(uri: str) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))))


def test_a_picture_shows_what_the_network_sees() -> None:
    split = load(replace(small.DIGITS, size=16), 0).test
    inputs, _ = split.batch([3], None)
    mean, std = (torch.tensor(v)[:, None, None] for v in (split.config.mean, split.config.std))
    wanted = (255 * (inputs[0][0] * std + mean)).permute(1, 2, 0).numpy()
    assert np.abs(opened(picture(split, 3)) - wanted).max() <= 1


def test_a_large_picture_is_small_and_nearly_the_same() -> None:
    uri = picture(load(replace(small.DIGITS, size=224), 0).test, 0)
    assert uri.startswith("data:image/jpeg;base64,")
    assert len(uri) < 6000
    assert max(opened(uri).shape) == LARGEST


def test_files_of_a_split(tmp_path: Path) -> None:
    split = load(small.DIGITS, 0).test
    assert split.labels is not None
    dense, compressed = split.labels.clone(), split.labels.clone()
    compressed[5] = (compressed[5] + 1) % 10
    keep(split, dense, compressed, tmp_path)
    kept = np.load(tmp_path / PREDICTIONS, allow_pickle=False)
    assert kept.dtype == np.int32
    assert np.array_equal(kept, torch.stack([split.labels, dense, compressed]))
    (one,) = json.loads((tmp_path / DISAGREEMENTS).read_text())
    assert (one["number"], one["compressed"]) == (5, int(compressed[5]))
    assert one["picture"].startswith("data:image/png")


def test_classes_are_collected_where_every_sample_has_one() -> None:
    data = load(small.DIGITS, 0)
    named = Named(data)
    for some in torch.eye(10).split(4):
        named(some)
    assert named.classes is not None
    assert named.classes.tolist() == list(range(10))
    assert Named(replace(data, task=TaskConfig(kind="custom"))).classes is None
    masks = Named(data)
    masks(torch.zeros(4, 10, 8, 8))
    assert masks.classes is None


def test_samples_of_many_classes_are_shown() -> None:
    labels = torch.tensor([0] * 20 + [1] * 20 + [2])
    assert chosen(labels, labels, labels + 1, most=4) == [0, 20, 40, 1]


triples = st.lists(st.tuples(*[st.integers(0, 3)] * 3), max_size=60)


@given(triples, st.integers(1, 12))
def test_samples_that_are_shown_differ_and_are_as_many_as_there_is_room_for(
    rows: list[tuple[int, int, int]], most: int
) -> None:
    labels, dense, compressed = torch.tensor(rows, dtype=torch.int64).reshape(-1, 3).T
    numbers = chosen(labels, dense, compressed, most)
    differ = (dense != compressed).nonzero().flatten().tolist()
    assert len(numbers) == len(set(numbers)) == min(most, len(differ))
    assert set(numbers) <= set(differ)
    for right in (dense, compressed):
        right_alone = [n for n in differ if right[n] == labels[n]]
        shown = [n for n in numbers if right[n] == labels[n]]
        assert len(shown) >= min(len(right_alone), most // 3)
