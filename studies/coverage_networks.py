"""The networks of :mod:`studies.coverage`, as ``set:name``, and how each is built: random weights, no hints."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from jetpress.pipeline.network import models
from jetpress.pipeline.network.reparametrized import bake
from jetpress.pipeline.recipe.sections.model import InputConfig, ModelConfig

READS = (
    "coverage_files.py",
    "coverage_dense.py",
    "coverage_restoration.py",
    "coverage_sequences.py",
    "coverage_transformers.py",
)
SEED = 0
RANDOM_COUNT = 100
LARGEST_PARAMETERS, LARGEST_SIDE = 60e6, 288
"""Of the random ones: what two cores manage."""

_FAMILIES = """
beit_base_patch16_224 caformer_s18 cait_xxs24_224 coatnet_nano_rw_224 convmixer_768_32 convnext_tiny
convnextv2_tiny cspdarknet53 cspresnet50 darknet53 deit3_small_patch16_224 deit_small_patch16_224
densenet121 dla34 dpn68 eca_nfnet_l0 edgenext_small efficientformer_l1 efficientnet_b0 efficientnet_lite0
efficientnetv2_rw_t efficientvit_b0 efficientvit_m0 ese_vovnet19b_dw eva02_tiny_patch14_224 fastvit_t8
gernet_s ghostnet_100 ghostnetv2_100 hardcorenas_a hgnetv2_b0 hrnet_w18_small inception_next_tiny
inception_resnet_v2 inception_v4 lcnet_100 legacy_xception levit_128s maxvit_tiny_tf_224 mixer_s16_224
mobilenetv3_large_100 mobilenetv4_conv_medium mobilenetv4_conv_small mobilenetv4_hybrid_medium mobileone_s0
mobilevit_s mobilevitv2_100 nfnet_f0 pit_s_224 poolformer_s12 pvt_v2_b0 regnety_008 regnetz_b16 repvgg_a0
repvit_m1 res2net50_26w_4s resmlp_12_224 resnest14d resnet50d resnetv2_50 rexnet_100 selecsls42b
sequencer2d_s seresnet50 skresnet18 starnet_s1 swin_tiny_patch4_window7_224 swinv2_tiny_window8_256
tiny_vit_5m_224 tinynet_a twins_svt_small vgg11_bn vit_small_patch16_224 vit_tiny_patch16_224 xception41
xcit_nano_12_p16_224
"""
"""One network per timm family: those that torch-pruning was measured on."""

_DETECTORS = (
    "retinanet_resnet50_fpn_v2", "fcos_resnet50_fpn", "ssdlite320_mobilenet_v3_large", "ssd300_vgg16",
    "fasterrcnn_resnet50_fpn_v2",
)  # fmt: skip

_IMAGE = InputConfig((3, 64, 64))
_FILES = {
    "unet": (_IMAGE,),
    "two_inputs": (InputConfig((3, 32, 32), "image"), InputConfig((10,), "side")),
    "recurrent": (_IMAGE,),
    "transformer": (_IMAGE,),
    "own_widths": (_IMAGE,),
    "tokens": (InputConfig((16,), "tokens", "int64"),),
}
"""Function of ``coverage_files.py`` -> its inputs."""


_CLIP, _LINE, _SOUND = InputConfig((3, 8, 32, 32)), InputConfig((1, 32, 64)), InputConfig((1, 1600))
_DENSE, _RESTORATION = "coverage_dense.py", "coverage_restoration.py"
_SEQUENCES, _TRANSFORMERS = "coverage_sequences.py", "coverage_transformers.py"
_TASKS: dict[str, dict[str, tuple[str, InputConfig]]] = {
    "detectors": {
        **dict.fromkeys(("Yolo", "Yolox", "CenterNet", "Detr", "BiFpn"), (_DENSE, _IMAGE)),
        "yolos": (_TRANSFORMERS, _IMAGE),
    },
    "segmenters": {
        **dict.fromkeys(("ENet", "PspNet", "BiSeNet", "UNetPlus"), (_DENSE, _IMAGE)),
        "segformer": (_TRANSFORMERS, _IMAGE),
        "mobilevit_segmentation": (_TRANSFORMERS, _IMAGE),
    },
    "video": {
        **dict.fromkeys(("C3d", "X3d", "SlowFast"), (_SEQUENCES, _CLIP)),
        "Shift": (_SEQUENCES, InputConfig((8, 3, 32, 32))),
        "ConvLstm": (_SEQUENCES, InputConfig((4, 3, 32, 32))),
        **{name: ("", InputConfig((3, 8, 64, 64))) for name in ("r3d_18", "mc3_18", "r2plus1d_18")},
        "s3d": ("", InputConfig((3, 16, 224, 224))),  # its last pooling asks for so much
        "swin3d_t": ("", _CLIP),
        "vit_mae_video": (_TRANSFORMERS, InputConfig((4, 3, 32, 32))),
        "timesformer": (_TRANSFORMERS, InputConfig((4, 3, 32, 32))),
    },
    "audio": {
        **dict.fromkeys(("M5", "TasNet"), (_SEQUENCES, _SOUND)),
        "KeywordSpotter": (_SEQUENCES, InputConfig((1, 49, 10))),
        "SoundGru": (_SEQUENCES, InputConfig((1, 20, 32))),
        "Tcn": (_SEQUENCES, InputConfig((16, 40))),
        "Conformer": (_SEQUENCES, InputConfig((25, 20))),
        "ast": (_TRANSFORMERS, InputConfig((64, 32))),
        "wav2vec2": (_TRANSFORMERS, InputConfig((1600,))),
        "hubert": (_TRANSFORMERS, InputConfig((1600,))),
    },
    "ocr": {
        **dict.fromkeys(("Crnn", "Svtr", "Glimpse"), (_SEQUENCES, _LINE)),
        "DbNet": (_SEQUENCES, _IMAGE),
        "donut": (_TRANSFORMERS, _IMAGE),
    },
    "restoration": {
        **{
            name: (_RESTORATION, InputConfig((3, 32, 32)))
            for name in ("Edsr", "Espcn", "DnCnn", "NafNet", "Restormer")
        },
        "Depth": (_RESTORATION, _IMAGE),
        "swin2sr": (_TRANSFORMERS, _IMAGE),
        "glpn": (_TRANSFORMERS, _IMAGE),
    },
}
"""Set -> name -> its file (empty: torchvision) and its input."""


class TooLargeError(Exception):
    """A random network beyond what this comparison runs."""


def networks() -> dict[str, list[str]]:
    """Set -> ``set:name``. Of the ``random`` ones far more than are needed: the too large are passed over."""
    import timm
    import torchvision.models as zoo

    families = _FAMILIES.split()
    others = [n for n in timm.list_models() if n not in families and not n.startswith("test_")]
    drawn = [others[k] for k in np.random.default_rng(SEED).permutation(len(others))]
    names = {
        "torchvision": zoo.list_models(module=zoo),
        "segmentation": zoo.list_models(module=zoo.segmentation),
        "detection": _DETECTORS,
        "timm": families,
        "files": _FILES,
        **_TASKS,
        "random": drawn,
    }
    return {family: [f"{family}:{name}" for name in found] for family, found in names.items()}


def build(reference: str) -> tuple[nn.Module, tuple[InputConfig, ...], tuple[Tensor, ...]]:
    """The network in eval mode, its inputs, and a batch of two.

    Raises:
        TooLargeError: a random network that this comparison passes over.
    """
    family, _, name = reference.partition(":")
    torch.manual_seed(SEED)
    inputs: tuple[InputConfig, ...]
    if family in ("timm", "random"):
        module, inputs = _timm(name, limited=family == "random")
    elif family == "files":
        path = Path(__file__).with_name("coverage_files.py")
        module, inputs = models.build(ModelConfig(f"{path}:{name}")), _FILES[name]
    elif family in _TASKS:
        module, inputs = _of_task(*_TASKS[family][name], name)
    else:
        module, inputs = _torchvision(family, name)
    with torch.no_grad():
        for parameter in module.parameters():
            if parameter.ndim > 1 and not parameter.any():
                parameter.normal_(std=0.02)  # classifiers that start at zero would make all outputs equal
    return module.eval(), inputs, models.example_inputs(inputs)


def _of_task(file: str, shape: InputConfig, name: str) -> tuple[nn.Module, tuple[InputConfig, ...]]:
    path = Path(__file__).with_name(file) if file else None
    if file == _TRANSFORMERS:
        from studies import coverage_transformers

        made = coverage_transformers.build(name)
        bake(made)  # as models.build does: of a weight that is computed no channel can be cut
        return made, (shape,)
    return models.build(ModelConfig(f"{path}:{name}" if path else f"torchvision:{name}")), (shape,)


def _timm(name: str, limited: bool) -> tuple[nn.Module, tuple[InputConfig, ...]]:
    import timm

    if limited:
        with torch.device("meta"):
            outline = timm.create_model(name)
        count = sum(p.numel() for p in outline.parameters())
        side = max(_timm_shape(outline)[1:])
        if count > LARGEST_PARAMETERS or side > LARGEST_SIDE:
            raise TooLargeError(f"{count / 1e6:.0f} M parameters, {side} pixels")
    module = timm.create_model(name)
    return module, (InputConfig(_timm_shape(module)),)


def _timm_shape(module: nn.Module) -> tuple[int, ...]:
    shape: tuple[int, ...] = vars(module)["pretrained_cfg"].get("input_size", (3, 224, 224))
    return tuple(shape)


def _torchvision(family: str, name: str) -> tuple[nn.Module, tuple[InputConfig, ...]]:
    import torchvision.models as zoo

    plain: dict[str, Any] = {"weights": None}
    if family != "torchvision":
        plain["weights_backbone"] = None
    module = zoo.get_model(name, **plain)
    if family == "detection":
        side = 300 if name == "ssd300_vgg16" else 320
        return RawHeads(module), (InputConfig((3, side, side)),)
    side = 299 if name == "inception_v3" else 224
    return module, (InputConfig((3, side, side)),)


class RawHeads(nn.Module):
    """A detector up to the numbers of its heads: what an engine holds. Boxes are decoded and suppressed outside.

    Of the R-CNNs the second stage sees one region per level, its feature map pooled to the size of a region.
    """

    def __init__(self, detector: Any) -> None:
        super().__init__()
        self.backbone = detector.backbone
        self.two_stages = hasattr(detector, "rpn")
        if self.two_stages:
            self.head = detector.rpn.head
            stages = detector.roi_heads
            self.box_head, self.predictor = stages.box_head, stages.box_predictor
            self.more = nn.ModuleList(
                nn.Sequential(getattr(stages, f"{kind}_head"), getattr(stages, f"{kind}_predictor"))
                for kind in ("mask", "keypoint")
                if getattr(stages, f"has_{kind}")()
            )
        else:
            self.head = detector.head

    def forward(self, x: Tensor) -> Any:
        """Images ``[n, 3, h, w]``: a list or dict of tensors."""
        features = list(self.backbone(x).values())
        if not self.two_stages:
            return self.head(features)
        regions = [torch.nn.functional.adaptive_avg_pool2d(f, 7) for f in features]
        boxes = [self.predictor(self.box_head(region)) for region in regions]
        finer = [torch.nn.functional.adaptive_avg_pool2d(f, 14) for f in features]
        return [*self.head(features), boxes, *(more(region) for more in self.more for region in finer)]
