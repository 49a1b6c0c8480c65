"""How long steps took, for those that will be like them: the same recipe, network, data and machine, and no other.

Kept beside the results, not as a part of them: a note that is lost or damaged costs an estimate, nothing else.
"""

from __future__ import annotations

import hashlib
import json
import math
from pathlib import Path

from jetpress.pipeline.store.artifact import Artifact, canonical
from jetpress.pipeline.store.facts.network import CheckpointFacts
from jetpress.pipeline.store.store import write_atomically

TRAINING = "epoch"
"""Any training: what an epoch of one takes tells about another, where that was never done."""


class Durations:
    """Of one kind of run.

    Args:
        folder: of all notes.
        alike: what makes two runs take as long: see :func:`jetpress.pipeline.store.runs.alike`.
    """

    def __init__(self, folder: Path, alike: str) -> None:
        self._folder, self._alike = folder, alike

    def note(self, step: str, stage: str, config: object, made: Artifact[object], seconds: float) -> None:
        """``step`` came to its end. Of a training the time of an epoch is kept: fewer may be asked for next time."""
        facts, epochs = made.facts, 0
        if _epochs(config) and isinstance(facts, CheckpointFacts) and facts.training:
            epochs = len(facts.training.curve)
        for name in (step, stage, *([TRAINING] if epochs else [])):
            told = {"seconds": round(seconds / max(epochs, 1), 3), "epochs": epochs > 0}
            write_atomically(self._file(name), canonical(told))

    def expected(self, step: str, stage: str, config: object) -> float | None:
        """Seconds that a step will take, by itself, by another of its stage, or by the epochs of another training."""
        epochs = _epochs(config)
        for name in (step, stage, *([TRAINING] if epochs else [])):
            try:
                told = json.loads(self._file(name).read_bytes())
            except (OSError, ValueError, RecursionError):
                continue
            match told:
                case {"seconds": float() | int() as seconds, "epochs": bool(counted)}:
                    if math.isfinite(seconds) and counted == bool(epochs):
                        return float(seconds) * (epochs or 1)
        return None

    def _file(self, name: str) -> Path:
        return (
            self._folder / f"{hashlib.sha256(canonical([self._alike, name]).encode()).hexdigest()[:32]}.json"
        )


def _epochs(config: object) -> int:
    """Of a training's configuration; 0: it is none."""
    epochs = getattr(getattr(config, "training", config), "epochs", None)
    return epochs if isinstance(epochs, int) else 0
