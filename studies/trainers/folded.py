"""Weights out of an ONNX file whose BatchNorm was folded, into a network that still has it.

A convolution's weight is the file's; its folded bias becomes BatchNorm's, whose scale is 1, mean 0 and variance
``1 - eps``: the same function. :func:`jetpress.pipeline.pruning.norms.settle` then gives BatchNorm the statistics of
real images, which training and measuring anew need, and leaves the function as it is.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from torch import Tensor, nn


def load(module: nn.Module, path: Path) -> list[str]:
    """Fill ``module``, whose convolutions are called as in the file (``model.0.conv``, with ``model.0.bn`` behind it).

    What has another shape stays as it was built (a head for other classes): the names of these are given back.
    """
    held = {
        one.name: torch.from_numpy(np.array(numpy_helper.to_array(one)))
        for one in onnx.load(path).graph.initializer
    }
    other = []
    for name, part in module.named_modules():
        if not isinstance(part, nn.Conv2d):
            continue
        if part.weight.shape != held[f"{name}.weight"].shape:
            other.append(name)
            continue
        part.weight.data.copy_(held[f"{name}.weight"])
        if f"{name}.bias" in held:
            norm = module.get_submodule(f"{name.rpartition('.')[0]}.bn") if part.bias is None else None
            _shifted(part if norm is None else norm, held[f"{name}.bias"])
    return other


def _shifted(part: nn.Module, bias: Tensor) -> None:
    """The bias of a convolution, or of a BatchNorm that does nothing else."""
    part.get_parameter("bias").data.copy_(bias)
    if isinstance(part, nn.BatchNorm2d):
        assert part.running_mean is not None
        assert part.running_var is not None
        nn.init.ones_(part.weight)
        part.running_mean.zero_()
        part.running_var.fill_(1 - part.eps)
