"""The ONNX file, and how far it may differ from the network: ``[export]``, ``[equivalence]``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field

from jetpress.pipeline.recipe.sections.fields import AtLeastOne, Positive, Section


@dataclass(frozen=True)
class ExportConfig(Section):
    """The ONNX file."""

    opset: Annotated[int, Field(ge=13, le=23)] | None = None
    """None: 18, or the newest that an older parser takes (``jetpress targets NAME`` shows both)."""
    batch: AtLeastOne = 1
    """Batch size of the engine; of an open batch the one that it is tuned for and measured at."""
    dynamic_batch: bool = False
    """Leave the batch dimension open, from 1 to ``max_batch`` (TensorRT: a profile of 1, ``batch``, ``max_batch``)."""
    max_batch: AtLeastOne = 8
    """Largest batch of a dynamic engine."""
    ir_version: AtLeastOne | None = None
    """None: what the target's parser knows; of a newer opset the oldest that it may have."""
    lower: tuple[str, ...] | None = None
    """Operators written as primitives although the opset has them. None: those the target's parser lacks."""
    parser: str | None = None
    """TensorRT version whose parser reads the file: what it refuses or misreads is written another way. None: the
    target's."""
    input: Literal["network", "uint8_nhwc"] = "network"
    """What images come as. ``network``: as the network takes them; ``uint8_nhwc``: as a camera gives them, ``uint8
    [batch, height, width, 3]`` (RGB), and the graph normalises with ``data.mean`` and ``data.std``."""
    output: Literal["scores", "softmax", "argmax", "detections", "efficient_nms"] = "scores"
    """What the first output ends with, over the axis of classes. ``argmax`` gives INT32 class numbers; ``detections``
    ends a detector with non-maximum suppression in the graph (TensorRT 8.5 and newer); ``efficient_nms`` does that with
    the plugin EfficientNMS_TRT of TensorRT 8 and 10: see docs/detection.md."""
    int64_io: bool | None = None
    """Leave INT64 inputs and outputs as they are; otherwise they become INT32. None: where the target has INT64."""
    fp16: bool | None = None
    """Weights and activations in FP16 in the file itself. None: where ``build.precision`` is ``fp16`` and the
    target takes types from the graph (TensorRT 10 and newer, TensorRT-RTX); older ones have a flag for it."""


@dataclass(frozen=True)
class EquivalenceConfig(Section):
    """How far PyTorch and ONNX Runtime may differ."""

    max_relative_error: Positive = 1e-3
    """Largest absolute difference over the largest absolute value of the output. In FP32; an FP16 file is judged
    by cosine (0.999) and top-1 (99 %)."""
    edge_cases: bool = True
    """Also zeros, ones, extremes and one-hot inputs."""
