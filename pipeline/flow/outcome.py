"""What a walk through the pipeline comes by; the report is written from it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

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
    RoundTimes,
)


@dataclass(frozen=True)
class Networks:
    """The dense network, and what became of it."""

    dense: Checkpoint
    compressed: Checkpoint
    rounds: Sequence[Round]
    tuned: Sequence[tuple[str, Checkpoint]]
    """All that was trained, by the name of its curve."""
    untouched: str | None = None
    """Why the network that is shipped is the dense one, as it was; None where it was compressed."""


@dataclass(frozen=True)
class Exports:
    """Both networks as ONNX, and each held against its network."""

    dense: OnnxModel
    compressed: OnnxModel
    dense_same: Equivalence | None
    """None where the dense one is a file as it was given: it is held against nothing."""
    same: Equivalence
    """Of the compressed network in floating point."""
    same_quantized: Equivalence | None = None
    """And in eight bits; None where nothing was quantized."""
    training: str = ""
    """Why it was trained with rounding, and whether that was kept; empty where it was not tried."""


@dataclass(frozen=True)
class OnDevice:
    """What the bundle became where its engine runs; None is what there was no device for."""

    engine: Engine | None = None
    tried: Inference | None = None
    numbers: Measurement | None = None
    rounds: RoundTimes | None = None
    """What the network of every round takes,"""
    untimed: str = ""
    """or why that was not measured."""
    next: str = ""
    """What is left to do by hand: on which device to build."""


@dataclass(frozen=True)
class Outcome:
    """All that a walk came by, for the report."""

    plan: Plan
    exports: Exports
    bundle: Bundle
    device: OnDevice
    networks: Networks | None = None
    """None where an ONNX file was given: there is no network in PyTorch."""
    accuracy: Assessment | None = None
    """None where nothing says what is right."""
