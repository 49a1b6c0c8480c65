"""How good a network is: the figure of a split."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, TypeVar

import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from jetpress.deploy.console import progress
from jetpress.deploy.errors import RecipeError, StageError
from jetpress.pipeline.data import ranks
from jetpress.pipeline.data.loading import batches
from jetpress.pipeline.data.splits import Split
from jetpress.pipeline.network import models, user_code
from jetpress.pipeline.network.models import Network, outputs_of
from jetpress.pipeline.recipe.sections.fields import is_file_reference
from jetpress.pipeline.tasks import task_of
from jetpress.pipeline.tasks.metric import Metric, Result, Setting, of_samples, of_state, samples_in
from jetpress.pipeline.tasks.task import Judge
from jetpress.pipeline.training.allocator import keep_memory

Moved = TypeVar("Moved")


def unseen(outputs: object) -> None:
    """For whoever needs nothing of the outputs but the figure."""


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


def metric(network: Network) -> Metric:
    """``data.metric``, with nothing seen yet.

    Raises:
        RecipeError: there is none of this name.
    """
    task, given = task_of(network.task), network.data.metric
    if by_the_task(network):
        make = task.metrics[given or next(iter(task.metrics))]
        return make(Setting(network.task.classes, partial(models.rules, network)))
    made = user_code.load(_reference("data.metric", str(given), list(task.metrics)))
    if isinstance(made, type) and hasattr(made, "update") and hasattr(made, "compute"):
        return of_state(made.__name__, made())
    return of_samples("accuracy", partial(_of_the_user, str(given), made))


def _reference(key: str, value: str, own: Sequence[str]) -> str:
    if not is_file_reference(value):
        instead = "".join(f"{name!r}, " for name in own)
        raise RecipeError(f"{key} = {value!r} is not known", f"{instead}or path/to/file.py:function")
    return value


def _of_the_user(name: str, function: Judge, outputs: object, target: object) -> Tensor:
    """The points that a function of the user's gives, which are one number for each sample."""
    count, scored = samples_in(target), function(outputs, target)
    if getattr(scored, "shape", None) != (count,):
        shape = (
            f"a tensor {list(scored.shape)}" if isinstance(scored, Tensor) else f"a {type(scored).__name__}"
        )
        raise RecipeError(
            f"{name} gave {shape} for {count} samples",
            "data.metric returns the points of each sample, a tensor of batch length; for a figure over the whole data "
            "set name a class with update(outputs, target) and compute()",
        )
    if bad := [one for one in scored.tolist() if not math.isfinite(one)]:
        raise RecipeError(
            f"{name} gave {bad[0]} for {len(bad)} of the {count} samples of a batch",
            "it must give a number for every sample: is there a division by 0 in it?",
        )
    return scored


def by_the_task(network: Network) -> bool:
    """Whether the figure is one of the task's own."""
    given = network.data.metric
    return given is None or given in task_of(network.task).metrics


def evaluate(network: Network, split: Split, what: str) -> float:
    """Points of ``split`` in float32, on the GPU where there is one; ``what`` names the progress line.

    Raises:
        StageError: the network's output is NaN or infinite.
        RecipeError: the metric function does not give one number for each sample.
    """
    return judged(network, split, what).points


def judged(network: Network, split: Split, what: str, see: Callable[[object], None] = unseen) -> Result:
    """The figure of ``split``, as :func:`evaluate`; what was shown is in the order of its samples.

    Several processes share the samples where the figure is a mean; otherwise each sees all of them.

    Args:
        network: on its device again afterwards.
        split: its samples are taken as they are.
        what: names the progress line.
        see: is given what the network returns for each batch.
    """
    module, by, place = network.module, metric(network), device()
    keep_memory()
    home = next((p.device for p in module.parameters()), place)
    module.to(place).eval()
    part, seen = ranks.part() if by.mean else ranks.ALONE, list[Any]()
    broken = torch.zeros((), device=place)
    with progress(what, len(split)) as line, torch.no_grad():
        for inputs, target in batches(split, part=part):
            outputs = module(*to_device(inputs, place))
            if not all(t.isfinite().all() for t in outputs_of(outputs) if t.is_floating_point()):
                broken += 1
                break
            seen += by.shown(outputs, to_device(target, place))
            see(outputs)
            line.step(amount=len(inputs[0]) * part.world)
    module.to(home)
    if part.world > 1:
        ranks.total(broken)  # all raise, or none
    if broken:
        raise StageError(
            "the network's output is NaN or infinite", "lower the learning rate, or check weights"
        )
    if part.world > 1:
        total = ranks.total(torch.tensor(sum(seen), dtype=torch.float64, device=place))
        return Result(by, seen, total.item() / len(split), len(split))
    return Result(by, seen, points_of(by, seen))


def points_of(by: Metric, seen: Sequence[Any]) -> float:
    """What was shown comes to.

    Raises:
        RecipeError: that is no number.
    """
    points = by.total(seen)
    if not math.isfinite(points):
        raise RecipeError(
            f"{by.measured} is {points} on {len(seen)} samples", "check data.metric and the targets"
        )
    return points


def rebuilder(network: Network) -> Callable[[Sequence[NDArray[Any]]], object]:
    """From the outputs of a file or an engine back to what the network returns: a user's own metric expects that."""
    if by_the_task(network):
        return lambda arrays: [torch.from_numpy(one) for one in arrays]
    with torch.no_grad():
        result = network.module.eval()(*models.example_inputs(network.model.inputs))
    leaves, spec = pytree.tree_flatten(dict(result) if isinstance(result, Mapping) else result)

    def rebuild(arrays: Sequence[NDArray[Any]]) -> object:
        left = iter(arrays)
        whole = [torch.from_numpy(next(left)) if isinstance(one, Tensor) else one for one in leaves]
        return pytree.tree_unflatten(whole, spec)

    return rebuild


def guessing(network: Network, split: Split) -> float | None:
    """Points on ``split`` of whoever has learnt nothing; None where that means nothing."""
    task = task_of(network.task)
    guessed = task.guessing.get(network.data.metric or next(iter(task.metrics)))
    return None if guessed is None else guessed(split.labels)


def layout(module: nn.Module, memory_format: torch.memory_format) -> None:
    """Bring the weights of 2-D convolutions into ``memory_format``, in place."""
    for parameter in module.parameters():
        if parameter.ndim == 4:
            parameter.data = parameter.data.contiguous(memory_format=memory_format)
