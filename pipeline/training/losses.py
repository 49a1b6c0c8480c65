"""What a network learns from: the loss of a batch, whoever has one.

``data.loss`` of the recipe, otherwise the network's own method ``loss``, otherwise the task's. A network's own may be
``loss(outputs, target)`` or, as Ultralytics' networks have it, ``loss(batch)`` or ``loss(batch, preds)``.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from jetpress.deploy.errors import RecipeError
from jetpress.pipeline.data import ranks
from jetpress.pipeline.data.targets import listed
from jetpress.pipeline.network import user_code
from jetpress.pipeline.network.models import Network
from jetpress.pipeline.recipe.sections.fields import is_file_reference
from jetpress.pipeline.tasks import task_of

Loss = Callable[[object, Any, tuple[Tensor, ...]], Tensor]
"""What the network returned, the target, its inputs -> a scalar."""


def loss(network: Network, smoothing: float = 0.0) -> Loss:
    """``data.loss``, otherwise the network's own, otherwise the task's.

    Raises:
        RecipeError: ``data.loss`` is none; the network's own runs it once more, which several processes cannot.
    """
    task, given = task_of(network.task), network.data.loss
    if given not in (None, task.loss_name):
        if not is_file_reference(given):
            instead = f"{task.loss_name!r}, " if task.loss_name else ""
            raise RecipeError(f"data.loss = {given!r} is not known", f"{instead}or path/to/file.py:function")
        function = user_code.load(str(given))
        if next(iter(inspect.signature(function).parameters), "") == "model":
            function = partial(function, network.module)
        return lambda outputs, target, inputs: _summed(function(outputs, target))
    own = getattr(network.module, "loss", None)
    if given is None and callable(own):
        return _of_batches(own) if takes_batch(own) else lambda o, target, inputs: _summed(own(o, target))
    return lambda outputs, target, inputs: task.loss(outputs, target, smoothing)


def own_loss(module: nn.Module) -> bool:
    """Whether it has a method ``loss``."""
    return callable(getattr(module, "loss", None))


def takes_batch(function: Callable[..., object]) -> bool:
    """Whether it needs one thing alone: inputs and target together."""
    parameters = inspect.signature(function).parameters.values()
    return sum(one.default is one.empty and one.kind is one.POSITIONAL_OR_KEYWORD for one in parameters) == 1


def _of_batches(function: Callable[..., Any]) -> Loss:
    takes_outputs = len(inspect.signature(function).parameters) > 1
    if ranks.part().world > 1 and not takes_outputs:
        raise RecipeError(
            "the network's loss(batch) runs the network by itself, whose gradients several processes do not share",
            "let it take what the network returned: loss(batch, preds)",
        )

    def one(outputs: object, target: Any, inputs: tuple[Tensor, ...]) -> Tensor:
        batch = batch_of(inputs, target)
        return _summed(function(batch, outputs) if takes_outputs else function(batch)).sum()

    return one


def batch_of(inputs: tuple[Tensor, ...], target: Any) -> dict[str, Any]:
    """Inputs and target in one: ``img`` (the first input), ``inputs``, ``target``, and what the target has by names.

    Of boxes also as Ultralytics lists them, those of all images one after another: ``batch_idx [m]``, ``cls [m, 1]``,
    ``bboxes [m, 4]`` (centre, width, height in shares of the image), crowds left out.
    """
    named = dict(target) if isinstance(target, Mapping) else {}
    if {"boxes", "labels", "crowd"} <= named.keys():
        named |= listed(named, (inputs[0].shape[-2], inputs[0].shape[-1]))
    return {"img": inputs[0], "inputs": inputs, "target": target, **named}


def _summed(found: Any) -> Tensor:
    """A scalar also where there are several losses by their names, as torchvision's detectors give, or what else is to
    be shown beside the loss."""
    if isinstance(found, tuple) and found:
        found = found[0]
    result: Tensor = torch.stack([*found.values()]).sum() if isinstance(found, Mapping) else found
    return result
