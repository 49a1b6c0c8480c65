"""Stage: the final figures. The test split is looked at here, once, and by nothing before."""

from __future__ import annotations

import json
from pathlib import Path

from pipeline import models
from pipeline.artifact import Assessment, Checkpoint
from pipeline.data import load
from pipeline.training.evaluate import evaluate


def assess(config: None, dense: Checkpoint, compressed: Checkpoint, draft: Path) -> Assessment:
    """Points of both networks on the validation and the test split, as facts and as ``accuracy.json``."""
    del config
    facts: dict[str, dict[str, float] | int] = {}
    for name, checkpoint in (("dense", dense), ("compressed", compressed)):
        network = models.load(checkpoint)
        data = load(network.data, network.seed)
        splits = {"validation": data.validation, "test": data.test}
        facts[name] = {split: evaluate(network, part, f"{name}, {split}") for split, part in splits.items()}
        facts |= {f"{split}_images": len(part) for split, part in splits.items()}
    (draft / "accuracy.json").write_text(json.dumps(facts, indent=1))
    return Assessment(draft, facts)
