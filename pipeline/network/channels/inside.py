"""A network as a part of another module, for the time that it becomes a graph; and what it is called in there."""

from __future__ import annotations

import functools

from torch import fx, nn

INSIDE = "network"


def inside(module: nn.Module) -> nn.Module:
    """``module`` as a part of another, called as it is: what is to become a graph by ``torch.export``.

    The graph holds everything by its name, and has members of its own: ``code``, ``graph``, ``recompile``.
    """
    outer = nn.Module()
    outer.add_module(INSIDE, module)

    @functools.wraps(module.forward)
    def forward(*args: object, **named: object) -> object:
        return module(*args, **named)

    outer.forward = forward
    outer.training = module.training
    return outer


def outside(name: str) -> str:
    """The name that a part has in the network itself."""
    return "" if name == INSIDE else name.removeprefix(f"{INSIDE}.")


def held_as(name: str) -> str:
    """The name of a network's tensor in a graph: its own, but for those that the graph has a use for."""
    return f"{INSIDE}.{name}" if hasattr(_EMPTY, name.partition(".")[0]) else name


_EMPTY = fx.GraphModule(nn.Module(), fx.Graph())
