"""A few test samples as pictures: what is marked in them, and what the dense and the compressed network find. First
those on which the two differ most."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from torch.utils import _pytree as pytree

from jetpress.pipeline.data.loading import Data, pick
from jetpress.pipeline.network import models
from jetpress.pipeline.network.models import Network, outputs_of
from jetpress.pipeline.store.facts.network import SAMPLES
from jetpress.pipeline.tasks import task_of
from jetpress.pipeline.tasks.drawing import Drawn
from jetpress.pipeline.tasks.metric import Result, Setting
from jetpress.pipeline.training.predictions import encoded, seen_by_network

SHOWN, LOOKED_AT = 8, 64
"""Samples with pictures, and those that they are chosen from."""
SIDE, GAP = 192, 6
"""Height in pixels that small pictures are brought to at least, and what is between two of them."""


class Kept:
    """Keeps what a network finds in some samples of the test split, batch by batch; the ``see`` of ``judged``."""

    def __init__(self, network: Network, data: Data) -> None:
        self._task = task_of(data.task)
        self._setting = Setting(network.task.classes, partial(models.rules, network))
        wanted = self._task.found is not None
        self._numbers = sorted(pick(data.test, LOOKED_AT, data.seed)) if wanted else []
        self._so_far = 0
        self.found: dict[int, Any] = {}
        """Number of the sample -> what is found there, as its target would have it."""

    def __call__(self, outputs: object) -> None:
        """The outputs of one batch."""
        count = len(outputs_of(outputs)[0])
        for number in self._numbers:
            if self._task.found is not None and 0 <= number - self._so_far < count:
                one = pytree.tree_map(partial(_one, at=number - self._so_far, count=count), outputs)
                found = self._task.found(one, self._setting)[0]
                self.found[number] = pytree.tree_map_only(Tensor, _small, found)
        self._so_far += count


def _one(value: object, at: int, count: int) -> object:
    return value[at : at + 1].cpu() if isinstance(value, Tensor) and len(value) == count else value


def _small(value: Tensor) -> Tensor:
    """Class numbers of every pixel need no eight bytes."""
    return value.to(torch.int16) if value.ndim > 1 and value.dtype == torch.int64 else value.clone()


def keep(
    network: Network, data: Data, dense: Kept, compressed: Kept, gained: Mapping[int, float], draft: Path
) -> None:
    """Write ``samples.json`` into ``draft``: each sample's number, and one picture of its three.

    Args:
        network: names the classes.
        data: the samples are of its test split.
        dense: what the dense network found.
        compressed: the same.
        gained: number of a sample -> points that the compressed network gains on it; empty: that is not known.
        draft: where to.
    """
    told = []
    for number in _chosen([*dense.found], gained):
        seen = seen_by_network(data.test, number)
        if seen is None:
            return
        _, target = data.test.batch([number], None)
        marked = pytree.tree_map(lambda value: value[0] if isinstance(value, Tensor) else value, target)
        drawn = [
            _drawn(seen, one, network) for one in (marked, dense.found[number], compressed.found[number])
        ]
        told.append({"number": number, "picture": encoded(_beside(drawn)), "gained": gained.get(number)})
    if told:
        (draft / SAMPLES).write_text(json.dumps(told, indent=1))


def gains(dense: Result, compressed: Result, numbers: Iterable[int]) -> dict[int, float]:
    """Points that each of some samples gains by itself; none where the figure is not made of samples."""
    by = dense.metric
    if not by.redrawn or len(dense.shown) != len(compressed.shown):
        return {}
    return {
        n: by.total([compressed.shown[n]]) - by.total([dense.shown[n]])
        for n in numbers
        if n < len(dense.shown)
    }


def _chosen(numbers: Sequence[int], gained: Mapping[int, float]) -> list[int]:
    """First those on which the two differ most, half of all; then others, evenly spaced."""
    apart = sorted((n for n in numbers if gained.get(n)), key=lambda n: -abs(gained[n]))[: SHOWN // 2]
    rest = [n for n in numbers if n not in apart]
    left = min(SHOWN - len(apart), len(rest))
    return [*apart, *(rest[at * len(rest) // left] for at in range(left))]


def _drawn(image: Image.Image, target: Any, network: Network) -> Image.Image:
    picture = Drawn(image, scale=max(1, -(-SIDE // image.height)))
    task_of(network.task).draw(picture, target, network.task.classes)
    return picture.image


def _beside(pictures: Sequence[Image.Image]) -> Image.Image:
    width, height = pictures[0].size
    whole = Image.new("RGB", (len(pictures) * (width + GAP) - GAP, height), "white")
    for place, one in enumerate(pictures):
        whole.paste(one, (place * (width + GAP), 0))
    return whole
