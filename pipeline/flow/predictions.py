"""Which class both networks name for each test sample, as the assessment kept it."""

from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np

from jetpress.benchmarks.report import predictions
from jetpress.benchmarks.report.record.predictions import Predictions
from jetpress.pipeline.store.artifact import Assessment
from jetpress.pipeline.store.facts.network import DISAGREEMENTS, PREDICTIONS


def predicted(accuracy: Assessment, names: Sequence[str]) -> Predictions | None:
    """For the report; None where the samples have not one class each. ``names`` are those of the classes."""
    if not (accuracy.path / PREDICTIONS).is_file():
        return None
    labels, dense, compressed = np.load(accuracy.path / PREDICTIONS, allow_pickle=False)
    shown = json.loads((accuracy.path / DISAGREEMENTS).read_text())
    return predictions.counted(labels, dense, compressed, names, shown)
