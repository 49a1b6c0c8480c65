"""The layer that a network's scores come from, and another number of classes for it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

LAYERS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)


def last_layer(module: nn.Module, samples: tuple[Tensor, ...], classes: int) -> str | None:
    """Name of the layer that ran last of those with ``classes`` outputs; None where there is none.

    Args:
        module: in eval mode.
        samples: its inputs.
        classes: how many the network scores.
    """
    ran: list[nn.Module] = []
    layers = {
        one: name for name, one in module.named_modules() if type(one) in LAYERS and width(one) == classes
    }
    handles = [one.register_forward_hook(lambda layer, *_: ran.append(layer)) for one in layers]
    try:
        with torch.no_grad():
            module(*samples)
    finally:
        for handle in handles:
            handle.remove()
    return layers[ran[-1]] if ran else None


def width(layer: nn.Module) -> int:
    """Outputs of a layer of :data:`LAYERS`."""
    return int(layer.out_features if isinstance(layer, nn.Linear) else layer.out_channels)  # type: ignore[arg-type]


def resize(module: nn.Module, name: str, classes: int, seed: int) -> None:
    """Put a freshly initialised layer of ``classes`` outputs in the place of the layer ``name``."""
    old = module.get_submodule(name)
    torch.manual_seed(seed)
    new: nn.Module
    if isinstance(old, nn.Linear):
        new = nn.Linear(old.in_features, classes, old.bias is not None)
    else:
        assert isinstance(old, nn.Conv1d | nn.Conv2d | nn.Conv3d)
        new = type(old)(
            old.in_channels,
            classes,
            old.kernel_size,  # type: ignore[arg-type]
            stride=old.stride,  # type: ignore[arg-type]
            padding=old.padding,  # type: ignore[arg-type]
            dilation=old.dilation,  # type: ignore[arg-type]
            bias=old.bias is not None,
            padding_mode=old.padding_mode,
        )
    parent, _, last = name.rpartition(".")
    setattr(module.get_submodule(parent), last, new.train(old.training))
