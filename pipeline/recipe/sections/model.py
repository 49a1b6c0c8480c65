"""Which network: ``[model]``, ``[[model.inputs]]``."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from jetpress.pipeline.recipe.sections.fields import AtLeastOne, Section


@dataclass(frozen=True)
class InputConfig(Section):
    """One input of the network, without the batch dimension."""

    shape: tuple[AtLeastOne, ...]
    """Shape of one sample, for example ``[3, 224, 224]``."""
    name: str = "input"
    """Name of the input in the ONNX file."""
    dtype: Literal["float32", "int32", "int64", "uint8"] = "float32"
    """Element type."""


@dataclass(frozen=True)
class ModelConfig(Section):
    """Which network."""

    builder: str = "torchvision:resnet18"
    """``torchvision:NAME``, ``timm:NAME`` or ``path/to/file.py:function`` (returns an ``nn.Module``; the path
    is relative to the recipe)."""
    arguments: dict[str, Any] = field(default_factory=dict)
    """Keyword arguments of the builder, for example ``{ num_classes = 10 }``."""
    weights: str | None = None
    """Trained weights: a ``.safetensors`` file or a state_dict that loads with ``weights_only=True``. The usual
    wrappings (``state_dict``, ``model``, ``module.``) are understood."""
    inputs: tuple[InputConfig, ...] = ()
    """The network's inputs, in the order of ``forward``. Empty: one input with the shape of the data."""
    outputs: tuple[str, ...] = ()
    """Names of the outputs in the ONNX file, in their flattened order. Empty: ``output``, ``output_1``, ..."""
