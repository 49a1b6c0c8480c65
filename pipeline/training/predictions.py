"""Which class the dense and the compressed network name for each test sample, and what those look like on which
they disagree.
"""

from __future__ import annotations

import base64
import io
import json
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from jetpress.pipeline.data.loading import Data
from jetpress.pipeline.data.splits import Samples, Split
from jetpress.pipeline.network.models import outputs_of
from jetpress.pipeline.store.facts.network import DISAGREEMENTS, PREDICTIONS
from jetpress.pipeline.tasks import task_of

SHOWN = 12
"""Samples with a picture."""
SMALL, LARGEST = 32, 112
"""Sides in pixels: pictures up to the first are kept exactly, larger ones as JPEG, and none is larger than the second.
"""


class Named:
    """Collects the class that a network names for each sample, batch by batch; for ``see`` of ``evaluate.each``."""

    def __init__(self, data: Data) -> None:
        self._wanted = task_of(data.task).class_scores and _one_class_each(data.test)
        self._named: list[Tensor] = []

    def __call__(self, outputs: object) -> None:
        """The outputs of one batch; the first has scores ``[batch, classes]``."""
        scores = outputs_of(outputs)[0]
        if self._wanted and scores.ndim == 2:
            self._named.append(scores.argmax(1).cpu())

    @property
    def classes(self) -> Tensor | None:
        """``[samples]``, int64; None where the samples have not one class each."""
        return torch.cat(self._named) if self._named else None


def _one_class_each(split: Split) -> bool:
    labels = split.labels
    return labels is not None and labels.ndim == 1 and not labels.is_floating_point()


def keep(split: Split, dense: Tensor, compressed: Tensor, draft: Path) -> None:
    """Write both files into ``draft``.

    Args:
        split: the samples.
        dense: the class named for each ``[samples]``, in the order of the split.
        compressed: the same.
        draft: where to.
    """
    assert split.labels is not None
    whole = torch.stack([split.labels, dense, compressed]).to(torch.int32)
    np.save(draft / PREDICTIONS, whole.numpy(), allow_pickle=False)
    told = [
        {
            "number": number,
            "label": int(split.labels[number]),
            "dense": int(dense[number]),
            "compressed": int(compressed[number]),
            "picture": picture(split, number),
        }
        for number in chosen(split.labels, dense, compressed)
    ]
    (draft / DISAGREEMENTS).write_text(json.dumps(told, indent=1))


def chosen(labels: Tensor, dense: Tensor, compressed: Tensor, most: int = SHOWN) -> list[int]:
    """Numbers of the samples to show: first what only dense names rightly, then what only compressed does, then what
    both name wrongly and differently. Of each kind as many classes as possible; each of the first two gets at least a
    third of the places, if there are so many."""
    differ = dense != compressed
    lost = _spread(differ & (dense == labels), labels)
    won = _spread(differ & (compressed == labels), labels)
    wrong = _spread(differ & (dense != labels) & (compressed != labels), labels)
    gained = min(len(won), max(most // 3, most - len(lost)))
    first = [*lost[: most - gained], *won[:gained]]
    return [*first, *wrong[: most - len(first)]]


def _spread(wanted: Tensor, labels: Tensor) -> list[int]:
    """Numbers of the wanted samples: the first of each class, then the second of each, and so on."""
    turns: dict[int, int] = {}
    order = []
    for number in wanted.nonzero().flatten().tolist():
        label = int(labels[number])
        turns[label] = turns.get(label, 0) + 1
        order.append((turns[label], number))
    return [number for _, number in sorted(order)]


def picture(split: Split, number: int) -> str:
    """What the network sees of one sample, as a data URI; empty where its first input is no picture."""
    image = seen_by_network(split, number)
    return "" if image is None else encoded(image, LARGEST)


def seen_by_network(split: Split, number: int) -> Image.Image | None:
    """What the network sees of one sample; None where its first input is no picture."""
    inputs, _ = split.batch([number], None)
    pixels = inputs[0][0].float()
    if pixels.ndim != 3 or pixels.shape[0] not in (1, 3, 4):
        return None
    if isinstance(split, Samples):  # how it was normalised is known to its owner only
        low, high = pixels.amin(), pixels.amax()
        pixels = (pixels - low) / (high - low).clamp_min(1e-6)
    else:
        mean, std = (torch.tensor(values)[:, None, None] for values in (split.config.mean, split.config.std))
        pixels = (pixels * std + mean)[:3]
    whole = (255 * pixels.nan_to_num().clamp(0, 1)).round().to(torch.uint8).permute(1, 2, 0).numpy()
    return Image.fromarray(whole.squeeze(-1) if whole.shape[-1] == 1 else whole)


def encoded(image: Image.Image, largest: int | None = None) -> str:
    """As a data URI: small pictures exactly, others as JPEG with no side above ``largest``."""
    kind, file = "png", io.BytesIO()
    if max(image.size) <= SMALL:
        image.save(file, "PNG", optimize=True)
    else:
        kind = "jpeg"
        if largest is not None:
            image.thumbnail((largest, largest))
        image.save(file, "JPEG", quality=80, optimize=True)
    return f"data:image/{kind};base64,{base64.b64encode(file.getvalue()).decode()}"
