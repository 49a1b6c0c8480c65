"""A whole recipe: read, checked, and written down again.

A recipe is a TOML file; its tables are :mod:`jetpress.pipeline.recipe.sections`. What a target makes of it says
:mod:`jetpress.pipeline.recipe.resolve`. This module imports no torch.
"""

from __future__ import annotations

import json
import math
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from functools import cache
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import Field, TypeAdapter, ValidationError

from jetpress.deploy.errors import RecipeError
from jetpress.deploy.suggest import did_you_mean
from jetpress.pipeline.recipe import checks
from jetpress.pipeline.recipe.messages import SHOWN, Written, explain, keys_of, shown_set
from jetpress.pipeline.recipe.sections.compression import PruneConfig, QuantizeConfig, SparsifyConfig
from jetpress.pipeline.recipe.sections.data import DataConfig
from jetpress.pipeline.recipe.sections.device import BenchmarkConfig, BudgetConfig, BuildConfig
from jetpress.pipeline.recipe.sections.export import EquivalenceConfig, ExportConfig
from jetpress.pipeline.recipe.sections.fields import Count, Section, as_table, is_file_reference
from jetpress.pipeline.recipe.sections.model import ModelConfig
from jetpress.pipeline.recipe.sections.task import TaskConfig
from jetpress.pipeline.recipe.sections.tracking import TrackingConfig
from jetpress.pipeline.recipe.sections.training import FinetuneConfig, QatConfig, TrainConfig

Named = TypeVar("Named", str, str | None)
NOWHERE = Written()
LARGEST = 2**63 - 1
"""TOML's whole numbers have 64 bits."""
DEEPEST = 64
"""Lists and tables within each other; more than any builder's arguments need."""
NO_TEXT = re.compile(r"[\0\ud800-\udfff]")
"""NUL ends a path, and half a character has no UTF-8."""


EMBEDDED = Path(__file__).parents[2] / "recipes"
"""Recipes that are installed with jetpress."""


@dataclass(frozen=True)
class Recipe(Section):
    """A whole recipe."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
    """Names the run's folder."""
    seed: Count = 0
    """Of everything random."""
    model: ModelConfig = ModelConfig()
    task: TaskConfig = TaskConfig()
    data: DataConfig = DataConfig()
    train: TrainConfig = TrainConfig()
    prune: PruneConfig = PruneConfig()
    sparsify: SparsifyConfig = SparsifyConfig()
    finetune: FinetuneConfig = FinetuneConfig()
    export: ExportConfig = ExportConfig()
    quantize: QuantizeConfig = QuantizeConfig()
    qat: QatConfig = QatConfig()
    equivalence: EquivalenceConfig = EquivalenceConfig()
    build: BuildConfig = BuildConfig()
    benchmark: BenchmarkConfig = BenchmarkConfig()
    budget: BudgetConfig = BudgetConfig()
    tracking: TrackingConfig = TrackingConfig()

    def __post_init__(self) -> None:
        for one in fields(self):
            expected, value = type(one.default), getattr(self, one.name)
            if is_dataclass(expected) and not isinstance(value, expected):
                raise RecipeError(
                    f"{one.name} of a recipe is a {expected.__name__}, this is a {type(value).__name__}",
                    "a network in memory: jetpress.run(model=..., data=(train, validation), target=...); "
                    "plain tables: Recipe.parse",
                )

    @classmethod
    def load(cls, path: str | Path, overrides: Sequence[str] = ()) -> Recipe:
        """Read a TOML recipe.

        Args:
            path: of a ``.toml`` file, or the name of a recipe that comes with jetpress: ``digits``.
            overrides: ``"section.key=value"``, the value as in TOML.

        Raises:
            RecipeError: no such file, not TOML, an unknown key, a wrong type, an impossible combination.
        """
        path = _found(path)
        text = _text(path)
        try:
            table = _parsed(text, str(path))
        except tomllib.TOMLDecodeError as error:
            raise RecipeError(f"{path} is not valid TOML: {error}", "see https://toml.io for the syntax")
        for override in overrides:
            overridden(table, override)
        table.setdefault("name", named(path))
        return cls.parse(table, Written(str(path), text, tuple(overrides))).located(path.parent)

    @classmethod
    def parse(cls, table: Mapping[str, object], written: Written = NOWHERE) -> Recipe:
        """A recipe from a table of plain values; ``written`` makes the messages precise."""
        _refuse_values(table, written)
        try:
            recipe = _adapter().validate_json(json.dumps(table, default=str), strict=True)
        except ValidationError as error:
            raise explain(error, written, cls) from None
        _check(recipe, written)
        return recipe

    def to_toml(self) -> str:
        """The recipe as TOML that :meth:`load` reads back: keys without a value are left out."""
        lines, sections = [], []
        for name, value in as_table(self).items():
            if isinstance(value, dict):
                sections += ["", f"[{name}]"]
                sections += [f"{key} = {in_toml(one)}" for key, one in value.items() if one is not None]
            else:
                lines.append(f"{name} = {in_toml(value)}")
        return "\n".join([*lines, *sections]) + "\n"

    def located(self, folder: Path) -> Recipe:
        """Paths of files made absolute: they are relative to the recipe, not to where jetpress was started."""

        def place(value: str | None) -> str | None:
            return value if value is None else _absolute(folder, value)

        def place_function(value: Named) -> Named:
            return _absolute(folder, value) if value and is_file_reference(value) else value

        def place_model(model: ModelConfig) -> ModelConfig:
            return replace(model, builder=place_function(model.builder), weights=place(model.weights))

        teacher = self.finetune.teacher
        return replace(
            self,
            model=place_model(self.model),
            train=replace(self.train, trainer=place_function(self.train.trainer)),
            finetune=replace(
                self.finetune,
                teacher=teacher and place_model(teacher),
                trainer=place_function(self.finetune.trainer),
            ),
            data=replace(
                self.data,
                source=place_function(self.data.source),
                root=place(self.data.root),
                loss=place_function(self.data.loss),
                metric=place_function(self.data.metric),
            ),
            tracking=replace(self.tracking, tensorboard=place(self.tracking.tensorboard)),
        )


def schema() -> dict[str, Any]:
    """The JSON schema of a recipe, for editors."""
    return _adapter().json_schema()


@cache
def _adapter() -> TypeAdapter[Recipe]:
    return TypeAdapter(Recipe)


def _check(recipe: Recipe, written: Written) -> None:
    """Combinations that cannot work, refused before anything runs."""
    checks.trained(recipe.train, recipe.model, written)
    checks.data(recipe.data, written)
    checks.builder("model", recipe.model, written)
    checks.teacher(recipe.finetune, written)
    checks.trainer("train", recipe.train.trainer, written)
    checks.trainer("finetune", recipe.finetune.trainer, written)
    checks.regularized(recipe.prune, recipe.train, recipe.finetune, written)
    checks.pattern(recipe.sparsify, written)
    checks.inputs(recipe.model, written)
    checks.batch(recipe.export, written)


def _found(path: str | Path) -> Path:
    """The file itself, or that of an embedded recipe, which is named without its ending.

    Raises:
        RecipeError: there is no recipe of this name.
    """
    path = Path(path)
    if path.suffix == ".toml":
        return path
    embedded = {file.stem: file for file in sorted(EMBEDDED.glob("*.toml"))}
    if str(path) not in embedded:
        names = ", ".join(embedded)
        near = did_you_mean(str(path), [*embedded, *(file.name for file in Path().glob("*.toml"))])
        hint = f"{near} It takes the path of a .toml file, or one of jetpress's own: {names}".strip()
        raise RecipeError(f"{path} is not a .toml file", hint)
    return embedded[str(path)]


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (FileNotFoundError, NotADirectoryError):
        names = [file.name for file in path.parent.glob("*.toml")] if path.parent.is_dir() else []
        hint = did_you_mean(path.name, names) or "give the path of a .toml file; `jetpress init` writes one"
        raise RecipeError(f"there is no recipe {path}", hint)
    except (IsADirectoryError, ValueError):
        raise RecipeError(f"{path} is not a text file", "give the path of a .toml file")
    except OSError as error:
        raise RecipeError(
            f"{path} cannot be read: {error.strerror}", "check its name, its owner and the disk"
        )


def named(path: Path) -> str:
    """What a recipe without a name is called: as its file, as far as that may be the name of a folder."""
    return re.sub(r"[^A-Za-z0-9._-]", "-", path.stem).lstrip("-._")[:64] or "recipe"


def _parsed(text: str, where: str) -> dict[str, object]:
    """The tables of a TOML text.

    Raises:
        TOMLDecodeError: it is none.
        RecipeError: it is, but no reader could hold it.
    """
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        raise
    except RecursionError:
        raise _too_deep(where) from None
    except ValueError:  # int() takes 4300 digits
        raise RecipeError(f"{where}: a number has thousands of digits", "64 bits are enough") from None


def overridden(table: dict[str, object], override: str) -> None:
    """Set one key from ``section.key=value``; a value that is not TOML is taken as a string.

    Raises:
        RecipeError: it is no such text, or leads through what is no table.
    """
    _, equals, value = override.partition("=")
    *sections, last = keys_of(override)
    if not equals or not all((*sections, last)):
        raise RecipeError(f"{shown_set(override)} is not key=value", "for example --set train.epochs=20")
    try:
        parsed = _parsed(f"value = {value}", shown_set(override))
    except tomllib.TOMLDecodeError:
        parsed = {"value": value}
    for section in sections:
        inner = table.setdefault(section, {})
        if not isinstance(inner, dict):
            raise RecipeError(
                f"{shown_set(override)}: {section!r} is not a table", "`jetpress docs recipe` has all tables"
            )
        table = inner
    table[last] = parsed["value"] if len(parsed) == 1 else value


def _refuse_values(value: object, written: Written, path: str = "", depth: int = 0) -> None:
    """What a report could not repeat, or no system call takes: wherever it stands, before anything looks at it."""
    if depth > DEEPEST:
        raise _too_deep(written.place(path))
    if isinstance(value, Mapping):
        for key, one in value.items():
            inner = f"{path}.{key}" if path else str(key)
            if fault := _fault(key):
                raise RecipeError(f"{written.place(inner)}: the key {fault[0]}", fault[1])
            _refuse_values(one, written, inner, depth + 1)
    elif isinstance(value, list | tuple):
        for number, one in enumerate(value):
            _refuse_values(one, written, f"{path}.{number}", depth + 1)
    elif fault := _fault(value):
        raise RecipeError(f"{written.place(path)}: {path[:SHOWN]} {fault[0]}", fault[1])


def _fault(value: object) -> tuple[str, str] | None:
    """What is wrong with one value, and the remedy."""
    if isinstance(value, float) and not math.isfinite(value):
        return f"= {value}", "numbers must be finite"
    if isinstance(value, int) and abs(value) > LARGEST:
        return "is beyond 64 bits", "take a smaller number"
    if isinstance(value, str) and NO_TEXT.search(value):
        return f"= {value[:SHOWN]!r}", "write plain text in UTF-8"
    return None


def _too_deep(where: str) -> RecipeError:
    return RecipeError(
        f"{where}: lists and tables lie more than {DEEPEST} deep within each other",
        "`jetpress docs recipe` shows how deep keys go",
    )


def _absolute(folder: Path, value: str) -> str:
    try:
        return str((folder / value).resolve())
    except RuntimeError as error:  # a link that leads to itself
        raise RecipeError(f"{value!r} is not a path: {error}", "name a file or a folder") from None


def in_toml(value: object) -> str:
    """One value in TOML's inline form; JSON's scalars are TOML's, but for DEL, which TOML wants escaped."""
    if isinstance(value, dict):
        entries = (f"{in_toml(key)} = {in_toml(one)}" for key, one in value.items() if one is not None)
        return "{ " + ", ".join(entries) + " }"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(in_toml, value)) + "]"
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
