"""A sweep as it is written: SWEEP.toml, checked, and every cell of its grid.

::

    name = "boards"
    recipes = ["digits"]
    targets = ["host", "orin-nano"]

    [devices]
    orin-nano = "user@orin"

    [models.small]
    builder = "net.py:build"

    [set]
    "finetune.epochs" = 2

    [grid]
    "prune.ratio" = [0.3, 0.5]
    "train.learning_rate" = { from = 0.01, to = 0.1, steps = 3, log = true }

Any key of a recipe may stand in ``[set]`` and ``[grid]``. This module imports no torch.
"""

from __future__ import annotations

import itertools
import json
import math
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, JsonValue, TypeAdapter, ValidationError

from jetpress.deploy.errors import RecipeError
from jetpress.deploy.suggest import did_you_mean
from jetpress.deploy.targets import BOARD, find
from jetpress.pipeline.recipe.messages import Written, explain
from jetpress.pipeline.recipe.reading import in_toml, named
from jetpress.pipeline.recipe.sections.fields import AtLeastOne, Count, Section, is_file_reference
from jetpress.pipeline.recipe.sections.tracking import TrackingConfig

Objective = Literal["accuracy", "latency", "energy", "size", "parameters", "macs"]
MOST = 100_000
"""Cells of one sweep."""


@dataclass(frozen=True)
class Range(Section):
    """Values from one number to another."""

    start: Annotated[float, Field(alias="from")]
    end: Annotated[float, Field(alias="to")]
    steps: Annotated[int, Field(ge=2)]
    log: bool = False
    """Equal ratios instead of equal distances."""

    def values(self) -> list[JsonValue]:
        """All of them, both ends among them."""
        if self.log and min(self.start, self.end) <= 0:
            raise RecipeError(
                f"a range from {self.start:g} to {self.end:g} has no logarithms", "leave log out"
            )
        low, high = (math.log(self.start), math.log(self.end)) if self.log else (self.start, self.end)
        points = [low + (high - low) * n / (self.steps - 1) for n in range(self.steps)]
        return [float(f"{math.exp(point) if self.log else point:.6g}") for point in points]


Values = list[JsonValue] | Range


@dataclass(frozen=True)
class Span(Section):
    """All numbers between two, both among them."""

    start: Annotated[float, Field(alias="from")]
    end: Annotated[float, Field(alias="to")]
    log: bool = False
    """Small ones are as likely as large ones."""
    whole: bool = False
    """Whole numbers alone."""


@dataclass(frozen=True)
class SearchConfig(Section):
    """Trials that Optuna chooses, instead of a grid."""

    space: Annotated[dict[str, list[JsonValue] | Span], Field(min_length=1)]
    """Recipe key -> its choices, or the numbers between which it lies."""
    trials: AtLeastOne = 30
    """Those of earlier runs that fit are not counted."""
    objectives: Annotated[tuple[Objective, ...], Field(min_length=1)] = ("accuracy", "latency")
    """``accuracy`` (test split), ``latency`` (median, measured), ``energy`` (of one inference, where the device has a
    sensor), ``size`` (of the engine, or of the ONNX file where none is built), ``parameters``, ``macs``."""
    seed: Count = 0
    hopeless: bool = True
    """End a trial whose validation accuracy is, at the same epoch, below the median of those that remove as much."""


@dataclass(frozen=True)
class Sweep(Section):
    """A whole sweep."""

    recipes: Annotated[tuple[str, ...], Field(min_length=1)]
    """Paths of recipes, or names of embedded ones; relative to the sweep's file."""
    targets: Annotated[tuple[str, ...], Field(min_length=1)]
    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")] = "sweep"
    """Names the sweep's folder. Left out: as the file."""
    devices: dict[str, str] = field(default_factory=dict)
    """Target -> ``user@host``."""
    models: dict[str, dict[str, JsonValue]] = field(default_factory=dict)
    """Name -> keys of ``[model]``. Empty: the recipes' own."""
    set: dict[str, JsonValue] = field(default_factory=dict)
    """Recipe keys that every cell has."""
    grid: dict[str, Values] = field(default_factory=dict)
    """Recipe key -> its values; every combination is a cell."""
    tracking: TrackingConfig = field(default_factory=TrackingConfig)
    """Where the figures of each cell go when it has ended; paths are relative to the sweep's file."""
    search: SearchConfig | None = None
    """``[search]``, with ``[search.space]``: for one recipe, at most one model, and one target."""
    retries: Count = 1
    """How often a cell is begun again whose process was killed or whose device failed."""
    gpus: Count = 0
    """Of a cell: on several it trains in as many processes. With Ray it gets a node that has them free."""
    cpus: AtLeastOne = 1
    """With Ray: processors of a cell."""


@dataclass(frozen=True)
class Asked:
    """One cell as it was asked for; what its recipe makes of it is not known yet."""

    recipe: str
    model: str | None
    target: str
    device: str | None
    values: Mapping[str, JsonValue] = field(hash=False)
    """Of the keys of ``[grid]``."""
    sets: tuple[str, ...]
    """All overrides as ``--set`` takes them."""


def load(path: Path) -> Sweep:
    """Read and check a sweep; paths in it become absolute.

    Raises:
        RecipeError: no such file, not TOML, an unknown key, an unknown target, or more cells than make sense.
    """
    try:
        text = path.read_text(encoding="utf-8")
        table = tomllib.loads(text)
    except FileNotFoundError:
        near = did_you_mean(path.name, [one.name for one in path.parent.glob("*.toml")])
        raise RecipeError(f"there is no sweep {path}", near or "`jetpress docs sweeps` shows one") from None
    except (ValueError, RecursionError) as error:
        raise RecipeError(
            f"{path} is not valid TOML: {error}", "see https://toml.io for the syntax"
        ) from None
    except OSError as error:
        raise RecipeError(f"{path} cannot be read: {error.strerror}", "give a .toml file") from None
    table.setdefault("name", named(path))
    try:
        sweep = _adapter().validate_json(json.dumps(table, default=str), strict=True)
    except ValidationError as error:
        raise explain(error, Written(str(path), text), Sweep) from None
    _check(sweep, path)
    board = sweep.tracking.tensorboard
    placed = replace(sweep.tracking, tensorboard=board and str(path.parent.absolute() / board))
    return replace(sweep, tracking=placed)


@cache
def _adapter() -> TypeAdapter[Sweep]:
    return TypeAdapter(Sweep)


def _check(sweep: Sweep, path: Path) -> None:
    for target in sweep.targets:
        if target != BOARD:
            find(target)
    for target in sweep.devices.keys() - {*sweep.targets}:
        raise RecipeError(
            f"{path}: devices.{target} is for no target of this sweep",
            did_you_mean(target, sweep.targets) or f"add it to targets: {', '.join(sweep.targets)}",
        )
    for key, values in sweep.grid.items():
        if isinstance(values, list) and not values:
            raise RecipeError(f"{path}: grid.{key} has no values", "give at least one, or leave it out")
    if sweep.search and (
        len(sweep.recipes) > 1 or len(sweep.models) > 1 or len(sweep.targets) > 1 or sweep.grid
    ):
        raise RecipeError(
            f"{path}: a search is for one recipe, one model and one target, without a grid",
            "write a file for each; what they share is made once all the same",
        )
    for key in sweep.search.space if sweep.search else ():
        if key.count(".") != 1:
            raise RecipeError(
                f"{path}: search.space.{key} is no key of a recipe's table", 'write "section.key"'
            )
    sizes = [len(valued(one)) for one in sweep.grid.values()]
    count = math.prod([len(sweep.recipes), len(sweep.models) or 1, len(sweep.targets), *sizes])
    if count > MOST:
        raise RecipeError(f"{path} has {count:,} cells, and {MOST:,} are the most", "make the grid coarser")


def valued(values: Values) -> list[JsonValue]:
    """The values of one key."""
    return values.values() if isinstance(values, Range) else values


def asked(sweep: Sweep, folder: Path) -> Iterator[Asked]:
    """Every cell; targets vary fastest, so that what they share is made once and found by the next.

    Args:
        folder: that paths of recipes are relative to.
    """
    always = [setting(key, value) for key, value in sweep.set.items()]
    grid = {key: valued(values) for key, values in sweep.grid.items()}
    models: list[tuple[str | None, dict[str, JsonValue]]] = [*sweep.models.items()] or [(None, {})]
    for recipe, (model, keys) in itertools.product(sweep.recipes, models):
        path = str(folder / recipe) if recipe.endswith(".toml") else recipe
        own = [setting(f"model.{key}", _placed(folder, key, value)) for key, value in keys.items()]
        for chosen in itertools.product(*grid.values()):
            values = dict(zip(grid, chosen, strict=True))
            sets = (*always, *own, *(setting(key, value) for key, value in values.items()))
            for target in sweep.targets:
                yield Asked(path, model, target, sweep.devices.get(target), values, sets)


def setting(key: str, value: object) -> str:
    """``section.key=value`` as ``--set`` takes it."""
    return f"{key}={in_toml(value)}"


def _placed(folder: Path, key: str, value: JsonValue) -> JsonValue:
    """A file that ``[models]`` names is relative to the sweep."""
    if isinstance(value, str) and (key == "weights" or (key == "builder" and is_file_reference(value))):
        return str((folder / value).resolve())
    return value
