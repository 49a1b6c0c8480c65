"""A network as its owner has it: unwrapped, copied, its weights made plain; and sent back to where it was."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.distributed.fsdp import FSDPModule, FullyShardedDataParallel
from torch.nn.parallel import DataParallel, DistributedDataParallel
from torch.nn.parameter import UninitializedBuffer, UninitializedParameter
from torch.optim.swa_utils import AveragedModel

from jetpress.deploy.errors import RecipeError
from jetpress.pipeline.graph.trace import cause
from jetpress.pipeline.network.channels import copied
from jetpress.pipeline.network.channels.modes import doubled, evaluating, set_modes
from jetpress.pipeline.network.reparametrized import bake

SHARDED = (FSDPModule, FullyShardedDataParallel)
LAZY = (UninitializedBuffer, UninitializedParameter)
WRAPPERS = (AveragedModel, DataParallel, DistributedDataParallel)
"""Modules that hold the network as ``module``."""
Shapes = Mapping[str, tuple[int, ...]]
Function = TypeVar("Function", bound=Callable[..., Any])


@dataclass(frozen=True)
class Given:
    """A network that may be cut: a copy of somebody's, on the CPU."""

    module: nn.Module
    places: Mapping[str, torch.device]
    """Where the original's parameters and buffers are, by their names there."""
    parts: Mapping[str, str]
    """Parameters of the original that are no more -> the plain one that was computed from them."""
    notes: tuple[str, ...]
    """What is not as it was given, in words."""

    @property
    def shapes(self) -> Shapes:
        """Of every parameter and buffer that is saved."""
        return shapes_of(self.module)

    def back(self, module: nn.Module) -> nn.Module:
        """``module``, a part of this one, where the original is."""
        first = next(iter(self.places.values()), torch.device("cpu"))
        if set(self.places.values()) <= {torch.device("cpu")}:
            return module
        placed = copied(module, lambda name, tensor: _at(tensor, self.places.get(name, first)))
        placed._apply(lambda tensor: tensor)  # noqa: SLF001  (a graph notes where its tensors are)
        return placed


def trainable(function: Function) -> Function:
    """What ``function`` makes can be trained, in whatever mode of autograd it is called (``torch.inference_mode``)."""
    return torch.inference_mode(False)(torch.enable_grad()(function))


def shapes_of(module: nn.Module) -> Shapes:
    """Of every parameter and buffer that is saved."""
    return {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}


def given(model: nn.Module) -> Given:
    """A copy of ``model``, which is left as it is.

    Raises:
        RecipeError: it is no network in whole: sharded over processes, without weights yet, or a script.
    """
    original, notes = unwrapped(model)
    _refuse_what_is_not_whole(original)
    held = (*original.named_parameters(), *original.named_buffers())
    places = {name.replace("_orig_mod.", ""): one.device for name, one in held}
    before = [name for name, _ in original.named_parameters()]
    module = copied(original, lambda _, tensor: _at(tensor, torch.device("cpu")))
    if any(part._compiled_call_impl is not None for part in original.modules()):  # noqa: SLF001  (by compile())
        notes.append("not compiled any more, as that is for the old widths: call slim.module.compile() again")
    notes += uncompiled(module)
    baked = plain(module)
    if baked:
        notes.append(
            f"computed weights are plain from here on, as channels are cut in them: {', '.join(baked)}"
        )
    return Given(module, places, _parts(before, baked), tuple(notes))


def plain(module: nn.Module) -> list[str]:
    """Weights that are computed from others made plain, in place, as they are in eval mode; their names."""
    modes = {part: part.training for part in module.modules()}
    module.eval()
    baked = bake(module)
    set_modes(modes)
    return baked


def unwrapped(model: nn.Module) -> tuple[nn.Module, list[str]]:
    """The network itself, and what was around it."""
    if not isinstance(model, nn.Module):
        raise RecipeError(f"this is a {type(model).__name__} and no network", "give an nn.Module")
    notes = []
    while True:
        if isinstance(model, torch._dynamo.OptimizedModule):  # noqa: SLF001  (it has no other name)
            model = model._orig_mod  # noqa: SLF001
            notes.append(
                "what torch.compile made is for the old widths: compile it again, torch.compile(slim.module)"
            )
        elif isinstance(model, WRAPPERS):
            notes.append(
                f"the network inside {type(model).__name__} was taken: wrap it again where that is needed"
            )
            model = model.module
        else:
            return model, notes


def uncompiled(module: nn.Module) -> list[str]:
    """Compiled submodules replaced by what they were made of, in place."""
    compiled = [n for n, one in module.named_modules() if isinstance(one, torch._dynamo.OptimizedModule)]  # noqa: SLF001
    for name in compiled:
        module.set_submodule(name, module.get_submodule(name)._orig_mod)  # type: ignore[arg-type]  # noqa: SLF001
    return (
        [f"not compiled any more, as that is for the old widths: {', '.join(compiled)}"] if compiled else []
    )


def refuse_shards(model: nn.Module) -> None:
    """Of a network that FSDP has spread over processes, none of which has it.

    Raises:
        RecipeError: it is one.
    """
    held = (one for part in model.modules() for one in (*part.parameters(False), *vars(part).values()))
    if any(isinstance(part, SHARDED) for part in model.modules()) or any(map(_shard, held)):
        raise RecipeError(
            f"{type(model).__name__} is sharded by FSDP: no process holds its weights in whole",
            "prune and jetpress.save before it is wrapped, and wrap slim.module; afterwards "
            "jetpress.load(folder, build, weights=its full state_dict) is a whole one again",
        )


def _shard(tensor: object) -> bool:
    """Of FSDP 2; or of FSDP 1, also where the module itself is not the one that was wrapped."""
    return type(tensor).__name__ in ("DTensor", "FlatParameter") or getattr(tensor, "_fsdp_flattened", False)


def _refuse_what_is_not_whole(model: nn.Module) -> None:
    refuse_shards(model)
    tensors = [*model.parameters(), *model.buffers()]
    if any(isinstance(one, LAZY) for one in tensors):
        raise RecipeError(
            f"{type(model).__name__} has lazy layers without weights", "call it once, then prune it"
        )
    if any(one.device.type == "meta" for one in tensors):
        raise RecipeError(f"{type(model).__name__} is on the meta device", "load its weights, then prune it")
    if isinstance(model, torch.jit.ScriptModule):
        raise RecipeError(
            "a TorchScript has no code that could be cut", "prune the nn.Module that it was made of"
        )


def inputs_of(example_inputs: Tensor | Sequence[Tensor], module: nn.Module) -> tuple[Tensor, ...]:
    """The arguments of ``forward`` on the CPU, a batch of one as two where ``module`` takes that.

    Raises:
        RecipeError: they are no tensors, or the network does not take them.
    """
    inputs = tuple(example_inputs) if isinstance(example_inputs, Sequence) else (example_inputs,)
    if not inputs or not all(isinstance(one, Tensor) for one in inputs):
        kinds = ", ".join(type(one).__name__ for one in inputs) or "nothing"
        raise RecipeError(
            f"example_inputs is {kinds}", "give a tensor, or the tensors that forward takes, in its order"
        )
    inputs = tuple(one.detach().cpu() for one in inputs)
    try:
        _call(module, inputs)
    except Exception as error:
        raise RecipeError(
            f"{type(module).__name__} does not take the example inputs: {cause(error)}",
            "they are the arguments of forward, as in training; it is tried on a copy on the CPU",
        ) from error
    try:  # a batch of one cannot be told from any other axis of that length
        _call(module, several := doubled(inputs))
    except Exception:  # noqa: BLE001  (it takes no other batch)
        return inputs
    return several


def _call(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
    with torch.no_grad(), evaluating(module):
        module(*inputs)


def _at(tensor: Tensor, place: torch.device) -> Tensor:
    """A copy there; a parameter stays one."""
    moved = tensor.detach().to(place, copy=True)
    return nn.Parameter(moved, tensor.requires_grad) if isinstance(tensor, nn.Parameter) else moved


def _parts(before: Sequence[str], baked: Sequence[str]) -> dict[str, str]:
    """Name of a parameter that went into a weight -> name of that weight."""
    parts = dict[str, str]()
    for weight in baked:
        module, _, leaf = weight.rpartition(".")
        inside = f"{module}." if module else ""
        begins = (f"{weight}_", f"{inside}parametrizations.{leaf}.")
        parts |= {name: weight for name in before if name.startswith(begins)}
    return parts
