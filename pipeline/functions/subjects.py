"""What is given in memory, a module and tensors, as what the stages work on: a copy, in evaluation mode, on the CPU."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from jetpress.deploy.errors import RecipeError
from jetpress.deploy.targets import Target, find
from jetpress.pipeline.data.splits import tensors_of
from jetpress.pipeline.functions.given import given, unwrapped
from jetpress.pipeline.network import detectors
from jetpress.pipeline.network.models import Network, outputs_of
from jetpress.pipeline.recipe.reading import Recipe
from jetpress.pipeline.recipe.resolve import Plan, resolve
from jetpress.pipeline.recipe.sections.data import DataConfig
from jetpress.pipeline.recipe.sections.model import InputConfig, ModelConfig
from jetpress.pipeline.recipe.sections.task import TaskConfig

Inputs = Tensor | Sequence[Tensor] | Mapping[str, Tensor]
"""What ``forward`` takes, in its order, each ``[n, ...]``; a mapping names them in the ONNX file."""
Batches = Inputs | Iterable[Any]
"""One batch of inputs, or several: ``inputs`` or, as a loader gives them, ``(inputs, target)``."""


class HasModule(Protocol):
    """What :func:`jetpress.prune` and :func:`jetpress.sparsify` give."""

    @property
    def module(self) -> nn.Module:
        """The network."""


DTYPES = {"float32", "int32", "int64", "uint8"}


def module_of(model: nn.Module | HasModule) -> nn.Module:
    """The network of what :func:`jetpress.prune` or :func:`jetpress.sparsify` gave, or the network itself."""
    if isinstance(model, nn.Module):
        return model
    inner = getattr(model, "module", None)
    if not isinstance(inner, nn.Module):
        raise RecipeError(f"this is a {type(model).__name__} and no network", "give an nn.Module")
    return inner


def copied(model: nn.Module | HasModule) -> nn.Module:
    """A copy to work on: plain float32 weights on the CPU, in evaluation mode. ``model`` stays as it is.

    Raises:
        RecipeError: it is no network in whole.
    """
    return given(module_of(model)).module.float().eval()


def as_it_was(made: nn.Module, module: nn.Module) -> nn.Module:
    """``made`` on the device, in the type, and in the mode (of every part, by its name) of the module that it is of."""
    original, _ = unwrapped(module)
    for parameter in original.parameters():
        made.to(parameter.device, parameter.dtype if parameter.is_floating_point() else None)
        break
    modes = {name: one.training for name, one in original.named_modules()}
    for name, one in made.named_modules():
        one.training = modes.get(name, original.training)
    return made


def tensors(inputs: Inputs) -> tuple[Tensor, ...]:
    """The inputs of one batch in the order of ``forward``, on the CPU; other floats become float32."""
    found = tuple(one.detach().cpu() for one in tensors_of(inputs))
    return tuple(one.float() if one.is_floating_point() else one for one in found)


def batches_of(batches: Any, most: int | None = None) -> list[tuple[Tensor, ...]]:
    """Every batch, without targets.

    Args:
        batches: one or several; a tuple of tensors is one, of several inputs, unless it has more than ``most``.
        most: inputs that the network can take; None: that is not known.

    Raises:
        RecipeError: there is none.
    """
    whole = isinstance(batches, tuple) and all(isinstance(one, Tensor) for one in batches)
    if isinstance(batches, Tensor | Mapping) or (whole and (most is None or len(batches) <= most)):
        return [tensors(batches)]
    found = list[tuple[Tensor, ...]]()
    for one in batches:
        inputs = one[0] if isinstance(one, tuple | list) and len(one) == 2 else one
        found.append(tensors(inputs))
    if not found:
        raise RecipeError("there are no batches", "give inputs, or batches of them as a loader does")
    return found


def inputs_at_most(model: nn.Module | HasModule) -> int | None:
    """How many inputs a network can take; None where that is not known."""
    found = inspect.signature(module_of(model).forward).parameters.values()
    if any(one.kind is one.VAR_POSITIONAL for one in found):
        return None
    return sum(one.kind is not one.VAR_KEYWORD for one in found)


def joined(batches: Sequence[tuple[Tensor, ...]]) -> tuple[Tensor, ...]:
    """All samples of some batches, ``[n, ...]`` each.

    Raises:
        RecipeError: samples have different shapes.
    """
    shapes = dict.fromkeys(tuple(tuple(one.shape[1:]) for one in batch) for batch in batches)
    if len(shapes) > 1:
        said = " and ".join(", ".join(str(list(one)) for one in each) for each in list(shapes)[:2])
        raise RecipeError(
            f"the samples of two batches have different shapes: {said}",
            "give inputs [n, ...], or a list of batches that are inputs or pairs (inputs, target)",
        )
    return tuple(torch.cat(column) for column in zip(*batches, strict=True))


def network_of(module: nn.Module | HasModule, inputs: Inputs, outputs: Sequence[str] = ()) -> Network:
    """A copy of ``module`` with all that the stages ask of a network.

    Args:
        module: stays as it is.
        inputs: example inputs ``[n, ...]``.
        outputs: names in the ONNX file, flattened; empty: the task's own.

    Raises:
        RecipeError: the module does not take the inputs, or gives no tensors.
    """
    made, samples = copied(module), tensors(inputs)
    names = [str(name) for name in inputs] if isinstance(inputs, Mapping) else []
    names = names or ["input", *(f"input_{number}" for number in range(1, len(samples)))]
    described = []
    for name, one in zip(names, samples, strict=True):
        dtype = str(one.dtype).removeprefix("torch.")
        if dtype not in DTYPES or not one.ndim:
            raise RecipeError(
                f"input {name!r} is {dtype} {list(one.shape)}",
                f"give tensors [n, ...] of {', '.join(sorted(DTYPES))}",
            )
        described.append(InputConfig(tuple(one.shape[1:]), name, dtype))  # type: ignore[arg-type]
    detector = detectors.rules_of(made, described[0].shape) is not None
    task = TaskConfig("detection" if detector else "classification")
    named = tuple(outputs) or (("boxes", "scores") if detector else ())
    model = ModelConfig(f"given:{type(made).__name__}", inputs=tuple(described), outputs=named)
    network = Network(made, model, DataConfig(), task=task)
    try:
        with torch.no_grad():
            outputs_of(made(*samples))
    except RecipeError:
        raise
    except Exception as error:  # the user's network may raise anything
        shapes = ", ".join(f"{one.dtype} {list(one.shape)}" for one in described)
        raise RecipeError(
            f"{type(made).__name__} does not take {shapes}: {type(error).__name__}: {error}",
            "give example inputs in the order of the network's forward",
        ) from error
    return network


def decided(target: str | Target, **tables: Mapping[str, object]) -> Plan:
    """The keys of a recipe's tables, and what the target makes of what they leave open.

    Raises:
        RecipeError: an unknown key (the nearest is named), a wrong value, or what the target does not have.
    """
    recipe = Recipe.parse({"name": "given", **tables})
    return resolve(recipe, find(target) if isinstance(target, str) else target)
