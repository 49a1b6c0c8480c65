"""The arguments that ``prune`` and ``rounds`` have in common: types here, meanings at ``prune``, limits in a recipe."""

from __future__ import annotations

import dataclasses
import inspect
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from typing import Any, Literal, TypedDict, TypeVar

from pydantic import TypeAdapter, ValidationError
from torch import Tensor

from jetpress.deploy.errors import RecipeError
from jetpress.deploy.suggest import did_you_mean
from jetpress.deploy.targets import Target
from jetpress.pipeline.recipe.messages import Written, explain
from jetpress.pipeline.recipe.sections.compression import PruneConfig

Scope = Literal["uniform", "global", "isomorphic", "measured"]
Loss = Callable[[Any, Any], Tensor]
"""What the network returned and the target -> a scalar."""
Function = TypeVar("Function", bound=Callable[..., Any])


class Cutting(TypedDict, total=False):
    """What is to go, and by what it is chosen."""

    ratio: float
    macs: float | None
    params: float | None
    latency: float | None
    target: str | Target
    device: str | None
    criterion: str
    scope: Scope
    blocks: bool
    channel_multiple: int
    ignore: Sequence[str]
    limits: Mapping[str, float] | None
    batches: Iterable[object] | None
    loss: Loss | None
    sensitivity_images: int
    reconstruct: bool | None
    seed: int


IN_MEMORY = ("target", "device", "batches", "loss", "seed")
"""Those that a recipe's ``[prune]`` does not have."""
DEFAULTS: dict[str, object] = {
    **{one.name: one.default for one in dataclasses.fields(PruneConfig)},
    "target": "host",
    "scope": "uniform",
    "channel_multiple": 8,
    "limits": None,
    "reconstruct": None,
    "seed": 0,
}


def spelled(function: Function) -> Function:
    """``**how: Unpack[Cutting]`` shown as what it is, by ``help`` and ``inspect.signature``, with the defaults."""
    own = inspect.signature(function)
    *first, _ = own.parameters.values()
    keys = [
        inspect.Parameter(
            name, inspect.Parameter.KEYWORD_ONLY, default=DEFAULTS.get(name), annotation=text(kind)
        )
        for name, kind in Cutting.__annotations__.items()
    ]
    vars(function)["__signature__"] = own.replace(parameters=[*first, *keys])
    return function


def text(kind: object) -> object:
    """Of an annotation that was not evaluated."""
    return getattr(kind, "__forward_arg__", kind)


def configured(how: Mapping[str, Any], **also: object) -> PruneConfig:
    """The arguments as the recipe checks them; ``also`` are keys of ``[prune]`` that only one function has.

    Raises:
        RecipeError: one of them is unknown or impossible.
    """
    for name in how:
        if name not in Cutting.__annotations__:
            known = Cutting.__annotations__
            raise RecipeError(f"jetpress.prune: there is no argument {name!r}", did_you_mean(name, known))
    values = {
        name: how.get(name, DEFAULTS[name]) for name in Cutting.__annotations__ if name not in IN_MEMORY
    }
    if values["reconstruct"] is None:
        values["reconstruct"] = True  # where that can be done
    values |= {"ignore": list(values["ignore"]), "limits": dict(values["limits"] or {}), **also}
    try:
        return _adapter().validate_json(json.dumps(values, default=str), strict=True)
    except ValidationError as error:
        raise explain(error, Written("jetpress.prune"), PruneConfig) from None


@cache
def _adapter() -> TypeAdapter[PruneConfig]:
    return TypeAdapter(PruneConfig)
