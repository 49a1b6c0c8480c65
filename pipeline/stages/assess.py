"""Stage: the final figures. The test split is looked at here, once, and by nothing before."""

from __future__ import annotations

from pathlib import Path

from jetpress.pipeline.store.artifact import Assessment, Checkpoint
from jetpress.pipeline.training.assessment import opened, scored, written


def assess(config: None, dense: Checkpoint, compressed: Checkpoint, draft: Path) -> Assessment:
    """Points of both networks on the validation and the test split, as facts and as ``accuracy.json``."""
    del config
    network, data = opened(compressed)
    return written(network, scored(*opened(dense), "dense"), scored(network, data, "compressed"), data, draft)
