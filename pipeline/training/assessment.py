"""Points of a network on the validation and the test split."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

from jetpress.pipeline.data.loading import Data, load
from jetpress.pipeline.network import models
from jetpress.pipeline.network.models import Network
from jetpress.pipeline.store.artifact import Assessment, Checkpoint
from jetpress.pipeline.store.facts.network import AssessmentFacts, Points
from jetpress.pipeline.training.evaluate import evaluate


def opened(made: Checkpoint) -> tuple[Network, Data]:
    """A checkpoint's network, and its data."""
    network = models.load(made)
    return network, load(network.data, network.seed)


def points(network: Network, data: Data, name: str) -> Points:
    """On both splits; ``name`` stands in the progress line."""
    validation = evaluate(network, data.validation, f"{name}, validation")
    return Points(validation, evaluate(network, data.test, f"{name}, test"))


def written(dense: Points, compressed: Points, data: Data, draft: Path) -> Assessment:
    """As facts and as ``accuracy.json``, with the number of images of each split."""
    facts = AssessmentFacts(dense, compressed, len(data.validation), len(data.test))
    (draft / "accuracy.json").write_text(json.dumps(asdict(facts), indent=1))
    return Assessment(draft, facts)
