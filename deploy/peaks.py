"""What the GPUs of the boards do at best: dense operations in a second, and bytes of memory in a second.

Only what a source says: makers quote 2:4 sparse INT8 with the DLAs in it, so each record says what was derived from
that and how. FP16 is half of INT8 on tensor cores. What is not known is not here.
"""

from __future__ import annotations

from dataclasses import dataclass

TERA, GIGA = 1e12, 1e9


@dataclass(frozen=True)
class Peak:
    """Of one board in its fastest power mode."""

    operations: dict[str, float]
    """Precision -> dense operations in a second on the GPU; a multiply-accumulate is two."""
    bandwidth: float
    """Bytes in a second."""
    source: str


def _tensor_cores(int8: float, bandwidth: float, source: str) -> Peak:
    return Peak({"int8": int8 * TERA, "fp16": int8 / 2 * TERA}, bandwidth * GIGA, source)


_ULTRALYTICS = "Ultralytics' guide to Jetson"
_DLA_README = "the README of NVIDIA/Deep-Learning-Accelerator-SW"
_XAVIER = _tensor_cores(
    32 - 11.4,
    136.5,
    f"32 INT8 TOPS less 11.4 of the two DLAs ({_DLA_README}); 136.5 GB/s ({_ULTRALYTICS})",
)
_AGX_ORIN = _tensor_cores(
    171 / 2, 204.8, f"171 sparse INT8 TOPS of the GPU, half of that dense ({_DLA_README}); 204.8 GB/s"
)
_ORIN_NANO = _tensor_cores(
    40 / 2, 68, f"40 sparse INT8 TOPS, half of that dense, and 68 GB/s ({_ULTRALYTICS}), without Super mode"
)
_ORIN_NANO_SUPER = _tensor_cores(
    67 / 2, 102, f"67 sparse INT8 TOPS, half of that dense, and 102 GB/s in Super mode ({_ULTRALYTICS})"
)
_THOR = Peak(
    {"fp8": 2070 / 4 * TERA, "fp16": 2070 / 8 * TERA},
    273 * GIGA,
    f"2070 sparse FP4 TFLOPS, a quarter of that dense in FP8 and an eighth in FP16, and 273 GB/s ({_ULTRALYTICS})",
)
_NANO = Peak(
    {"fp16": 0.472 * TERA, "fp32": 0.236 * TERA},
    25.6 * GIGA,
    f"0.472 FP16 TFLOPS, half of that in FP32, and 25.6 GB/s ({_ULTRALYTICS})",
)
PEAKS: dict[str, Peak] = {
    "nano": _NANO,
    "nano-jp46": _NANO,
    "xavier": _XAVIER,
    "xavier-jp4": _XAVIER,
    "xavier-jp46": _XAVIER,
    "xavier-jp50": _XAVIER,
    "orin-nano": _ORIN_NANO_SUPER,
    "orin-nano-super": _ORIN_NANO_SUPER,
    "orin-nano-jp5": _ORIN_NANO,
    "orin-nano-jp60": _ORIN_NANO,
    "orin-nano-jp7": _ORIN_NANO_SUPER,
    "agx-orin": _AGX_ORIN,
    "agx-orin-jp5": _AGX_ORIN,
    "agx-orin-jp50": _AGX_ORIN,
    "agx-orin-jp60": _AGX_ORIN,
    "agx-orin-jp7": _AGX_ORIN,
    "agx-orin-jp722": _AGX_ORIN,
    "thor": _THOR,
    "thor-jp72": _THOR,
    "thor-jp722": _THOR,
}
"""By the name of the target. Orin NX and Xavier NX are quoted with their DLAs only, of AGX Orin
32 GB, Orin Nano 4 GB and TX2 the bandwidth was not found; of a host or an RTX GPU it is not
known which it is."""
