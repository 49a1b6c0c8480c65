"""Detection data in COCO's format, the loss of SSD and a score for each image: for recipes/detection.toml.

Below ``$COCO_ROOT`` (or the working folder): ``train.json``, ``val.json`` and the images that they name. Change
what differs in yours; jetpress asks for three functions and nothing else.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import Dataset
from torchvision.models.detection._utils import BoxCoder, SSDMatcher
from torchvision.ops import box_iou
from torchvision.transforms.functional import normalize, pil_to_tensor

from jetpress.deploy.runner.detections import detections

SIZE, MOST = 320, 100
"""Height and width of the input; the most boxes of one image. A target is ``[MOST, 5]``: box and label, or -1."""
RULES = {"score": 0.3, "iou": 0.5, "candidates": 100, "detections": 100, "first_label": 1, "levels": ()}
"""What counts as found while it is judged."""


class Coco(Dataset[tuple[Tensor, Tensor]]):
    """Images, stretched to a square, and their boxes in pixels of that."""

    def __init__(self, listing: Path) -> None:
        found = json.loads(listing.read_text())
        self.images = [(one["id"], str(listing.parent / one["file_name"])) for one in found["images"]]
        self.boxes: dict[int, list[list[float]]] = {number: [] for number, _ in self.images}
        for one in found["annotations"]:
            left, top, width, height = one["bbox"]
            box = [left, top, left + width, top + height, one["category_id"]]
            self.boxes[one["image_id"]].append(box)

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        number, path = self.images[index]
        with Image.open(path) as image:
            wide, high = image.size
            pixels = pil_to_tensor(image.convert("RGB").resize((SIZE, SIZE))).float() / 255
        target = torch.full((MOST, 5), -1.0)
        boxes = torch.tensor(self.boxes[number][:MOST]).reshape(-1, 5)
        target[: len(boxes)] = boxes * torch.tensor([SIZE / wide, SIZE / high, SIZE / wide, SIZE / high, 1])
        return normalize(pixels, [0.5] * 3, [0.5] * 3), target


def load() -> dict[str, Coco]:
    """The splits."""
    root = Path(os.environ.get("COCO_ROOT", "."))
    return {"train": Coco(root / "train.json"), "validation": Coco(root / "val.json")}


def loss(outputs: dict[str, Tensor], target: Tensor) -> Tensor:
    """SSD's (Liu et al., 2016): smooth L1 for matched anchors, cross-entropy with the 3 hardest negatives for each."""
    anchors, coder, match = outputs["anchors"], BoxCoder((10.0, 10.0, 5.0, 5.0)), SSDMatcher(0.5)
    total, matched = outputs["cls_logits"].new_zeros(()), 0
    for logits, offsets, wanted in zip(
        outputs["cls_logits"], outputs["bbox_regression"], target, strict=True
    ):
        there = wanted[wanted[:, 4] >= 0]
        classes = torch.zeros(len(anchors), dtype=torch.int64, device=logits.device)
        if len(there):
            chosen = match(box_iou(there[:, :4], anchors))
            on = torch.where(chosen >= 0)[0]
            classes[on] = there[chosen[on], 4].long()
            ideal = coder.encode_single(there[chosen[on], :4], anchors[on])
            total = total + F.smooth_l1_loss(offsets[on], ideal, reduction="sum")
        each, positive = F.cross_entropy(logits, classes, reduction="none"), classes > 0
        hardest = each[~positive].topk(min(3 * max(1, int(positive.sum())), int((~positive).sum()))).values
        total, matched = total + each[positive].sum() + hardest.sum(), matched + int(positive.sum())
    return total / max(1, matched)


def points(outputs: tuple[Tensor, Tensor], target: Tensor) -> Tensor:
    """F1 of each image in percent: found with the right label and an overlap of at least a half."""
    boxes, scores = (one.cpu().numpy() for one in outputs)
    found = detections(boxes, scores, RULES)
    return torch.tensor([_f1(*one, wanted.cpu()) for one, wanted in zip(found, target, strict=True)])


def _f1(boxes: Any, _: Any, labels: Any, target: Tensor) -> float:
    wanted = target[target[:, 4] >= 0]
    if not len(labels) or not len(wanted):
        return 100.0 * (len(labels) == len(wanted))
    same = torch.from_numpy(labels)[:, None] == wanted[:, 4]
    overlap = box_iou(torch.from_numpy(boxes), wanted[:, :4]) * same
    hits, free = 0, torch.ones(len(wanted), dtype=torch.bool)
    for row in overlap:  # best first: each takes the wanted box that it overlaps most
        best = int((row * free).argmax())
        if free[best] and row[best] >= 0.5:
            hits, free[best] = hits + 1, False
    return 200.0 * hits / (len(labels) + len(wanted))
