"""Points of a network on the validation and the test split."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from torch import Tensor

from jetpress.benchmarks import accuracy
from jetpress.pipeline.data.loading import Data, load
from jetpress.pipeline.network import models
from jetpress.pipeline.network.models import Network
from jetpress.pipeline.store.artifact import Assessment, Checkpoint
from jetpress.pipeline.store.facts.network import AssessmentFacts, Change, Points
from jetpress.pipeline.training.evaluate import each, guessing
from jetpress.pipeline.training.predictions import Named, keep


@dataclass(frozen=True)
class Scored:
    """Points of each sample ``[samples]`` of the two splits, in their order."""

    validation: Tensor
    test: Tensor
    named: Tensor | None = None
    """The class that each sample of the test split is named, ``[samples]``; None where none is."""

    @property
    def mean(self) -> Points:
        """Of each split."""
        return Points(float(self.validation.mean()), float(self.test.mean()))


def opened(made: Checkpoint) -> tuple[Network, Data]:
    """A checkpoint's network, and its data."""
    network = models.load(made)
    return network, load(network.data, network.seed)


def scored(network: Network, data: Data, name: str) -> Scored:
    """On both splits; ``name`` stands in the progress line."""
    named = Named(data.test)
    validation = each(network, data.validation, f"{name}, validation")
    return Scored(validation, each(network, data.test, f"{name}, test", named), named.classes)


def written(dense: Scored, compressed: Scored, data: Data, draft: Path) -> Assessment:
    """As facts and as ``accuracy.json``, with the number of images of each split; beside it the predictions."""
    gained = accuracy.change(dense.test, compressed.test)
    facts = AssessmentFacts(
        dense.mean,
        compressed.mean,
        len(data.validation),
        len(data.test),
        Change(gained.value, gained.low, gained.high),
        guessing(data.test),
    )
    (draft / "accuracy.json").write_text(json.dumps(asdict(facts), indent=1))
    if dense.named is not None and compressed.named is not None:
        keep(data.test, dense.named, compressed.named, draft)
    return Assessment(draft, facts)
