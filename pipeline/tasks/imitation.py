"""How far what a network returns is from what its teacher returns, both in their training form: pure functions.

``logits``   softened class scores (Hinton et al., 2015); of every pixel where there are some
``values``   numbers that are no class scores: points, raw maps
``lengths``  values that are to be found, depths, images: as the loss of regression has them
``dense``    a detector's classes and boxes, where its teacher is sure of something: places as numbers, or as the
             distributions over bins that many heads give (Zheng et al., 2022, Localization Distillation for Dense
             Object Detection)

What the two do not have in common is left out; None: there is nothing left to compare.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from jetpress.pipeline.network.models import outputs_of

Imitation = Callable[..., Tensor | None]
"""What the network returned, what its teacher did, temperature, how many classes there are (0: that is not known) -> a
scalar."""
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


def numbers(student: object, teacher: object, temperature: float, known: int = 0) -> Tensor | None:
    """Mean of ``values`` over all outputs."""
    del temperature, known
    return _mean([values(*pair) for pair in _pairs(student, teacher)])


def lengths(student: object, teacher: object, temperature: float, known: int = 0) -> Tensor | None:
    """Smooth L1 of all outputs, the loss of regression: the teacher is as steep as the labels.

    In units of the teacher's variance, values between -0.05 and 0.05 would weigh thousands of times what they do there.
    """
    del temperature, known
    return _mean([F.smooth_l1_loss(o.float(), t.float()) for o, t in _pairs(student, teacher)])


def classes(student: object, teacher: object, temperature: float, known: int = 0) -> Tensor | None:
    """Mean of ``logits`` of the first output and ``values`` of the others."""
    del known
    first = outputs_of(student)[0]
    return _mean(
        [
            logits(ours, theirs, temperature) if ours is first else values(ours, theirs)
            for ours, theirs in _pairs(student, teacher)
        ]
    )


def dense(student: object, teacher: object, temperature: float, known: int = 0) -> Tensor | None:
    """Of a detector that returns its class scores (before a sigmoid) and boxes by names such as ``logits`` and
    ``boxes``, or maps ``[n, 4 * bins + classes, h, w]`` (YOLOv8's); of other raw maps all numbers.

    A box is four numbers, or four distributions over bins (Li et al., 2020), which are compared as such.
    """
    if isinstance(student, Mapping) and isinstance(teacher, Mapping):
        if nested := [name for name in student if isinstance(student[name], Mapping) and name in teacher]:
            each = [dense(student[name], teacher[name], temperature, known) for name in nested]
            return _mean([one for one in each if one is not None])
        scores, boxes = _named(student, "logit", "cls", "score"), _named(student, "box", "reg")
        if scores and boxes and boxes in teacher and scores in teacher:
            sides = [_anchors_first(side[scores], side[boxes]) for side in (student, teacher)]
            alike = all(a.shape == b.shape for a, b in zip(*sides, strict=True))
            if alike and sides[0][1].shape[-1] % SIDES == 0:
                return _where_sure(*sides[0], *sides[1], temperature)
    maps = _pairs(student, teacher)
    if maps and all(_has_bins(ours, known) for ours, _ in maps):
        sides = [_of_maps([pair[at] for pair in maps], known) for at in (0, 1)]
        return _where_sure(*sides[0], *sides[1], temperature)
    return numbers(student, teacher, temperature)


def bins(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """Divergence of the softened distributions of four sides, their mean (Zheng et al., 2022): ``[n, anchors]``.

    Args:
        student: ``[n, anchors, 4 * bins]``, before a softmax.
        teacher: the same of the teacher.
        temperature: of both; its square keeps the size of gradients.
    """
    ours, theirs = (
        (one.unflatten(-1, (SIDES, -1)) / temperature).log_softmax(-1) for one in (student, teacher)
    )
    each = F.kl_div(ours, theirs, reduction="none", log_target=True).sum(-1)
    return each.mean(-1) * temperature**2


def _has_bins(raw: Tensor, known: int) -> bool:
    sides = raw.shape[1] - known if raw.ndim == 4 and known else 0
    return sides > SIDES and sides % SIDES == 0


def _of_maps(maps: Sequence[Tensor], known: int) -> tuple[Tensor, Tensor]:
    """Logits ``[n, anchors, classes]`` and boxes ``[n, anchors, 4 * bins]`` of maps that have the boxes first."""
    whole = torch.cat([one.float().flatten(2) for one in maps], 2).mT
    return whole[..., -known:], whole[..., :-known]


def _anchors_first(scores: Tensor, boxes: Tensor) -> tuple[Tensor, Tensor]:
    """Logits ``[n, anchors, classes]`` and boxes ``[n, anchors, numbers]`` of either layout: anchors are what both have
    as many of."""
    for one in (scores, scores.mT):
        for other in (boxes, boxes.mT):
            if one.shape[1] == other.shape[1]:
                return one.float(), other.float()
    return scores.float(), boxes.float()


def _where_sure(
    scores: Tensor, boxes: Tensor, their_scores: Tensor, their_boxes: Tensor, temperature: float
) -> Tensor:
    """Logits ``[n, anchors, classes]`` and boxes ``[n, anchors, 4]``, or of so many bins a side."""
    wanted = their_scores.sigmoid()
    sure = wanted.amax(2)
    known = F.binary_cross_entropy_with_logits(their_scores, wanted, reduction="none")
    apart = F.binary_cross_entropy_with_logits(scores, wanted, reduction="none") - known
    if boxes.shape[-1] > SIDES:
        moved = bins(boxes, their_boxes, temperature)
    else:
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
