"""An optimizer goes on with a pruned network: its state is cut as its parameters were."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from jetpress.deploy.errors import RecipeError

ANEW = "make a new optimizer of slim.module.parameters()"


@dataclass(frozen=True)
class Fate:
    """What became of a parameter."""

    name: str
    now: nn.Parameter | None
    """In its place; None where nothing is."""
    kept: Mapping[int, Sequence[int]] | None
    """Axis -> the positions that stay; None where it is a weight put together from several: state begins anew."""


def cut_state(optimizer: torch.optim.Optimizer, fate_of: Callable[[Tensor], Fate | None]) -> None:
    """Point ``optimizer`` to the parameters that are there now; ``fate_of`` knows None of those of other modules.

    Raises:
        RecipeError: none of its parameters is known, it is spread over processes, or state has another form. Nothing
            is changed then.
    """
    fates = {p: fate_of(p) for group in optimizer.param_groups for p in group["params"]}
    if not any(fates.values()):
        raise RecipeError(
            "the optimizer has no parameter of the network that was pruned",
            "give the one that trained it, and cut it after each pruning; else make a new one: its state is lost",
        )
    if isinstance(optimizer, torch.optim.LBFGS):
        raise RecipeError("LBFGS keeps the whole network as one vector", f"{ANEW}: its history is lost")
    if any(kind.__name__ == "ZeroRedundancyOptimizer" for kind in type(optimizer).__mro__):
        raise RecipeError(
            "ZeroRedundancyOptimizer spreads parameters over processes", f"{ANEW}: its state is lost"
        )
    seen = set[int]()
    groups = [_remaining(group, fates, seen) for group in optimizer.param_groups]
    state = {}
    for parameter, values in optimizer.state.items():
        fate = fates.get(parameter)
        if fate is None:
            state[parameter] = values
        elif fate.now is not None and fate.kept is not None:
            state[fate.now] = _cut(values, parameter, fate, type(optimizer).__name__)
    for group, remaining in zip(optimizer.param_groups, groups, strict=True):
        group.update(remaining)
    optimizer.state.clear()
    optimizer.state.update(state)


def _remaining(
    group: Mapping[str, Any], fates: Mapping[Tensor, Fate | None], seen: set[int]
) -> dict[str, Any]:
    """The group's parameters now, each once, and their names where it has them."""
    params, names = list[Tensor](), list[str]()
    named = group.get("param_names", [""] * len(group["params"]))
    for parameter, name in zip(group["params"], named, strict=True):
        fate = fates[parameter]
        now = parameter if fate is None else fate.now
        if now is not None and id(now) not in seen:
            seen.add(id(now))
            params.append(now)
            names.append(name)
    return {"params": params} | ({"param_names": names} if "param_names" in group else {})


def _cut(values: Mapping[str, Any], parameter: Tensor, fate: Fate, optimizer: str) -> dict[str, Any]:
    """The state of one parameter at its new shape."""
    assert fate.kept is not None
    return {
        key: _sliced(value, parameter, fate, f"{optimizer} keeps {key!r}") for key, value in values.items()
    }


def _sliced(value: object, parameter: Tensor, fate: Fate, what: str) -> object:
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if not isinstance(value, Tensor):
        raise _of_another_form(what, fate, type(value).__name__)
    if value.ndim == 0 or (value.shape == (1,) and parameter.ndim > 1):
        return value.clone()
    whole = value.ndim == parameter.ndim
    if not whole or any(a not in (1, b) for a, b in zip(value.shape, parameter.shape, strict=True)):
        raise _of_another_form(what, fate, f"a tensor {list(value.shape)}")
    for axis, positions in (fate.kept or {}).items():
        if value.shape[axis] == parameter.shape[axis]:
            value = value.index_select(axis, torch.tensor(positions, device=value.device))
    return value.clone()


def _of_another_form(what: str, fate: Fate, found: str) -> RecipeError:
    return RecipeError(
        f"{what} for {fate.name} as {found}, which cannot be cut as the parameter was",
        ANEW,
    )
