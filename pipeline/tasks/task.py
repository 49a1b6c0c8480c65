"""What a network is for, as one frozen record: everything that is decided by it, and nowhere else."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn

from jetpress.pipeline.graph.session import Array
from jetpress.pipeline.network.heads import Counted
from jetpress.pipeline.recipe.sections.data import DataConfig
from jetpress.pipeline.recipe.sections.task import UNDECIDED, TaskConfig
from jetpress.pipeline.store.facts.onnx_file import DetectionRules, Score
from jetpress.pipeline.tasks import imitation
from jetpress.pipeline.tasks.drawing import Drawn, undrawn
from jetpress.pipeline.tasks.imitation import Imitation
from jetpress.pipeline.tasks.metric import Metric, Setting

Judge = Callable[[object, Any], Tensor]
"""What the network returned and the target -> a tensor."""


@dataclass(frozen=True)
class Shown:
    """What a network gives for a few samples, and what the data says of the classes."""

    builder: str
    outputs: tuple[Tensor, ...]
    samples: int
    classes: int
    """0: the data does not say."""
    target: Any = None
    """Of the samples."""
    scored: int | None = None
    """Classes that the outputs have scores for; None: they do not say."""
    size: tuple[int, ...] = ()
    """Height and width of the first input."""
    asked: TaskConfig = UNDECIDED
    """The recipe's."""


def nothing_to_check(*_: object) -> None:
    """For what a task asks nothing of."""


def nothing_found(labels: Tensor | None) -> float:
    """Points of whoever finds nothing, by a figure of what is found."""
    return 0.0


@dataclass(frozen=True)
class Decoded:
    """A graph that ends with what is made of the network's outputs, as numbers that can be used."""

    name: str
    """What is compared in the report."""
    asked: tuple[str, ...]
    """As ``export.output`` asks for it."""
    raw: Callable[[DetectionRules], tuple[str, ...]]
    """What the network's own outputs are called inside of the graph."""
    outputs: tuple[str, ...]
    """What the file gives in their place."""
    held: Callable[[str, DetectionRules, Mapping[str, Array], Mapping[str, Array]], Score]
    """Case, rules, raw outputs, the file's outputs -> whether the graph decodes as the runner does."""
    found_again: Callable[[Mapping[str, Array], Mapping[str, Array], str], Score]
    """The file's outputs, the engine's, its precision -> whether they mean the same."""


@dataclass(frozen=True)
class Task:
    """What training, pruning, quantization and the report must know of it."""

    loss: Callable[[object, Any, float], Tensor]
    """What the network returned, the target, label smoothing -> a scalar. Where ``data.loss`` names no function."""
    metrics: Mapping[str, Callable[[Setting], Metric]] = field(hash=False)
    """By the names that ``data.metric`` may have; the first where it has none."""
    loss_name: str = ""
    """Of ``data.loss``; empty: the task has none of its own."""
    places: bool = False
    """The target is places in the image: it must follow whatever is done to that, and nothing is cropped away."""
    class_scores: bool = False
    """The first output has scores along dimension 1, of classes of which one is right: they are softened where a
    teacher is followed, and compared by their divergence. Otherwise numbers are compared as numbers."""
    counted: Counted = lambda network, outputs: None
    """For how many classes, labels or values the outputs have a number: as many as the data has are asked for."""
    imitation: Imitation = imitation.numbers
    """How far what a network returns is from what its teacher does."""
    scores: Callable[[DetectionRules | None], int] = lambda rules: 0
    """Which output is compared where a graph is judged without labels."""
    outputs: tuple[str, ...] = ()
    """Names of the outputs in the ONNX file, where the recipe gives none."""
    check_labels: Callable[[str, str, Tensor, tuple[str, ...]], None] = nothing_to_check
    """Source, split, labels ``[n]``, class names: raises RecipeError where they do not fit together."""
    check_network: Callable[[nn.Module, DataConfig], None] = nothing_to_check
    """Raises RecipeError where the network was made for other data."""
    check_outputs: Callable[[Shown], None] = nothing_to_check
    """Raises RecipeError where the loss cannot be computed of the outputs."""
    guessing: Mapping[str, Callable[[Tensor | None], float | None]] = field(default_factory=dict, hash=False)
    """By the metric's name: labels ``[n]`` (None: the data has none) -> points of whoever has learnt nothing; None,
    as for a metric without an entry: that means nothing."""
    found: Callable[[object, Setting], Sequence[Any]] | None = None
    """What the network returned for a batch -> what that says, for each sample as its target would have it, to be
    drawn; None: the report has no pictures of it."""
    draw: Callable[[Drawn, Any, Sequence[str]], None] = undrawn
    """A picture of one sample, its target, names of the classes: draws the one into the other."""
