"""How far what a network returns is from what its teacher returns, both in their training form: pure functions.

``logits``   softened class scores (Hinton et al., 2015); of every pixel where there are some
``values``   numbers that are no class scores: depths, points, raw maps
``dense``    a detector's classes and boxes, where its teacher is sure of something (after Zheng et al., 2022,
             Localization Distillation for Dense Object Detection)

What the two do not have in common is left out; None: there is nothing left to compare.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor
from torch.nn import functional as F

from jetpress.pipeline.network.models import outputs_of

Imitation = Callable[[object, object, float], Tensor | None]
"""What the network returned, what its teacher did, temperature -> a scalar."""
SIDES = 4
"""Numbers of a box."""


def logits(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """Divergence of the softened classes (dimension 1), a mean over samples and places; a scalar.

    Times the temperature's square: gradients then keep their size whatever the temperature.
    """
    ours = F.log_softmax(student.float() / temperature, dim=1)
    theirs = F.log_softmax(teacher.float() / temperature, dim=1)
    each = F.kl_div(ours, theirs, reduction="none", log_target=True).sum(1)
    return each.mean() * temperature**2


def values(student: Tensor, teacher: Tensor) -> Tensor:
    """Mean squared difference in units of the teacher's variance: outputs of any scale count alike."""
    ours, theirs = student.float(), teacher.float()
    return F.mse_loss(ours, theirs) / theirs.var(correction=0).clamp_min(1e-6)


def numbers(student: object, teacher: object, temperature: float) -> Tensor | None:
    """Mean of ``values`` over all outputs."""
    del temperature
    return _mean([values(*pair) for pair in _pairs(student, teacher)])


def classes(student: object, teacher: object, temperature: float) -> Tensor | None:
    """Mean of ``logits`` of the first output and ``values`` of the others."""
    first = outputs_of(student)[0]
    return _mean(
        [
            logits(ours, theirs, temperature) if ours is first else values(ours, theirs)
            for ours, theirs in _pairs(student, teacher)
        ]
    )


def dense(student: object, teacher: object, temperature: float) -> Tensor | None:
    """Of a detector that returns its class scores (before a sigmoid) and boxes by names such as ``logits`` and
    ``boxes``; of raw maps all numbers."""
    if isinstance(student, Mapping) and isinstance(teacher, Mapping):
        scores, boxes = _named(student, "logit", "cls", "score"), _named(student, "box", "reg")
        if scores and boxes and student[scores].shape == teacher[scores].shape:
            ours, theirs = ([side[name].float() for name in (scores, boxes)] for side in (student, teacher))
            if ours[1].shape == theirs[1].shape and ours[1].shape[-1] == SIDES:
                return _where_sure(*ours, *theirs)
    return numbers(student, teacher, temperature)


def _where_sure(scores: Tensor, boxes: Tensor, their_scores: Tensor, their_boxes: Tensor) -> Tensor:
    """Boxes ``[n, anchors, 4]`` and logits ``[n, anchors, classes]`` or ``[n, classes, anchors]``."""
    if scores.shape[1] != boxes.shape[1]:
        scores, their_scores = scores.mT, their_scores.mT
    wanted = their_scores.sigmoid()
    sure = wanted.amax(2)
    known = F.binary_cross_entropy_with_logits(their_scores, wanted, reduction="none")
    apart = F.binary_cross_entropy_with_logits(scores, wanted, reduction="none") - known
    scale = their_boxes.flatten(0, 1).var(0, correction=0).clamp_min(1e-6)
    moved = ((boxes - their_boxes).square() / scale).mean(2)
    return (apart.sum() + (sure * moved).sum()) / sure.sum().clamp_min(1.0)


def _named(result: Mapping[str, Tensor], *parts: str) -> str | None:
    """The first name with one of these parts in it; "bbox_regression" is no class."""
    found = (name for name in result if any(part in name.lower() for part in parts))
    return next(found, None)


def _pairs(student: object, teacher: object) -> list[tuple[Tensor, Tensor]]:
    """Outputs of floating point at the same places, of the same shapes."""
    both = zip(outputs_of(student), outputs_of(teacher), strict=False)
    return [(a, b) for a, b in both if a.is_floating_point() and a.shape == b.shape]


def _mean(losses: list[Tensor]) -> Tensor | None:
    return torch.stack(losses).mean() if losses else None
