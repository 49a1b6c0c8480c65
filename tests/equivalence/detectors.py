"""torchvision's detectors with random weights, made to spread their boxes and scores as trained ones do."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torchvision.models import get_model
from torchvision.models.detection.anchor_utils import AnchorGenerator, DefaultBoxGenerator
from torchvision.models.detection.fcos import FCOS
from torchvision.models.detection.retinanet import RetinaNet
from torchvision.models.detection.ssd import SSD, SSDHead

SIZES = {
    "tiny-ssd": 64,
    "tiny-retinanet": 64,
    "tiny-fcos": 64,
    "ssdlite320_mobilenet_v3_large": 320,
    "ssd300_vgg16": 300,
    "retinanet_resnet50_fpn": 128,
    "fcos_resnet50_fpn": 128,
}
"""Name -> height and width that it is tried at; all have a multiple of 32 or take any."""


class Backbone(nn.Module):
    """Two levels of 32 channels, at a quarter and an eighth."""

    out_channels = 32

    def __init__(self) -> None:
        super().__init__()
        self.quarter = nn.Sequential(nn.Conv2d(3, 32, 5, 4, 2, bias=False), nn.BatchNorm2d(32), nn.ReLU())
        self.eighth = nn.Sequential(nn.Conv2d(32, 32, 3, 2, 1, bias=False), nn.BatchNorm2d(32), nn.ReLU())

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        first = self.quarter(x)
        return {"0": first, "1": self.eighth(first)}


def _tiny(kind: str, classes: int) -> Any:
    few = {"topk_candidates": 60, "detections_per_img": 40}
    if kind == "tiny-retinanet":
        anchors = AnchorGenerator(((12, 16), (24, 32)), ((0.5, 1.0, 2.0),) * 2)
        return RetinaNet(Backbone(), classes, 64, 64, anchor_generator=anchors, **few)
    if kind == "tiny-fcos":
        anchors = AnchorGenerator(((8,), (16,)), ((1.0,),) * 2)
        return FCOS(Backbone(), classes, 64, 64, anchor_generator=anchors, **few)
    boxes = DefaultBoxGenerator([[2], [2, 3]])
    head = SSDHead([32, 32], boxes.num_anchors_per_location(), classes)
    half = [0.5, 0.5, 0.5]
    return SSD(Backbone(), boxes, (64, 64), classes, half, half, head, **few)


def detector(name: str, images: Tensor, classes: int = 7, **arguments: Any) -> Any:
    """As torchvision builds it, in evaluation mode, resizing nothing; statistics and heads fit to ``images``, 0 to 1.

    They are normalised as the network does it: SSD300 multiplies by 255.
    """
    side = images.shape[-1]
    sizes = {} if name.startswith("ssd") else {"min_size": side, "max_size": side}
    torch.manual_seed(0)
    plain = {"weights": None, "weights_backbone": None, "num_classes": classes}
    tiny = name.startswith("tiny")
    made: Any = _tiny(name, classes) if tiny else get_model(name, **{**plain, **sizes, **arguments})
    images = made.transform(list(images))[0].tensors
    for layer in made.modules():
        if isinstance(layer, nn.modules.batchnorm._BatchNorm):
            layer.momentum = None  # statistics are the mean over the passes below
    with torch.no_grad():
        made.train()
        for _ in range(2):
            made.head(list(made.backbone(images).values()))
        made.eval()
        last = {layer: Tensor.new_zeros(images, 0) for layer in _last_layers(made.head)}
        hooks = [layer.register_forward_hook(partial(_note, last)) for layer in last]
        made.head(list(made.backbone(images).values()))
        for hook in hooks:
            hook.remove()
        for layer, seen in last.items():
            layer.weight.mul_(0.5 / seen.std())
            layer.bias.zero_()
    return made


def _last_layers(head: nn.Module) -> list[Any]:
    named = [m for name, m in head.named_modules() if name.endswith(("cls_logits", "bbox_reg", "ctrness"))]
    columns = [m for m in head.modules() if hasattr(m, "module_list")]
    of_ssd = [m[-1] if isinstance(m, nn.Sequential) else m for one in columns for m in one.module_list]
    return named or of_ssd


def _note(seen: dict[Any, Tensor], layer: nn.Module, _: Any, output: Tensor) -> None:
    seen[layer] = torch.cat([seen[layer], output.flatten()])
