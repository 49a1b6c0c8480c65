"""What the outputs of somebody else's file mean, where that is known, and how many of its answers another file gives.

Outputs are numbers, thousands of them, and a cosine is made by most of them; what a user sees are a few detections, or
the first class. Nobody says which of those are right, but two files can be asked whether they say the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict

import numpy as np
import torch
from torch import Tensor, nn
from torchvision.ops import box_iou

from jetpress.deploy.errors import RecipeError
from jetpress.deploy.runner.decode.detections import Detected, detections
from jetpress.deploy.runner.decode.heads import HEADS, clean, sizes_of
from jetpress.deploy.runner.system.failures import BundleError
from jetpress.pipeline.graph.session import Array, Feed
from jetpress.pipeline.recipe.sections.model import InputConfig, ModelConfig
from jetpress.pipeline.recipe.sections.task import TaskConfig
from jetpress.pipeline.store.facts.onnx_file import Answers, DetectionRules, OnnxModelFacts

SURE = 0.25
"""Score from which a detection is looked at: those with less come and go with rounding."""
OVERLAP = 0.5
"""Intersection over union from which two boxes of one label are of one thing, as in mAP50."""


def rules_of(task: TaskConfig, facts: OnnxModelFacts) -> DetectionRules | None:
    """How the outputs become detections, if somebody says what head they are of.

    Raises:
        RecipeError: the outputs are not those of that head, or no input is an image.
    """
    if task.head is None:
        return None
    from jetpress.pipeline.network.detectors import of_head

    image = next((one for one in facts.inputs if len(one.shape) == 4), None)
    sides = image.shape[1:] if image else ()
    if not sides or not all(isinstance(side, int) for side in sides):
        raise RecipeError(f"--head {task.head}, and no input is an image of one size", "leave --head out")
    shape = tuple(int(side) for side in sides)
    names = tuple(one.name for one in facts.outputs)
    rules = of_head(task, ModelConfig(inputs=(InputConfig(shape),), outputs=names))
    shapes = [[size if isinstance(size, int) else 1 for size in one.shape] for one in facts.outputs]
    try:
        sizes_of(shapes[: len(rules.reads)], HEADS[rules.head], rules.classes, rules.points)
    except BundleError as error:
        raise RecipeError(
            f"--head {task.head}: {error}", "`jetpress docs detection` has the outputs of every head"
        ) from error
    return rules


def likely_head(facts: OnnxModelFacts, outputs: Sequence[Array]) -> str | None:
    """The head whose layout the outputs have, if the file takes an image and they have one: then it may be a detector.

    Args:
        outputs: to one sample, in order.
    """
    from jetpress.pipeline.network.detectors import head_of

    image = next((one for one in facts.inputs if len(one.shape) == 4), None)
    sides = tuple(side for side in image.shape[2:] if isinstance(side, int)) if image else ()
    if len(sides) != 2:
        return None
    try:
        return head_of([torch.from_numpy(one) for one in outputs], sides, "the file")
    except RecipeError:
        return None


def agreement(
    given: Sequence[Feed], made: Sequence[Feed], names: Sequence[str], rules: DetectionRules | None
) -> Answers | None:
    """The answers of a file and of another one to the same samples; None: what the outputs mean is not known, or the
    file finds nothing.

    Args:
        given: what the file gives to each sample, by the names of its outputs.
        made: what the other one does.
        names: of the outputs, in order; the first that gives a row of numbers to a sample is taken for classes.
        rules: of a detector.
    """
    if rules is not None:
        return _detected([_found(one, rules) for one in given], [_found(one, rules) for one in made])
    rows = (name for name in names if given[0][name].ndim == 2 and given[0][name].shape[1] > 1)
    name = next((name for name in rows if given[0][name].dtype.kind == "f"), None)
    if name is None:
        return None
    first, second = (np.concatenate([one[name] for one in some]).argmax(1) for some in (given, made))
    same = float((first == second).mean())
    return Answers("top classes", same, same, len(first), len(given))


def _found(outputs: Feed, rules: DetectionRules) -> Detected:
    (found,) = detections(outputs, {**asdict(rules), "score": max(SURE, rules.score)})
    return found


def _detected(given: Sequence[Detected], made: Sequence[Detected]) -> Answers | None:
    counts = [sum(len(one[1]) for one in some) for some in (given, made)]
    if not counts[0]:
        return None
    kept = right = 0
    for (boxes, _, labels), (others, _, theirs) in zip(given, made, strict=True):
        overlap = box_iou(*(torch.from_numpy(one).float() for one in (boxes, others))).numpy()
        same = (overlap >= OVERLAP) & (labels[:, None] == theirs[None])
        kept, right = kept + int(same.any(1).sum()), right + int(same.any(0).sum())
    return Answers("detections", kept / counts[0], right / max(1, counts[1]), counts[0], len(given))


@contextmanager
def answering(network: nn.Module, names: Sequence[str], rules: DetectionRules | None) -> Iterator[None]:
    """Meanwhile a detector gives scores, and boxes weighed by the best score of their place, in shares of their size:
    what becomes of places where nothing is does not count. Other networks stay as they are."""

    def read(_: nn.Module, __: object, outputs: Sequence[Tensor]) -> tuple[Tensor, Tensor] | None:
        raw = dict(zip(names, outputs, strict=False))
        if rules is None or any(type(one) is not Tensor for one in outputs):  # it is being traced
            return None
        found = [raw[name].detach().numpy() for name in rules.reads]
        boxes, scores = clean(found, HEADS[rules.head], rules.size, rules.classes)
        sure, sides = scores.max(1)[..., None], np.maximum(boxes[..., 2:] - boxes[..., :2], 1)
        return torch.from_numpy(scores), torch.from_numpy(sure * boxes / np.tile(sides, 2))

    hook = network.register_forward_hook(read)
    try:
        yield
    finally:
        hook.remove()
