"""What both networks find in the test samples, as the assessment kept it."""

from __future__ import annotations

import json

import numpy as np

from jetpress.benchmarks.report import predictions
from jetpress.benchmarks.report.record.predictions import Predictions, SamplePictures
from jetpress.pipeline.flow.outcome import Outcome
from jetpress.pipeline.store.facts.network import DISAGREEMENTS, PREDICTIONS, SAMPLES


def predicted(outcome: Outcome) -> Predictions | None:
    """For the report; None where the samples have not one class each, or there are none."""
    if outcome.accuracy is None or outcome.networks is None:
        return None
    folder, data = outcome.accuracy.path, outcome.networks.dense.facts.data
    if not (folder / PREDICTIONS).is_file():
        return None
    labels, dense, compressed = np.load(folder / PREDICTIONS, allow_pickle=False)
    shown = json.loads((folder / DISAGREEMENTS).read_text())
    return predictions.counted(labels, dense, compressed, data.classes if data else (), shown)


def pictured(outcome: Outcome) -> tuple[SamplePictures, ...]:
    """A few samples; none where the task draws nothing."""
    if outcome.accuracy is None:
        return ()
    file = outcome.accuracy.path / SAMPLES
    return tuple(SamplePictures(**one) for one in json.loads(file.read_text())) if file.is_file() else ()
