"""What a walk through the pipeline comes by; the report is written from it."""

from __future__ import annotations

from dataclasses import dataclass, field

from jetpress.pipeline.flow.rounds import Round
from jetpress.pipeline.recipe.resolve import Plan
from jetpress.pipeline.store.artifact import (
    Assessment,
    Bundle,
    Checkpoint,
    Engine,
    Equivalence,
    Inference,
    Measurement,
    OnnxModel,
)


@dataclass
class Outcome:
    """All that a walk came by, for the report."""

    plan: Plan
    rounds: list[Round] = field(default_factory=list)
    dense: Checkpoint | None = None
    tuned: list[tuple[str, Checkpoint]] = field(default_factory=list)
    compressed: Checkpoint | None = None
    onnx: OnnxModel | None = None
    dense_onnx: OnnxModel | None = None
    floating: OnnxModel | None = None
    """What was quantized; None where nothing was."""
    training: str = ""
    """Why it was trained with rounding, and whether that was kept."""
    same: Equivalence | None = None
    same_int8: Equivalence | None = None
    dense_same: Equivalence | None = None
    accuracy: Assessment | None = None
    bundle: Bundle | None = None
    engine: Engine | None = None
    tried: Inference | None = None
    numbers: Measurement | None = None
    invalid: str = ""
    """Why the numbers that were measured may not be used."""
    next: str = ""
    """What is left to do by hand: on which device to build."""
