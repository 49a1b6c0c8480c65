"""How good a network is: the loss and the points of a batch, and the mean points of a split."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from jetpress.deploy.console import progress
from jetpress.deploy.errors import RecipeError, StageError
from jetpress.pipeline.data import ranks
from jetpress.pipeline.data.loading import batches
from jetpress.pipeline.data.splits import Split
from jetpress.pipeline.network import user_code
from jetpress.pipeline.network.models import Network, outputs_of
from jetpress.pipeline.recipe.sections.data import DataConfig
from jetpress.pipeline.recipe.sections.fields import is_file_reference
from jetpress.pipeline.tasks import task_of
from jetpress.pipeline.tasks.task import Judge

Moved = TypeVar("Moved")


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
    task = task_of(config)
    if config.loss not in (None, task.loss_name):
        return _of_the_user("data.loss", str(config.loss), task.loss_name)
    return lambda outputs, target: task.loss(outputs, target, smoothing)


def points(config: DataConfig) -> Judge:
    """``data.metric``: points of each sample ``[batch]``, 0 to 100."""
    task = task_of(config)
    if by_the_task(config):
        return task.metric
    return _of_the_user("data.metric", str(config.metric), task.metric_name)


def _of_the_user(key: str, value: str, own: str) -> Judge:
    if not is_file_reference(value):
        instead = f"{own!r} or " if own else ""
        raise RecipeError(f"{key} = {value!r} is not known", f"{instead}path/to/file.py:function")
    return user_code.load(value)


def by_the_task(config: DataConfig) -> bool:
    """Whether the points are those of the task's own metric."""
    return config.metric in (None, task_of(config).metric_name)


def evaluate(network: Network, split: Split, what: str) -> float:
    """Mean points of ``split`` in float32, on the GPU where there is one; ``what`` names the progress line.

    Raises:
        StageError: the network's output is NaN or infinite.
        RecipeError: the metric function does not give one number for each sample.
    """
    total = torch.zeros((), dtype=torch.float64, device=device())
    for scored in _batches_of_points(network, split, what):
        total += scored.sum()
    return ranks.total(total).item() / len(split)


def unseen(outputs: object) -> None:
    """For whoever needs nothing of the outputs but the points."""


def each(network: Network, split: Split, what: str, see: Callable[[object], None] = unseen) -> Tensor:
    """Points of each sample of ``split``, ``[samples]`` in its order; as :func:`evaluate`, in one process.

    ``see`` is given what the network returns for each batch.
    """
    return torch.cat(list(_batches_of_points(network, split, what, see))).cpu()


def _batches_of_points(
    network: Network, split: Split, what: str, see: Callable[[object], None] = unseen
) -> Iterator[Tensor]:
    """Points of the samples of one batch after the other, in double precision."""
    module, judge, place = network.module, points(network.data), device()
    home = next((p.device for p in module.parameters()), place)
    module.to(place).eval()
    with progress(what, len(split)) as line:
        for inputs, target in batches(split, part=ranks.part()):
            count = len(inputs[0])
            with torch.no_grad():
                outputs = module(*to_device(inputs, place))
                scored = judge(outputs, to_device(target, place))
            if not all(t.isfinite().all() for t in outputs_of(outputs) if t.is_floating_point()):
                raise StageError(
                    "the network's output is NaN or infinite", "lower the learning rate, or check weights"
                )
            if scored.shape != (count,):
                raise RecipeError(
                    f"{network.data.metric} gave a tensor {list(scored.shape)} for {count} samples",
                    "data.metric returns the points of each sample: a tensor of batch length",
                )
            see(outputs)
            yield scored.double()
            line.step(amount=count * ranks.part().world)
    module.to(home)


def guessing(split: Split) -> float | None:
    """Points on ``split`` of whoever has learnt nothing; None where that means nothing."""
    if split.labels is None or not by_the_task(split.config):
        return None
    guessed = task_of(split.config).guessing(split.labels)
    return None if guessed < 0 else guessed


def layout(module: nn.Module, memory_format: torch.memory_format) -> None:
    """Bring the weights of 2-D convolutions into ``memory_format``, in place."""
    for parameter in module.parameters():
        if parameter.ndim == 4:
            parameter.data = parameter.data.contiguous(memory_format=memory_format)
