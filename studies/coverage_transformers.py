"""Networks of the library transformers with small configurations of our own: nothing is downloaded."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

_SMALL = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
_SEGFORMER = {
    "num_encoder_blocks": 2, "depths": [1, 1], "sr_ratios": [4, 2], "hidden_sizes": [16, 32], "strides": [4, 2],
    "patch_sizes": [7, 3], "num_attention_heads": [1, 2], "mlp_ratios": [2, 2], "decoder_hidden_size": 32,
}  # fmt: skip
_SWIN = {"embed_dim": 24, "depths": [1, 1], "num_heads": [2, 2], "window_size": 4, "image_size": 64}
_CONV = {
    "conv_dim": (32, 32, 32),
    "conv_stride": (5, 4, 4),
    "conv_kernel": (10, 8, 4),
    "num_feat_extract_layers": 3,
}
NETWORKS: dict[str, tuple[str, dict[str, Any]]] = {
    "segformer": ("SegformerForSemanticSegmentation", _SEGFORMER),
    "glpn": ("GLPNForDepthEstimation", {**_SEGFORMER, "decoder_hidden_size": 16}),
    "mobilevit_segmentation": (
        "MobileViTForSemanticSegmentation",
        {"image_size": 64, "hidden_sizes": [32, 32, 32]},
    ),
    "yolos": ("YolosForObjectDetection", {**_SMALL, "image_size": [64, 64], "num_detection_tokens": 8}),
    "vit_mae_video": ("VideoMAEForVideoClassification", {**_SMALL, "image_size": 32, "num_frames": 4}),
    "timesformer": ("TimesformerForVideoClassification", {**_SMALL, "image_size": 32, "num_frames": 4}),
    "ast": ("ASTForAudioClassification", {**_SMALL, "max_length": 64, "num_mel_bins": 32}),
    "wav2vec2": ("Wav2Vec2ForCTC", {**_SMALL, **_CONV, "vocab_size": 30, "num_conv_pos_embedding_groups": 2}),
    "hubert": ("HubertForCTC", {**_SMALL, **_CONV, "vocab_size": 30, "num_conv_pos_embedding_groups": 2}),
    "swin2sr": ("Swin2SRForImageSuperResolution", {**_SWIN, "embed_dim": 16, "upscale": 2}),
    "donut": ("DonutSwinModel", _SWIN),
}
"""Name -> class, values of its configuration that differ."""


class Outputs(nn.Module):
    """What an engine gives of it: its tensors, in order."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Any:
        """Pixels or sound."""
        return self.inner(x, return_dict=False)[0]


def build(name: str) -> nn.Module:
    """The network, freshly initialised."""
    import transformers

    kind, values = NETWORKS[name]
    made = getattr(transformers, kind)
    return Outputs(made(made.config_class(**values)))
