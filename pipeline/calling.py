"""``jetpress.run`` and ``jetpress.plan``: a recipe, or a network and data in memory."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jetpress.benchmarks.report.record import RunReport
from jetpress.deploy.errors import RecipeError
from jetpress.deploy.targets import Target
from jetpress.pipeline import run as pipeline
from jetpress.pipeline.recipe.reading import Recipe
from jetpress.pipeline.recipe.sections.fields import as_table
from jetpress.pipeline.store.runs import home as runs_home
from jetpress.pipeline.store.steps import Step
from jetpress.pipeline.store.store import Store

if TYPE_CHECKING:
    from torch import nn

    from jetpress.pipeline.functions.datasets import Source


def run(
    recipe: Recipe | Mapping[str, object] | str | Path | None = None,
    target: str | Target = "host",
    device: str | None = None,
    home: Path | None = None,
    *,
    model: nn.Module | None = None,
    data: tuple[Source, ...] | Mapping[str, Source] | None = None,
    loss: Callable[..., Any] | None = None,
    metric: Callable[..., Any] | None = None,
    **tables: object,
) -> RunReport:
    """From a network to an engine and its report, with everything that was made before found again.

    ::

        jetpress.run("digits", "host")
        jetpress.run(model=net, data=(train, validation), target="host", prune={"macs": 0.5}, finetune={"epochs": 3})

    A network in memory stays as it is, and counts as trained: ``train={"epochs": 5}`` trains it first. It is known by
    the SHA-256 of its weights, of its classes' code and of the plain attributes of its parts; the data by that of
    every sample, in order, which costs one pass over it in each call. A second call with the same does nothing.

    Args:
        recipe: a recipe, its path, the name of an embedded one, or its tables as plain values. With ``model`` what
            ``tables`` leave open; keys of ``[model]`` and ``[data]`` go here: ``recipe={"data": {"workers": 2}}``.
        target: a name of ``jetpress targets``, or its record.
        device: ``user@host`` where the engine is built; None: here, if this machine is the target.
        home: folder of runs and store; None: ``$JETPRESS_RUNS`` or ``runs``.
        model: an ``nn.Module``; inputs are what the data gives.
        data: ``(train, validation)`` or ``(train, validation, test)``, or a mapping of these names: loaders, map-style
            data sets of ``(inputs, target)``, or batches. Without test data ``validation`` becomes the test split and
            a part of ``train`` the validation split, as in a recipe.
        loss: ``loss(outputs, target)``, a scalar; None: the task's own, or the recipe's.
        metric: points of each sample ``[batch]``, 0 to 100; None: the task's own, or the recipe's.
        tables: of a recipe, as keywords: ``prune={"ratio": 0.5}``, ``budget={"accuracy_drop": 1.0}``, ``name="mine"``.

    Returns:
        the record that the run's ``report.json`` holds; in a notebook it shows the report's page

    Raises:
        JetpressError: see :mod:`jetpress.deploy.errors`. A budget that is not met raises nothing: see ``verdict``.
    """
    chosen = _chosen(recipe, home, model, data, {"loss": loss, "metric": metric}, tables)
    return pipeline.run(chosen, target, device, home)


def plan(
    recipe: Recipe | Mapping[str, object] | str | Path | None = None,
    target: str | Target = "host",
    device: str | None = None,
    home: Path | None = None,
    *,
    model: nn.Module | None = None,
    data: tuple[Source, ...] | Mapping[str, Source] | None = None,
    loss: Callable[..., Any] | None = None,
    metric: Callable[..., Any] | None = None,
    **tables: object,
) -> list[Step]:
    """What :func:`run` would do with the same arguments: cached, will run (and how long that took before) or skipped.

    What can be known before training is looked at: the network is built, tried on the data and exported.

    Raises:
        JetpressError: what :func:`run` would say before it trains.
    """
    chosen = _chosen(recipe, home, model, data, {"loss": loss, "metric": metric}, tables)
    return pipeline.plan(chosen, target, device, home)


def _chosen(
    recipe: Recipe | Mapping[str, object] | str | Path | None,
    home: Path | None,
    model: nn.Module | None,
    data: tuple[Source, ...] | Mapping[str, Source] | None,
    functions: Mapping[str, Callable[..., Any] | None],
    tables: Mapping[str, object],
) -> Recipe:
    """The recipe that is meant."""
    base = Recipe.load(recipe) if isinstance(recipe, str | Path) else recipe
    if base is not None and not isinstance(base, Recipe | Mapping):
        raise RecipeError(
            f"the first argument is a recipe, this is a {type(base).__name__}",
            "a network in memory: jetpress.run(model=..., data=(train, validation), target=...)",
        )
    in_memory = model is not None or data is not None or any(functions.values())
    if isinstance(base, Recipe) and not in_memory and not tables:
        return base
    table: dict[str, Any] = as_table(base) if isinstance(base, Recipe) else dict(base or {})
    for name, value in tables.items():
        section = table.get(name)
        both = isinstance(value, Mapping) and isinstance(section, Mapping)
        table[name] = {**section, **value} if both else value  # type: ignore[dict-item]
    if not in_memory and base is not None:
        return Recipe.parse(table)
    if model is None or data is None:
        raise RecipeError("model= and data= belong together", "give both, or a recipe, which names both")
    from jetpress.pipeline.functions import memory  # with PyTorch

    given = [*tables.items(), *(base.items() if isinstance(base, Mapping) else ())]
    told = {f"{name}.{key}" for name, one in given if isinstance(one, Mapping) for key in one}
    return memory.recipe_of(model, data, table, told, Store((home or runs_home()) / ".store"), **functions)
