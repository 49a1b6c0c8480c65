"""Training or inference, for a while, after which all is as it was."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from torch import fx, nn


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
