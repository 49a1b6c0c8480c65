"""The cells of a sweep: which runs there are, which of them a target refuses, and which share work."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import JsonValue

from jetpress.deploy.errors import RecipeError
from jetpress.deploy.targets import Target
from jetpress.pipeline.flow.devices import target_of
from jetpress.pipeline.recipe.reading import Recipe
from jetpress.pipeline.recipe.resolve import Plan, for_all, resolve
from jetpress.pipeline.recipe.sections.fields import as_table
from jetpress.pipeline.store.artifact import canonical
from jetpress.pipeline.sweep.reading import Asked

TRAINED = ("seed", "model", "task", "data", "train")
COMPRESSED = ("prune", "finetune", "sparsify")


@dataclass(frozen=True)
class Cell:
    """One run of a sweep."""

    id: str
    """Twelve digits: the same recipe, target and device always give the same ones."""
    name: str
    """For people."""
    asked: Asked
    recipe: Recipe
    """With every override, and widths for all targets."""
    target: Target
    kin: tuple[str, str]
    """Digests of what decides its training, and its compression: cells with equal ones share that work."""


@dataclass(frozen=True)
class Refused:
    """A cell that cannot be."""

    name: str
    asked: Asked
    why: str
    hint: str


def cells(asked: Iterable[Asked]) -> tuple[list[Cell], list[Refused]]:
    """All cells that can be, and those that a target or the recipe refuses; two that come to the same are one.

    Raises:
        RecipeError: none of them can be.
    """
    targets: dict[tuple[str, str | None], Target] = {}
    groups: dict[tuple[str, tuple[str, ...]], list[Asked]] = {}
    for one in asked:
        groups.setdefault((one.recipe, one.sets), []).append(one)
        if (one.target, one.device) not in targets:
            targets[one.target, one.device] = target_of(one.target, one.device)
    able, refused = dict[str, Cell](), list[Refused]()
    for (path, sets), group in groups.items():
        try:
            recipe = Recipe.load(path, sets)
        except RecipeError as error:
            refused += [Refused(named(one), one, error.what, error.hint) for one in group]
            continue
        fitting = dict[Asked, Target]()
        for one in group:
            try:
                resolve(recipe, targets[one.target, one.device])
                fitting[one] = targets[one.target, one.device]
            except RecipeError as error:
                refused.append(Refused(named(one), one, error.what, error.hint))
        common = for_all(recipe, [*fitting.values()])
        for one, target in fitting.items():
            cell = _cell(one, common, target)
            able.setdefault(cell.id, cell)
    if not able:
        raise RecipeError(f"no cell of it can be run: {refused[0].why}", refused[0].hint)
    return [*able.values()], refused


def _cell(asked: Asked, recipe: Recipe, target: Target) -> Cell:
    plan = resolve(recipe, target)
    told = canonical([as_table(recipe), target.name, asked.device])
    identity = hashlib.sha256(told.encode()).hexdigest()[:12]
    return Cell(identity, named(asked), asked, recipe, target, _kin(plan))


def _kin(plan: Plan) -> tuple[str, str]:
    """What decides the training, and what is done to the network after it."""
    table: Mapping[str, JsonValue] = as_table(plan.recipe)
    digests = []
    for keys in (TRAINED, TRAINED + COMPRESSED):
        told = [{key: table[key] for key in keys}, "sparsify" in plan.skipped]
        digests.append(hashlib.sha256(canonical(told if keys != TRAINED else told[0]).encode()).hexdigest())
    return digests[0], digests[1]


def named(asked: Asked) -> str:
    """What tells a cell from the others, in words."""
    recipe = Path(asked.recipe).stem
    values = [
        f"{key.rpartition('.')[2]}={format(value, '.4g') if isinstance(value, float) else value}"
        for key, value in asked.values.items()
    ]
    return " ".join([recipe, *([asked.model] if asked.model else []), *values, asked.target])


def apart(cell: Cell, running: Iterable[Cell]) -> int:
    """How much of a cell's work is being done by others now: 0 nothing, 2 training and compression.

    Who would wait for another cell's training is better begun later.
    """
    shared = [sum(a == b for a, b in zip(cell.kin, one.kin, strict=True)) for one in running]
    return max(shared, default=0)
