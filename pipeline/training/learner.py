"""One step of training: from samples to the loss, of labels and of the teacher, to new weights."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils import _pytree as pytree

from jetpress.deploy.console import say
from jetpress.deploy.errors import RecipeError
from jetpress.pipeline.data import ranks
from jetpress.pipeline.data.augment import mixing
from jetpress.pipeline.data.loading import Data, step_size
from jetpress.pipeline.network.models import Network
from jetpress.pipeline.recipe.sections.training import TrainConfig
from jetpress.pipeline.tasks import task_of
from jetpress.pipeline.training import distill, features, numerics
from jetpress.pipeline.training.distill import Teacher
from jetpress.pipeline.training.evaluate import device, to_device
from jetpress.pipeline.training.losses import loss
from jetpress.pipeline.training.updates import Updates

Learn = Callable[[tuple[Tensor, ...], object, float, int], Tensor]
"""Inputs, target, learning rate, seed of what is mixed -> the sum of the samples' losses."""


def looking_inside(
    network: Network, data: Data, settings: TrainConfig, teacher: Teacher | None
) -> tuple[features.Student | None, list[str]]:
    """The network with its feature maps, and whose of the teacher they learn; None where outputs are enough."""
    if teacher is None or not teacher.how.looks_inside:
        return None, []
    if settings.compile:
        raise RecipeError(
            "finetune.compile and the comparison of feature maps exclude each other",
            "set compile = false, or hint, attention and similarity to 0",
        )
    inputs = to_device(data.train.batch(range(min(2, len(data.train))), None)[0], device())
    ours, theirs = features.shapes(network.module, inputs), features.shapes(teacher.module, inputs)
    pairs = features.pairs(ours, theirs, teacher.how.layers)
    say(f"    feature maps compared: {', '.join(pairs)}")
    wide = {a: (ours[a][0], theirs[b][0] if teacher.how.hint else ours[a][0]) for a, b in pairs.items()}
    student = features.Student(network.module, wide, network.seed).to(device())
    return student, list(pairs.values())


def learner(
    network: Network,
    data: Data,
    settings: TrainConfig,
    updates: Updates,
    trained: nn.Module,
    teacher: Teacher | None,
    theirs: list[str],
    precision: str,
) -> Learn:
    """The function that makes one step."""
    place, dtype, world = device(), numerics.DTYPES[precision], ranks.part().world
    whole = step_size(data.train)
    if whole < world:
        raise RecipeError(f"{whole} samples a step for {world} processes", "raise data.batch_size")
    averaging = ranks.averaging(trained)
    forward = torch.compile(averaging) if settings.compile else averaging
    labels = loss(network, settings.label_smoothing)
    imitation = partial(task_of(network.task).imitation, known=len(network.task.classes))
    objective = distill.objective(labels, forward, teacher, theirs, imitation)
    mixed = mixing(settings.mixup, settings.cutmix, _classes(data))

    def learn(inputs: tuple[Tensor, ...], target: object, rate: float, seed: int) -> Tensor:
        inputs, target = to_device(inputs, place), to_device(target, place)
        if mixed is not None:
            inputs, target = mixed(inputs, target, seed)
        total, left = torch.zeros((), device=place), len(inputs[0])
        for some, wanted, count in _parts(inputs, target, settings.accumulate):
            left -= count
            with _without_exchange(averaging, left > 0):
                with torch.autocast(place.type, dtype, enabled=dtype is not None):
                    one = objective(some, wanted)
                updates.backward(one * (count * world / whole))
            total = total + one.detach() * count
        updates.step(rate)
        return total

    return learn


def _without_exchange(module: nn.Module, wanted: bool) -> AbstractContextManager[None]:
    """Of several parts of a step, only the last one's gradients need to travel."""
    exchanged: AbstractContextManager[None] = nullcontext()
    return module.no_sync() if wanted and isinstance(module, DistributedDataParallel) else exchanged


def _parts(
    inputs: tuple[Tensor, ...], target: object, count: int
) -> Iterator[tuple[tuple[Tensor, ...], object, int]]:
    """A batch in ``count`` parts of equal size, or one more: inputs, target, number of samples."""
    whole = len(inputs[0])
    count = min(count, whole)
    for number in range(count):
        part = ranks.Part(number, count).of(whole)

        def cut(value: object, part: slice = part) -> object:
            return value[part] if isinstance(value, Tensor) and value.ndim and len(value) == whole else value

        yield pytree.tree_map(cut, inputs), pytree.tree_map(cut, target), part.stop - part.start


def _classes(data: Data) -> int:
    labels = data.train.labels
    return len(data.classes) or (int(labels.max()) + 1 if labels is not None else 0)
