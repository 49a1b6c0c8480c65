"""A small detector of one stage without anchors, for detect.toml: 3 x 3 convolutions and one head.

Each cell of the last map tells where the middle of a box lies and how large it is (as in YOLOX, Ge et al., 2021), and
how well that box fits an object of each class (as in VarifocalNet, Zhang et al., 2021).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.ops import generalized_box_iou_loss

NEAR = 1.0
"""Cells whose middle is at most so many cells beside that of a box answer for it."""
RARE = -4.6
"""Logit of 0.01: at first no cell believes that it sees something."""


def convolution(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    """3 x 3, normalised, rectified."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()
    )


class Detector(nn.Module):
    """``boxes [n, cells, 4]`` (x1, y1, x2, y2 in pixels) and ``scores [n, classes, cells]`` of images ``[n, 3, h, w]``.

    Args:
        classes: how many there are.
        widths: channels at a half of the image's size, at a quarter, and so on; there is a cell for each place of the
            last.
        depth: convolutions of the head before its last one.
    """

    def __init__(self, classes: int, widths: Sequence[int], depth: int) -> None:
        super().__init__()
        self.classes, self.stride = classes, 2 ** len(widths)
        pairs = zip((3, *widths), widths, strict=False)
        self.backbone = nn.Sequential(
            *(nn.Sequential(convolution(a, b, 2), convolution(b, b)) for a, b in pairs)
        )
        self.head = nn.Sequential(*(convolution(widths[-1], widths[-1]) for _ in range(depth)))
        self.last = nn.Conv2d(widths[-1], 4 + classes, 3, padding=1)
        self.last.bias = nn.Parameter(torch.tensor([0.0] * 4 + [RARE] * classes))

    def forward(self, images: Tensor) -> object:
        """Boxes and scores; in training scores before their sigmoid, and the middles of the cells as well."""
        found = self.last(self.head(self.backbone(images)))
        rows, columns = found.shape[-2:]
        place, logits = found.flatten(2).split([4, self.classes], dim=1)
        cells = torch.arange(rows * columns, device=found.device)
        middles = self.stride * (torch.stack([cells % columns, cells // columns], dim=1) + 0.5)
        moved, extent = place.transpose(1, 2).split(2, dim=2)
        centre, half = middles + self.stride * moved, 0.5 * self.stride * extent.exp()
        boxes = torch.cat([centre - half, centre + half], dim=2)
        if self.training:
            return {"boxes": boxes, "logits": logits, "middles": middles}
        return boxes, logits.sigmoid()

    def rules(self, shape: Sequence[int]) -> dict[str, float]:
        """How boxes and scores become detections."""
        del shape
        return {"score": 0.05, "iou": 0.5, "candidates": 100, "detections": 20, "first_label": 0}

    def loss(self, outputs: Mapping[str, Tensor], target: Mapping[str, Tensor]) -> Tensor:
        """Of what it returns in training, and ``boxes [n, k, 4]`` and ``labels [n, k]``, -1 where there is no box.

        The score of a cell that answers for a box is to be the overlap of its own with that, all others 0.
        """
        boxes, logits = outputs["boxes"].float(), outputs["logits"].float().transpose(1, 2)
        image, cell, place = self._answering(outputs["middles"], target)
        wanted, label = target["boxes"][image, place], target["labels"][image, place]
        apart = generalized_box_iou_loss(boxes[image, cell], wanted)
        ideal = torch.zeros_like(logits)
        ideal[image, cell, label] = (1 - apart.detach()).clamp(min=0)
        each = F.binary_cross_entropy_with_logits(logits, ideal, reduction="none")
        scores = each * torch.where(ideal > 0, ideal, 0.75 * logits.sigmoid().square()).detach()
        total: Tensor = (scores.sum() + 2 * apart.sum()) / max(1, len(cell))
        return total

    def _answering(self, middles: Tensor, target: Mapping[str, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """Image, cell and box of each cell that answers for a box: of several the nearest."""
        boxes = target["boxes"]
        centres = 0.5 * (boxes[..., :2] + boxes[..., 2:])
        far = (middles[:, None] - centres[:, None]).abs().amax(3)  # [n, cells, k]
        far = far.masked_fill(target["labels"][:, None] < 0, torch.inf)
        distance, nearest = far.min(2)
        image, cell = (distance <= NEAR * self.stride).nonzero(as_tuple=True)
        return image, cell, nearest[image, cell]


def build(classes: int = 10, widths: Sequence[int] = (24, 48, 96), depth: int = 2) -> nn.Module:
    """The network, freshly initialised."""
    return Detector(classes, widths, depth)
