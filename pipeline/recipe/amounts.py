"""How long, how fast and in what portions a network learns, by how much data there is."""

from __future__ import annotations

import math
from dataclasses import dataclass

from jetpress.pipeline.recipe.seen import DataSeen, NetworkSeen

PLACES = ("detection", "pose", "segmentation", "keypoints")
"""Tasks whose target is places in the image: a large image shows many of them, so a batch holds fewer."""


@dataclass(frozen=True)
class Amounts:
    """Passes, rate and batch."""

    given: bool
    """The weights are the dense baseline as they are."""
    epochs: int
    finetune: int
    batch: int
    adamw: bool
    rate: float
    why_epochs: str
    why_rate: str
    measured: bool
    """The numbers are those of recipes/digits.toml, whose results are known."""

    @classmethod
    def of(cls, data: DataSeen, network: NetworkSeen) -> Amounts:
        """Scratch takes about 300,000 samples, weights that know images a tenth of that; each within bounds."""
        given = network.weights is not None and not network.new
        scratch = network.weights is None
        if given:
            epochs, why = 0, "the weights given are the dense baseline"
        elif not scratch:
            epochs, why = _passes(30_000, data.train, 4, 15), "the new last layer is learnt, the rest adapts"
            if data.kind in PLACES:
                epochs = _passes(30_000, data.train, 8, 40)
        elif data.source == "digits":
            epochs, why = (
                8,
                "97.8 % on the test split, measured with a ResNet-18 (studies/log/default-recipe.md)",
            )
        else:
            epochs = _passes(300_000, data.train, 10, 100)
            why = "from random weights; with trained ones (model.weights) a tenth of it would do"
        most = 16 if data.kind in PLACES else 64 if network.longest < 160 else 32
        batch = min(most, 2 ** max(2, int(math.log2(max(4, data.train // 6)))))
        adamw = network.layer_norm or data.kind != "classification"
        rate = (0.05 if scratch else 0.01) if not adamw else (5e-4 if scratch else 1e-4)
        if adamw and not network.layer_norm:
            rate *= 2
        why_rate = (
            "large steps for random weights" if scratch else "small steps: the weights are good already"
        )
        tuning = 8 if data.source == "digits" else _passes(30_000, data.train, 3, 10)
        if data.kind in PLACES:
            tuning = _passes(30_000, data.train, 4, 20)
        return cls(given, epochs, tuning, batch, adamw, rate, why, why_rate, data.source == "digits")


def _passes(samples: int, train: int, least: int, most: int) -> int:
    return min(most, max(least, math.ceil(samples / max(1, train))))
