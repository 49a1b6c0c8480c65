"""torchvision's detectors as networks that an engine can hold: images in, every box and its scores out.

A detector ends with a search (threshold, best candidates, non-maximum suppression) whose results have no fixed
number. So the network ends before it: ``boxes [n, anchors, 4]`` in pixels (x1, y1, x2, y2, inside of the image)
and ``scores [n, classes, anchors]``. The search follows on the board (:mod:`jetpress.deploy.runner.decode.detections`,
numpy) or as the last nodes of the graph (:mod:`jetpress.pipeline.graph.suppress`), by the rules that
:class:`DetectionRules` writes down.

Parameters keep torchvision's names, so a torchvision checkpoint loads. Resizing and normalising are those of the
data (``data.size``, ``data.mean``, ``data.std``), not torchvision's own transform.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import SimpleNamespace

import torch
from torch import Tensor, nn
from torchvision.models.detection.fcos import FCOS
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.retinanet import RetinaNet
from torchvision.models.detection.ssd import SSD
from torchvision.ops import box_iou

from jetpress.deploy.errors import RecipeError
from jetpress.deploy.runner.decode.heads import HEADS
from jetpress.pipeline.recipe.sections.data import DataConfig
from jetpress.pipeline.recipe.sections.model import ModelConfig
from jetpress.pipeline.recipe.sections.task import Head, TaskConfig
from jetpress.pipeline.store.facts.onnx_file import DetectionRules

OUTPUTS = ("boxes", "scores")
JUDGED_BY = ("proposal_matcher", "box_coder", "neg_to_pos_ratio", "center_sampling_radius")
"""What torchvision's losses look up in a detector beside its head."""


class Decode(nn.Module):
    """Offsets ``[n, anchors, 4]`` and anchors ``[anchors, 4]`` to boxes inside an image of (height, width)."""

    def __init__(self, weights: Sequence[float] | None, largest: float = math.log(1000 / 16)) -> None:
        """``weights``: as in torchvision's BoxCoder; None: distances to the four sides, as in BoxLinearCoder."""
        super().__init__()
        self.weights, self.largest = weights, largest

    def forward(self, offsets: Tensor, anchors: Tensor, size: tuple[int, int]) -> Tensor:
        """Centre and extent are moved as in Girshick et al., 2014, or the sides as in Tian et al., 2019."""
        low, high = anchors[:, :2], anchors[:, 2:]
        extent, first, second = high - low, offsets[..., :2], offsets[..., 2:]
        centre = low + 0.5 * extent
        if self.weights is None:
            corners = [centre - first * extent, centre + second * extent]
        else:
            by = offsets.new_tensor(self.weights)
            centre = first / by[:2] * extent + centre
            half = 0.5 * (torch.exp((second / by[2:]).clamp(max=self.largest)) * extent)
            corners = [centre - half, centre + half]
        height, width = size
        limit = offsets.new_tensor([width, height, width, height])
        return torch.minimum(torch.cat(corners, dim=-1).clamp(min=0), limit)


class Detector(nn.Module):
    """RetinaNet, FCOS, SSD or SSDlite of torchvision up to its suppression.

    In training mode it returns what torchvision's own losses take: the head's outputs, the ``anchors``, and how many of
    them are of each level (``levels``).
    """

    def __init__(self, detector: FCOS | RetinaNet | SSD) -> None:
        super().__init__()
        self.backbone, self.head = detector.backbone, detector.head
        self.anchor_generator = detector.anchor_generator
        self.decode_boxes = Decode(getattr(detector.box_coder, "weights", None))
        self.background = isinstance(detector, SSD)
        self.kind = type(detector)
        self.judged_by = {name: getattr(detector, name) for name in JUDGED_BY if hasattr(detector, name)}
        self.mean, self.std = tuple(detector.transform.image_mean), tuple(detector.transform.image_std)
        self.limits = {
            "score": detector.score_thresh,
            "iou": detector.nms_thresh,
            "candidates": detector.topk_candidates,
            "detections": detector.detections_per_img,
        }

    def forward(self, images: Tensor) -> object:
        """``(boxes, scores)`` of images ``[n, 3, height, width]``, normalised."""
        features, found, anchors = self._raw(images)
        if self.training:
            return {**found, "anchors": anchors, "levels": torch.tensor(self._levels(features))}
        height, width = images.shape[-2:]
        boxes = self.decode_boxes(found["bbox_regression"], anchors, (height, width))
        logits = found["cls_logits"]
        if self.background:
            scores = logits.softmax(-1)[..., 1:]
        elif "bbox_ctrness" in found:
            scores = torch.sqrt(logits.sigmoid() * found["bbox_ctrness"].sigmoid())
        else:
            scores = logits.sigmoid()
        return boxes, scores.transpose(1, 2)

    def rules(self, shape: Sequence[int]) -> DetectionRules:
        """For images of this shape ``[3, height, width]``."""
        with torch.no_grad():
            features, _, anchors = self._raw(torch.zeros(1, *shape))
        levels = self._levels(features)
        assert sum(levels) == len(anchors)
        return DetectionRules(
            **self.limits, first_label=int(self.background), levels=() if self.background else levels
        )

    def loss(self, outputs: Mapping[str, Tensor], target: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """torchvision's own losses, by their names.

        Args:
            outputs: in training mode.
            target: ``boxes [n, k, 4]`` in pixels, ``labels [n, k]`` from 0, -1 where there is no box, ``crowd [n, k]``.
        """
        found, anchors = dict(outputs), outputs["anchors"]
        levels, _ = found.pop("levels").tolist(), found.pop("anchors")
        wanted = []
        for boxes, labels, crowd in zip(target["boxes"], target["labels"], target["crowd"], strict=True):
            there = (labels >= 0) & ~crowd
            wanted.append({"boxes": boxes[there], "labels": labels[there] + int(self.background)})
        given, detector = [anchors] * len(wanted), SimpleNamespace(head=self.head, **self.judged_by)
        more = []
        if self.kind is FCOS:
            more = [levels]
        elif self.kind is SSD:
            match = self.judged_by["proposal_matcher"]
            nothing = torch.full((len(anchors),), -1, device=anchors.device)
            more = [[match(box_iou(o["boxes"], anchors)) if len(o["boxes"]) else nothing for o in wanted]]
        losses: dict[str, Tensor] = self.kind.compute_loss(detector, wanted, found, given, *more)
        return losses

    def _levels(self, features: Sequence[Tensor]) -> tuple[int, ...]:
        """Anchors of each level."""
        each = self.anchor_generator.num_anchors_per_location()
        cells = [one.shape[-2] * one.shape[-1] for one in features]
        return tuple(count * anchors for count, anchors in zip(cells, each, strict=True))

    def _raw(self, images: Tensor) -> tuple[list[Tensor], dict[str, Tensor], Tensor]:
        features = list(self.backbone(images).values())
        height, width = images.shape[-2:]
        (anchors,) = self.anchor_generator(ImageList(images, [(height, width)]), features)
        return features, self.head(features), anchors


def wrapped(module: nn.Module) -> nn.Module:
    """A detector of torchvision as the network that an engine holds; any other network as it is.

    Raises:
        RecipeError: a detector with two stages.
    """
    if isinstance(module, FCOS | RetinaNet | SSD):
        return Detector(module).train(module.training)
    if hasattr(module, "roi_heads") and hasattr(module, "rpn"):
        raise RecipeError(
            f"{type(module).__name__} has two stages: its second looks at regions that its own suppression finds, "
            "so no graph ends before that",
            "take a one-stage detector (retinanet_*, fcos_*, ssd*), or give a network of your own that ends "
            "before the suppression: `jetpress docs detection`",
        )
    return module


def fits(module: nn.Module, data: DataConfig) -> None:
    """The data is normalised as torchvision normalises for this detector.

    Raises:
        RecipeError: it is not.
    """
    if isinstance(module, Detector) and (module.mean, module.std) != (tuple(data.mean), tuple(data.std)):
        mean, std = list(module.mean), list(module.std)
        raise RecipeError(
            f"the detector takes images normalised with mean {mean} and std {std}, the data has "
            f"{list(data.mean)} and {list(data.std)}",
            f"set data.mean = {mean} and data.std = {std}; trained otherwise, say so in model.arguments "
            "(image_mean, image_std)",
        )


def rules_of(module: nn.Module, shape: Sequence[int]) -> DetectionRules | None:
    """The rules of a detector; None for other networks.

    A network of one's own is a detector when it returns ``(boxes, scores)`` as described above and has a method
    ``rules(shape)`` that gives a mapping with the fields of :class:`DetectionRules`.
    """
    find = getattr(module, "rules", None)
    if not callable(find):
        return None
    modes = [(one, one.training) for one in module.modules()]
    module.eval()  # it may have to run for them: BatchNorm would learn of it, and cannot with one sample of one pixel
    try:
        found = find(shape)
    finally:
        for one, mode in modes:
            one.training = mode
    try:
        return found if isinstance(found, DetectionRules) else DetectionRules(**dict(found))
    except (TypeError, ValueError) as error:
        raise RecipeError(
            f"rules() of {type(module).__name__} does not give the rules of a detector: {error}",
            "score, iou, candidates, detections, first_label, and levels where there are some",
        ) from error


def of_head(task: TaskConfig, model: ModelConfig) -> DetectionRules:
    """The rules where the recipe names the head.

    Raises:
        RecipeError: the classes are needed and not known; or the points of that head.
    """
    head, size = HEADS[str(task.head)], model.inputs[0].shape[1:]
    if bool(task.points) != (task.kind == "pose") or (task.points and task.head != "yolov8"):
        raise RecipeError(
            f'task.kind = {json.dumps(task.kind)}, task.head = "{task.head}" and task.points = {task.points} do not '
            "fit together",
            'points of objects are read from the head "yolov8", with task.kind = "pose" and task.points = [17, 3]',
        )
    if head.scores == "label" and not task.classes:
        raise RecipeError(f'task.head = "{task.head}" needs the names of the classes', "set task.classes")
    names = model.outputs or ("output", *(f"output_{n}" for n in range(1, len(head.outputs))))
    limits = DetectionRules(
        score=0.01, iou=0.65 if head.suppressed else 1.0, candidates=1000, detections=100, first_label=0
    )
    found = replace(limits, head=str(task.head), reads=names[: len(head.outputs)], size=size)
    return asked(replace(found, classes=len(task.classes), points=task.points or ()), task)


def head_of(outputs: Sequence[Tensor], size: tuple[int, int], builder: str) -> Head:
    """The name of the head whose layout a network's outputs have, for a recipe that is yet to be written.

    Args:
        outputs: of an image of ``size``, in evaluation mode.
        size: height and width.
        builder: names it in the message.

    Raises:
        RecipeError: they have none, or one of several.
    """
    shapes = [list(one.shape) for one in outputs]
    first, second = shapes[0], shapes[1] if len(shapes) > 1 else []
    cells = sum((size[0] // stride) * (size[1] // stride) for stride in HEADS["yolox"].strides)
    if len(first) == 3:
        if len(second) == 3 and first[2] == 4 and second[1:] == [second[1], first[1]]:
            return "ours"
        if len(second) == 3 and second[1:] == [first[1], 4]:
            return "detr"
        if first[2] > 5 and first[1] in (cells, 3 * cells) and first[2] != cells:
            return "yolox" if first[1] == cells else "yolov5"
        if first[2] == 6 and first[1] > 6:
            return "yolov10"
        if 4 < first[1] <= first[2]:
            return "yolov8"
    raise RecipeError(
        f"the outputs of {builder} have the shapes {', '.join(map(str, shapes))}: no layout of boxes that is known",
        "`jetpress docs detection` has the layouts of task.head; or give the network a method rules(shape)",
    )


def asked(rules: DetectionRules, task: TaskConfig) -> DetectionRules:
    """With the limits that the recipe gives."""
    return replace(
        rules,
        score=rules.score if task.score is None else task.score,
        iou=rules.iou if task.iou is None else task.iou,
        detections=rules.detections if task.detections is None else task.detections,
    )
