"""Points of a network on the validation and the test split."""

from __future__ import annotations

import json
from pathlib import Path

from jetpress.pipeline.data.loading import Data, load
from jetpress.pipeline.network import models
from jetpress.pipeline.network.models import Network
from jetpress.pipeline.store.artifact import Assessment, Checkpoint
from jetpress.pipeline.training.evaluate import evaluate


def opened(made: Checkpoint) -> tuple[Network, Data]:
    """A checkpoint's network, and its data."""
    network = models.load(made)
    return network, load(network.data, network.seed)


def points(network: Network, data: Data, name: str) -> dict[str, float]:
    """On both splits; ``name`` stands in the progress line."""
    splits = {"validation": data.validation, "test": data.test}
    return {split: evaluate(network, part, f"{name}, {split}") for split, part in splits.items()}


def written(points: dict[str, dict[str, float]], data: Data, draft: Path) -> Assessment:
    """As facts and as ``accuracy.json``, with the number of images of each split."""
    counts = {"validation_images": len(data.validation), "test_images": len(data.test)}
    facts = {**points, **counts}
    (draft / "accuracy.json").write_text(json.dumps(facts, indent=1))
    return Assessment(draft, facts)
