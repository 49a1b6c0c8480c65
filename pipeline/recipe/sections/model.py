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
    """Keyword arguments of the builder, for example ``{ pretrained_window = 7 }``. ``num_classes`` is taken from the
    data where it is left out; a builder without such an argument gets a new last layer."""
    weights: str | None = None
    """Trained weights: a ``.safetensors`` or ``.npz`` file, or a checkpoint that loads with ``weights_only=True``. The
    network's names and shapes are looked for in it, whatever lies around them (``state_dict``, ``module.``, an
    optimizer); of several weights an average (EMA) is taken."""
    head: Literal["auto", "new", "keep"] = "auto"
    """The last layer of ``weights``. ``auto``: where it alone has another number of classes, it is initialised and
    needs training; ``new``: it always is, also where the file has none; ``keep``: it must fit."""
    skip: tuple[str, ...] = ()
    """Names (shell patterns such as ``classifier.*``) that are not loaded: those of the network are initialised and
    need training, those of the file are left there (``state_dict_ema.*``: the others are taken)."""
    inputs: tuple[InputConfig, ...] = ()
    """The network's inputs, in the order of ``forward``. Empty: one input with the shape of the data."""
    outputs: tuple[str, ...] = ()
    """Names of the outputs in the ONNX file, in their flattened order. Empty: ``output``, ``output_1``, ..."""
