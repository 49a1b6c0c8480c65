"""How good a network is: the loss and the points of a batch, and the mean points of a split."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils import _pytree as pytree

from jetpress.deploy.console import progress
from jetpress.deploy.errors import RecipeError, StageError
from jetpress.pipeline.data import ranks
from jetpress.pipeline.data.loading import batches
from jetpress.pipeline.data.splits import Split
from jetpress.pipeline.network import user_code
from jetpress.pipeline.network.models import Network, outputs_of
from jetpress.pipeline.recipe.sections.data import DataConfig

Moved = TypeVar("Moved")
Judge = Callable[[object, Any], Tensor]
"""What the network returned and the target -> a tensor."""


def device() -> torch.device:
    """The GPU where there is one, otherwise the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def to_device(values: Moved, place: torch.device) -> Moved:
    """Every tensor in ``values`` moved to ``place``; images become channels-last."""

    def move(value: Tensor) -> Tensor:
        layout = torch.channels_last if value.ndim == 4 else torch.preserve_format
        return value.to(place, non_blocking=True, memory_format=layout)

    moved: Moved = pytree.tree_map_only(Tensor, move, values)
    return moved


def loss(config: DataConfig, smoothing: float = 0.0) -> Judge:
    """``data.loss``: a scalar."""
    if config.loss != "cross_entropy":
        return user_code.load(config.loss)

    def cross_entropy(outputs: object, target: Tensor) -> Tensor:
        scores = outputs_of(outputs)[0].float()
        if not target.is_floating_point():  # it is where classes are mixed: shares of each
            target = target.long()
        try:
            return F.cross_entropy(scores, target, label_smoothing=smoothing)
        except IndexError:
            raise RecipeError(
                f"the data has class {int(target.max())}, the network scores {scores.shape[1]} classes",
                "labels count from 0; set the number of classes in model.arguments",
            ) from None

    return cross_entropy


def points(config: DataConfig) -> Judge:
    """``data.metric``: points of each sample ``[batch]``, 0 to 100."""
    if config.metric != "top1":
        return user_code.load(config.metric)

    def top1(outputs: object, target: Tensor) -> Tensor:
        right = outputs_of(outputs)[0].argmax(1) == target
        each: Tensor = right.float().reshape(len(right), -1).mean(1)
        return 100 * each

    return top1


def evaluate(network: Network, split: Split, what: str) -> float:
    """Mean points of ``split`` in float32, on the GPU where there is one; ``what`` names the progress line.

    Raises:
        StageError: the network's output is NaN or infinite.
        RecipeError: the metric function does not give one number for each sample.
    """
    module, judge, place = network.module, points(network.data), device()
    home = next((p.device for p in module.parameters()), place)
    module.to(place).eval()
    total = torch.zeros((), dtype=torch.float64, device=place)
    with progress(what, len(split)) as line, torch.no_grad():
        for inputs, target in batches(split, part=ranks.part()):
            count = len(inputs[0])
            outputs = module(*to_device(inputs, place))
            if not all(t.isfinite().all() for t in outputs_of(outputs) if t.is_floating_point()):
                raise StageError(
                    "the network's output is NaN or infinite", "lower the learning rate, or check weights"
                )
            scored = judge(outputs, to_device(target, place))
            if scored.shape != (count,):
                raise RecipeError(
                    f"{network.data.metric} gave a tensor {list(scored.shape)} for {count} samples",
                    "data.metric returns the points of each sample: a tensor of batch length",
                )
            total += scored.double().sum()
            line.step(amount=count * ranks.part().world)
    module.to(home)
    return ranks.total(total).item() / len(split)


def layout(module: nn.Module, memory_format: torch.memory_format) -> None:
    """Bring the weights of 2-D convolutions into ``memory_format``, in place."""
    for parameter in module.parameters():
        if parameter.ndim == 4:
            parameter.data = parameter.data.contiguous(memory_format=memory_format)
