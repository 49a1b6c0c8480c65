"""A network in a mode for a while, and put back as it was: inference, training; how many samples it is tried on."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.utils._pytree import tree_flatten


@contextmanager
def quiet() -> Iterator[None]:
    """Without the tracer's remarks, and with attention written out instead of its fused inference path."""
    disabled = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), unfused_attention():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)


@contextmanager
def unfused_attention() -> Iterator[None]:
    """``nn.MultiheadAttention`` as its products: inference has a path that is one operator."""
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Eval mode for a while. Afterwards every attribute of every submodule is what it was.

    Caches that the network keeps for inference are empty meanwhile: going through training mode does that.
    """
    modes = {part: part.training for part in module.modules()}
    before = [(vars(part), _contents(vars(part))) for part in modes]
    module.train().eval()
    try:
        yield
    finally:
        for attributes, contents in before:
            _restore(attributes, contents)
        set_modes(modes)


def set_modes(modes: Mapping[nn.Module, bool]) -> None:
    """Each module's own mode; a network that is its graph has it written into the graph."""
    for part, mode in modes.items():
        if isinstance(part, fx.GraphModule):
            part.train(mode)
        else:
            part.training = mode


def _contents(attributes: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Every attribute, and what it contains."""
    return {
        name: (value, (value.copy() if value else ()) if isinstance(value, dict | list | set) else None)
        for name, value in attributes.items()
    }


def _restore(attributes: dict[str, Any], contents: Mapping[str, tuple[Any, Any]]) -> None:
    attributes.clear()
    for name, (value, content) in contents.items():
        attributes[name] = value
        if content is not None:
            value.clear()
            value.extend(content) if isinstance(value, list) else value.update(content)


@contextmanager
def frozen(module: nn.Module) -> Iterator[None]:
    """Parameters that want no gradient for a while: a view of one wants it even under ``no_grad``, without history."""
    learning = [parameter for parameter in module.parameters() if parameter.requires_grad]
    for parameter in learning:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in learning:
            parameter.requires_grad_()


@contextmanager
def in_training(module: nn.Module) -> Iterator[None]:
    """Training mode for a while, after which statistics and random numbers are where they were."""
    before = [(buffer, buffer.clone()) for buffer in module.buffers()]
    with torch.random.fork_rng(devices=[]):
        module.train()
        try:
            yield
        finally:
            module.eval()
            for buffer, values in before:
                buffer.copy_(values)


def trains_otherwise(module: nn.Module, inputs: tuple[Tensor, ...]) -> str:
    """Why a graph of inference cannot be trained in place of ``module``: what training mode returns is of another form.

    Auxiliary heads, raw maps of a detector, a dict of losses (which asks for targets). Empty where the form is one.
    """
    given = doubled(inputs)  # BatchNorm takes no single value
    with quiet(), torch.no_grad(), evaluating(module):
        wanted = _form(module(*given))
        try:
            with in_training(module):
                found = _form(module(*given))
        except Exception as error:  # noqa: BLE001  (the user's code runs)
            told = next(iter(str(error).strip().splitlines()), "")
            return f"in training mode the network takes more than its inputs ({type(error).__name__}: {told})"
    return "" if found == wanted else "in training mode the network returns something else than in inference"


def _form(result: object) -> tuple[object, list[object]]:
    leaves, spec = tree_flatten(result)
    return spec, [tuple(one.shape) if isinstance(one, Tensor) else type(one) for one in leaves]


def batched(inputs: tuple[Tensor, ...]) -> bool:
    """Do all inputs agree on axis 0?"""
    return bool(inputs) and all(x.ndim for x in inputs) and len({len(x) for x in inputs}) == 1


def doubled(inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """A batch of 1 as one of 2: code that squeezes an axis would take it for a constant."""
    return tuple(torch.cat([x, x]) for x in inputs) if batched(inputs) and len(inputs[0]) == 1 else inputs
