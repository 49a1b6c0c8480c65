"""What a stage is told beside its artifacts, where that is more than one table of the recipe."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Self

from jetpress.deploy.targets import Target
from jetpress.pipeline.recipe.given import Calibration, Pixels, Sizing
from jetpress.pipeline.recipe.retraining import Distillation, Retraining
from jetpress.pipeline.recipe.sections.compression import PruneConfig, QuantizeConfig
from jetpress.pipeline.recipe.sections.data import DataConfig
from jetpress.pipeline.recipe.sections.device import BenchmarkConfig, BuildConfig
from jetpress.pipeline.recipe.sections.export import EquivalenceConfig, ExportConfig
from jetpress.pipeline.recipe.sections.model import ModelConfig
from jetpress.pipeline.recipe.sections.task import UNDECIDED, TaskConfig
from jetpress.pipeline.recipe.sections.training import TrainConfig


@dataclass(frozen=True)
class Bench:
    """The device, and the engine that is built there."""

    place: Place
    packing: BundleConfig
    export: ExportConfig


@dataclass(frozen=True)
class TimingsConfig:
    """At which widths layers are timed."""

    bench: Bench
    multiple: int
    ignore: tuple[str, ...]
    limits: Mapping[str, float]


@dataclass(frozen=True)
class TimedConfig:
    """Pruning to a latency."""

    prune: PruneConfig
    bench: Bench


@dataclass(frozen=True)
class Place:
    """Where the engine is built: the identity is what makes an engine fit or not."""

    device: str | None
    identity: Mapping[str, object]


@dataclass(frozen=True)
class Timing:
    """How it is measured there."""

    place: Place
    benchmark: BenchmarkConfig
    attempt: int = 0
    """How many measurements before this one did not tell what was asked."""
    video_sha256: str = ""
    """Of the video that is sent; empty where none is."""


@dataclass(frozen=True)
class BundleConfig:
    """What the device must know besides the networks."""

    name: str
    target: Target
    build: BuildConfig
    benchmark: BenchmarkConfig
    seed: int
    alone: bool = False
    """Nothing was compressed: there is one network, and nothing to measure it against."""
    pixels: Pixels | None = None
    """How an image becomes the input of a file that was given; a network's data says it otherwise."""


@dataclass(frozen=True)
class PreflightConfig:
    """For whom, and in which precision."""

    target: Target
    precision: str


@dataclass(frozen=True)
class SourceConfig:
    """The config of stage :func:`jetpress.pipeline.stages.source.source`."""

    model: ModelConfig
    data: DataConfig
    seed: int = 0
    inputs: Mapping[str, str] = field(default_factory=dict, hash=False)
    """Digests of everything outside of the recipe, taken when the run began, by recipe key."""
    trains: bool = True
    """Whether training follows, so that a layer may be new."""
    loss: bool = True
    """Whether a loss is needed, so that it is tried."""
    task: TaskConfig = UNDECIDED


@dataclass(frozen=True)
class SensitivityConfig:
    """What the sensitivity of a network is measured by; how much is to go is no part of it."""

    criterion: str = "l2"
    curves: bool = True
    """Also what each group and block loses at several widths, by the outputs on ``images``."""
    multiple: int = 1
    ignore: tuple[str, ...] = ()
    blocks: bool = True
    images: int = 128

    @classmethod
    def of(cls, config: PruneConfig) -> Self:
        """What a round of pruning needs: curves for ``measured`` only."""
        if config.scope != "measured":
            return cls(config.criterion, curves=False)
        return cls(
            config.criterion,
            True,
            config.channel_multiple or 1,
            config.ignore,
            config.blocks,
            config.sensitivity_images,
        )


@dataclass(frozen=True)
class RegularizeConfig:
    """Training that makes channels ready to go."""

    training: TrainConfig
    distillation: Distillation
    strength: float
    """Of the penalty; 0: none, as a twin to compare with has it."""
    multiple: int = 1
    ignore: tuple[str, ...] = ()
    limits: Mapping[str, float] = field(default_factory=dict, hash=False)

    @classmethod
    def of(cls, config: PruneConfig, tuning: Retraining) -> Self:
        """As fine-tuning is done, for as many epochs as pruning asks for."""
        training = replace(tuning.training, epochs=config.regularize_epochs)
        room = config.channel_multiple or 1, config.ignore, config.limits
        return cls(training, tuning.distillation, config.regularization, *room)


@dataclass(frozen=True)
class GivenConfig:
    """The file, and the shapes that it is to take."""

    path: str
    digest: str
    """Of the file and of the weights beside it."""
    shapes: Mapping[str, Sizing] = field(default_factory=dict, hash=False)


@dataclass(frozen=True)
class LowerConfig:
    """How the file is written for a target."""

    export: ExportConfig
    pixels: Pixels
    task: TaskConfig = UNDECIDED
    """The head of a detector, and how its detections are searched for."""


@dataclass(frozen=True)
class PruneFileConfig:
    """What goes from the file, by what its samples show."""

    prune: PruneConfig
    equivalence: EquivalenceConfig
    """Within this the network that is pruned is the file."""
    task: TaskConfig = UNDECIDED
    """The head of a detector, and how its detections are searched for."""
    least: float | None = None
    """Share of the file's answers that must stay: the largest cut that keeps so many is searched for. None: what goes
    is decided."""


@dataclass(frozen=True)
class SameConfig:
    """How far the file may differ from what it became."""

    equivalence: EquivalenceConfig
    pixels: Pixels


@dataclass(frozen=True)
class QuantizeFileConfig:
    """How the file is brought to eight bits."""

    quantize: QuantizeConfig
    pixels: Pixels


@dataclass(frozen=True)
class OnnxRun:
    """All that is told of a file."""

    given: GivenConfig
    calibration: Calibration
    reproduce: str
    """The command line, without the device."""
    prunes: bool = False
    searches: bool = False
    """Whether the largest cut that keeps enough of the file's answers is searched for."""
