"""The loss of SSD (Liu et al., 2016), for recipes/detection.toml: a detector has none that fits every network."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F
from torchvision.models.detection._utils import BoxCoder, SSDMatcher
from torchvision.ops import box_iou


def loss(outputs: dict[str, Tensor], target: dict[str, Tensor]) -> Tensor:
    """Smooth L1 for matched anchors, cross-entropy with the 3 hardest negatives for each.

    Args:
        outputs: of the network in training mode: ``cls_logits``, ``bbox_regression`` and ``anchors``.
        target: ``boxes [n, k, 4]`` in pixels of the input, and ``labels [n, k]`` from 0, -1 where there is no box.
    """
    anchors, coder, match = outputs["anchors"], BoxCoder((10.0, 10.0, 5.0, 5.0)), SSDMatcher(0.5)
    total, matched = outputs["cls_logits"].new_zeros(()), 0
    rows = (outputs["cls_logits"], outputs["bbox_regression"], target["boxes"], target["labels"])
    for logits, offsets, boxes, labels in zip(*rows, strict=True):
        wanted, named = boxes[labels >= 0], labels[labels >= 0]
        classes = torch.zeros(len(anchors), dtype=torch.int64, device=logits.device)
        if len(wanted):
            chosen = match(box_iou(wanted, anchors))
            on = torch.where(chosen >= 0)[0]
            classes[on] = named[chosen[on]] + 1  # SSD's class 0 is the background
            ideal = coder.encode_single(wanted[chosen[on]], anchors[on])
            total = total + F.smooth_l1_loss(offsets[on], ideal, reduction="sum")
        each, positive = F.cross_entropy(logits, classes, reduction="none"), classes > 0
        hardest = each[~positive].topk(min(3 * max(1, int(positive.sum())), int((~positive).sum()))).values
        total, matched = total + each[positive].sum() + hardest.sum(), matched + int(positive.sum())
    return total / max(1, matched)
