"""Detection: boxes and their scores (:mod:`jetpress.pipeline.network.detectors`).

Two searches are the same where they find the same boxes: same label, score and place within so much.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict

import numpy as np
from torch import Tensor, nn

from jetpress.deploy.errors import RecipeError
from jetpress.deploy.runner.decode.detections import detections, in_common
from jetpress.deploy.runner.decode.heads import HEADS, clean, sizes_of
from jetpress.deploy.runner.system.failures import BundleError
from jetpress.pipeline.graph.cases import IMAGES
from jetpress.pipeline.graph.ends import DETECTIONS
from jetpress.pipeline.graph.session import Array
from jetpress.pipeline.graph.suppress import LABELS, raw
from jetpress.pipeline.network import detectors, models
from jetpress.pipeline.network.models import Network
from jetpress.pipeline.recipe.sections.data import DataConfig
from jetpress.pipeline.store.facts.onnx_file import DetectionRules, Score
from jetpress.pipeline.tasks.drawing import Drawn
from jetpress.pipeline.tasks.task import Shown

OUTPUTS = detectors.OUTPUTS
DETECTED = 0.98
"""Of the detections in the graph: boxes that overlap by just the limit may be kept by one and dropped by the other."""
EXACT, NEAR = (1e-4, 0.1), (0.05, 4.0)
"""Score and pixels within which two detections are the same, in FP32 and below."""
DETECTED_NEAR = 0.9
"""Share that an engine in FP16 or INT8 must have in common with its file, whose boxes and scores differ a little."""


def no_loss(outputs: object, target: object, smoothing: float) -> Tensor:
    """How anchors are matched is no matter of a network alone.

    Raises:
        RecipeError: always.
    """
    raise RecipeError(
        "the network has no loss, and none fits every detector",
        "give it a method loss(outputs, target), as recipes/detect.py has, or set data.loss to file.py:function",
    )


def check_network(module: nn.Module, data: DataConfig) -> None:
    """The data is normalised as torchvision normalises for this detector."""
    detectors.fits(module, data)


def counted(network: Network, outputs: tuple[Tensor, ...]) -> int | None:
    """Classes that it has scores for; None where the head gives their numbers instead, or nothing says how it is
    read."""
    rules = models.rules(network)
    if rules is None or HEADS[rules.head].scores == "label":
        return None
    return sizes_of([list(one.shape) for one in outputs], HEADS[rules.head], 0, rules.points)[1]


def check_outputs(shown: Shown) -> None:
    """They are laid out as the head that the recipe names, and there is a score for every class."""
    task = shown.asked
    other = _other_head(shown)
    if task.head is not None:
        given = [one.detach().cpu().numpy() for one in shown.outputs]
        try:
            clean(given, HEADS[task.head], shown.size, shown.classes, task.points or ())
        except BundleError as error:
            raise RecipeError(
                f'the outputs of {shown.builder} are not those of task.head = "{task.head}": {error}',
                other or "`jetpress docs detection` has the layouts of task.head",
            ) from None
    if shown.classes and shown.scored not in (None, shown.classes):
        raise RecipeError(
            f"{shown.builder} has scores for {shown.scored} classes, the data has {shown.classes}",
            other or "set the number of classes in model.arguments",
        )


def _other_head(shown: Shown) -> str:
    """The head that the outputs look like, where it is another than the recipe's; otherwise empty."""
    if shown.asked.head is None or len(shown.size) != 2:
        return ""
    try:
        found = detectors.head_of(shown.outputs, (shown.size[0], shown.size[1]), shown.builder)
    except RecipeError:
        return ""
    return "" if HEADS[found] == HEADS[shown.asked.head] else f'the outputs look like task.head = "{found}"'


def is_detector(module: nn.Module) -> bool:
    """Whether it says by which rules its boxes and scores become detections."""
    return callable(getattr(module, "rules", None))


def scores_output(rules: DetectionRules | None) -> int:
    """Which of a detector's outputs has the scores."""
    outputs = HEADS[rules.head if rules else "ours"].outputs
    return outputs.index("scores") if "scores" in outputs else 0


def search(case: str, rules: DetectionRules, given: Mapping[str, Array], found: Mapping[str, Array]) -> Score:
    """Head and search in the graph, ``found``, against those of the runner, on the network's own outputs."""
    outputs = {name: given[inside] for name, inside in zip(rules.reads, raw(rules), strict=True)}
    shares, finite = [], all(bool(np.isfinite(one).all()) for one in found.values())
    for at, wanted in enumerate(detections(outputs, asdict(rules))):
        here = {name: array[at : at + 1] for name, array in found.items()}
        there = {name: array[None] for name, array in zip(("boxes", "scores", LABELS), wanted, strict=True)}
        shares.append(in_common(here, there, *EXACT))
    share = float(np.mean(shares))
    return Score(DETECTIONS, case, len(found["scores"]), finite, 0.0, 0.0, 0.0, 1.0, share, DETECTED)


def found_again(expected: Mapping[str, Array], found: Mapping[str, Array], kind: str) -> Score:
    """Detections of an engine among those of its file, both with the suppression in the graph."""
    share = in_common(found, expected, *(EXACT if kind == "fp32" else NEAR))
    finite = all(bool(np.isfinite(one).all()) for one in found.values())
    needed = DETECTED if kind == "fp32" else DETECTED_NEAR
    return Score(DETECTIONS, IMAGES, len(found["scores"]), finite, 0.0, 0.0, 0.0, 1.0, share, needed)


def draw(picture: Drawn, target: Mapping[str, Tensor], classes: Sequence[str]) -> None:
    """Each box with the name of its class, and its score where it has one; crowds have a star."""
    labels = target["labels"].tolist()
    scores = (
        [f" {score:.2f}" for score in target["scores"].tolist()] if "scores" in target else [""] * len(labels)
    )
    crowds = target["crowd"].tolist() if "crowd" in target else [False] * len(labels)
    for sides, label, score, crowd in zip(target["boxes"].tolist(), labels, scores, crowds, strict=True):
        if label >= 0:
            name = classes[label] if label < len(classes) else str(label)
            picture.box(sides, label, name + "*" * bool(crowd) + score)
