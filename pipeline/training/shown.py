"""A few test samples as pictures: what is marked in them, and what the dense and the compressed network find."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from PIL import Image
from torch import Tensor
from torch.utils import _pytree as pytree

from jetpress.pipeline.data.loading import Data, pick
from jetpress.pipeline.network import models
from jetpress.pipeline.network.models import Network, outputs_of
from jetpress.pipeline.store.facts.network import SAMPLES
from jetpress.pipeline.tasks import task_of
from jetpress.pipeline.tasks.drawing import Drawn
from jetpress.pipeline.tasks.metric import Setting
from jetpress.pipeline.training.predictions import encoded, seen_by_network

SHOWN = 8
"""Samples with pictures."""
SIDE, GAP = 192, 6
"""Height in pixels that small pictures are brought to at least, and what is between two of them."""


class Kept:
    """Keeps what a network returns for a few samples of the test split, batch by batch; the ``see`` of ``judged``."""

    def __init__(self, data: Data) -> None:
        wanted = task_of(data.task).found is not None
        self._numbers = sorted(pick(data.test, SHOWN, data.seed)) if wanted else []
        self._so_far = 0
        self.found: dict[int, object] = {}
        """Number of the sample -> what the network returned, as a batch of one."""

    def __call__(self, outputs: object) -> None:
        """The outputs of one batch."""
        count = len(outputs_of(outputs)[0])
        for number in self._numbers:
            if 0 <= number - self._so_far < count:
                self.found[number] = pytree.tree_map(
                    partial(_one, at=number - self._so_far, count=count), outputs
                )
        self._so_far += count


def _one(value: object, at: int, count: int) -> object:
    return value[at : at + 1].cpu() if isinstance(value, Tensor) and len(value) == count else value


def keep(network: Network, data: Data, dense: Kept, compressed: Kept, draft: Path) -> None:
    """Write ``samples.json`` into ``draft``: each sample's number, and one picture of its three."""
    task = task_of(network.task)
    if task.found is None or not dense.found:
        return
    setting = Setting(network.task.classes, partial(models.rules, network))
    told = []
    for number, outputs in dense.found.items():
        seen = seen_by_network(data.test, number)
        if seen is None:
            return
        _, target = data.test.batch([number], None)
        marked = pytree.tree_map(lambda value: value[0] if isinstance(value, Tensor) else value, target)
        both = [task.found(one, setting)[0] for one in (outputs, compressed.found[number])]
        drawn = [_drawn(seen, one, network) for one in (marked, *both)]
        told.append({"number": number, "picture": encoded(_beside(drawn))})
    (draft / SAMPLES).write_text(json.dumps(told, indent=1))


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
