"""A whole recipe: read, checked, written down again, and what a target makes of it.

A recipe is a TOML file; its tables are :mod:`jetpress.pipeline.recipe.sections`. ``resolve(recipe, target)`` puts the
target's values where the recipe leaves them open. This module imports no torch.
"""

from __future__ import annotations

import dataclasses
import difflib
import json
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import Field, TypeAdapter, ValidationError

from jetpress.deploy.errors import RecipeError
from jetpress.deploy.targets import Target
from jetpress.pipeline.recipe.sections import (
    EIGHT_BITS,
    BenchmarkConfig,
    BudgetConfig,
    BuildConfig,
    Count,
    DataConfig,
    EquivalenceConfig,
    ExportConfig,
    FinetuneConfig,
    InputConfig,
    ModelConfig,
    PruneConfig,
    QatConfig,
    QuantizeConfig,
    Section,
    SparsifyConfig,
    TrainConfig,
    as_table,
    is_file_reference,
)

Tuned = TypeVar("Tuned", FinetuneConfig, QatConfig)
Named = TypeVar("Named", str, str | None)


NEW_QDQ_SINCE, NEW_QDQ = 19, 20
"""The first opset whose Q/DQ take FP16 and FP8, and the one that is written then."""


@dataclass(frozen=True)
class Recipe(Section):
    """A whole recipe."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
    """Names the run's folder."""
    seed: Count = 0
    """Of everything random."""
    model: ModelConfig = ModelConfig()
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

    @classmethod
    def load(cls, path: str | Path, overrides: Sequence[str] = ()) -> Self:
        """Read a TOML recipe; ``overrides`` are ``"section.key=value"``, the value as in TOML.

        Raises:
            RecipeError: no such file, not TOML, an unknown key, a wrong type, an impossible combination.
        """
        path = Path(path)
        try:
            text = path.read_text(encoding="utf-8")
            table = tomllib.loads(text)
        except FileNotFoundError:
            raise RecipeError(
                f"there is no recipe {path}", "give the path of a .toml file, e.g. recipes/digits.toml"
            )
        except (IsADirectoryError, UnicodeDecodeError):
            raise RecipeError(f"{path} is not a text file", "give the path of a .toml file")
        except PermissionError:
            raise RecipeError(f"{path} cannot be read: no permission", "check the owner of the file")
        except tomllib.TOMLDecodeError as error:
            raise RecipeError(f"{path} is not valid TOML: {error}", "see https://toml.io for the syntax")
        for override in overrides:
            _override(table, override)
        table.setdefault("name", re.sub(r"[^A-Za-z0-9._-]", "-", path.stem))
        return cls.parse(table, str(path), text).located(path.parent)

    @classmethod
    def parse(cls, table: Mapping[str, Any], where: str = "recipe", text: str = "") -> Self:
        """A recipe from a table of plain values. ``where`` and ``text`` make the messages precise."""
        try:
            recipe: Self = _adapter().validate_json(json.dumps(table, default=str), strict=True)
        except (ValidationError, ValueError) as error:
            if not isinstance(error, ValidationError):
                raise RecipeError(f"{where}: {error}", "numbers must be finite") from error
            raise RecipeError(*_explain(error, where, text)) from None
        recipe._check(where)
        return recipe

    def to_toml(self) -> str:
        """The recipe as TOML that :meth:`load` reads back: keys without a value are left out."""
        lines, sections = [], []
        for name, value in as_table(self).items():
            if isinstance(value, dict):
                sections += ["", f"[{name}]"]
                sections += [f"{key} = {_toml(one)}" for key, one in value.items() if one is not None]
            else:
                lines.append(f"{name} = {_toml(value)}")
        return "\n".join([*lines, *sections]) + "\n"

    def located(self, folder: Path) -> Self:
        """Paths of files made absolute: they are relative to the recipe, not to where jetpress was started."""

        def place(value: str | None) -> str | None:
            return value if value is None else str((folder / value).resolve())

        def place_function(value: Named) -> Named:
            return str(folder.joinpath(value).resolve()) if value and is_file_reference(value) else value

        def place_model(model: ModelConfig) -> ModelConfig:
            return replace(model, builder=place_function(model.builder), weights=place(model.weights))

        teacher = self.finetune.teacher
        return replace(
            self,
            model=place_model(self.model),
            finetune=replace(self.finetune, teacher=teacher and place_model(teacher)),
            data=replace(
                self.data,
                source=place_function(self.data.source),
                root=place(self.data.root),
                loss=place_function(self.data.loss),
                metric=place_function(self.data.metric),
            ),
        )

    def _check(self, where: str) -> None:
        """Combinations that cannot work, refused before anything runs."""
        if self.train.epochs == 0 and self.model.weights is None:
            raise RecipeError(
                f"{where}: train.epochs = 0 leaves the network untrained, and model.weights is not set",
                "give the trained weights in model.weights, or train for at least one epoch",
            )
        known = ("digits", "cifar10", "cifar100", "imagefolder")
        source = self.data.source
        if source not in known and not is_file_reference(source):
            raise RecipeError(
                f"{where}: data.source: {source!r} is not a known data set",
                f"one of {', '.join(known)}, or path/to/file.py:function{_closest(source, known)}",
            )
        if source in known[1:] and self.data.root is None:
            raise RecipeError(
                f"{where}: data.source = {source!r} needs data.root", "set data.root to the folder"
            )
        for section, model in (("model", self.model), ("finetune.teacher", self.finetune.teacher)):
            prefix = model.builder.partition(":")[0] if model else "torchvision"
            if model and prefix not in ("torchvision", "timm") and not is_file_reference(model.builder):
                raise RecipeError(
                    f"{where}: {section}.builder: {model.builder!r} is not understood",
                    "torchvision:NAME, timm:NAME or path/to/file.py:function"
                    + _closest(prefix, ("torchvision", "timm")),
                )
        if self.finetune.teacher is not None and self.finetune.teacher.weights is None:
            raise RecipeError(
                f"{where}: finetune.teacher has no weights",
                "an untrained network teaches nothing: set weights",
            )
        kept, _, group = self.sparsify.pattern.partition(":")
        if group and int(kept) >= int(group):
            raise RecipeError(
                f"{where}: sparsify.pattern = {self.sparsify.pattern!r} keeps everything", 'as in "2:4"'
            )
        names = [i.name for i in self.model.inputs]
        if len(set(names)) != len(names):
            raise RecipeError(
                f"{where}: model.inputs: two inputs share a name", "name every input differently"
            )
        if self.export.dynamic_batch and self.export.batch > self.export.max_batch:
            raise RecipeError(
                f"{where}: export.batch = {self.export.batch} is above export.max_batch = {self.export.max_batch}",
                "raise export.max_batch",
            )


@dataclass(frozen=True)
class Plan:
    """A recipe for one target: every value decided, and what will not be done, with the reason."""

    recipe: Recipe
    target: Target
    skipped: Mapping[str, str] = field(default_factory=dict, hash=False)
    """Stage name -> why it is not for this target or this recipe."""


def resolve(recipe: Recipe, target: Target) -> Plan:
    """Put the target's values where the recipe leaves them open, and say what cannot pay there.

    Raises:
        RecipeError: the recipe asks for what the target does not have.
    """
    target = target.built_for(recipe.build.compute_capabilities)
    _refuse_fp8(recipe, target)
    rest = _rest(recipe, target)
    newer = rest == "fp16" or recipe.build.precision == "fp8"
    opset = recipe.export.opset or (NEW_QDQ if newer else target.opset)
    if opset > target.newest_opset:
        raise RecipeError(
            f"export.opset = {opset}, but {target.title} parses at most opset {target.newest_opset}",
            f"leave export.opset out: {target.opset} is written then",
        )
    precision: Any = target.default_precision if recipe.build.precision == "auto" else recipe.build.precision
    if precision not in target.precisions:
        raise RecipeError(
            f"build.precision = {precision!r}, but {target.title} runs {', '.join(target.precisions)}",
            "choose one of these, or leave it out",
        )
    if recipe.export.input == "uint8_nhwc" and not target.uint8_input:
        raise RecipeError(
            f'export.input = "uint8_nhwc", but TensorRT {target.tensorrt} of {target.title} has no UINT8 inputs',
            "leave export.input out, and normalise before the engine (TensorRT 8.5 is the first that has them)",
        )
    if recipe.export.output == "detections" and not target.suppression:
        raise RecipeError(
            f'export.output = "detections", but the TensorRT of {target.title} has no NonMaxSuppression of its own',
            "leave export.output out: the runner searches the raw boxes and scores (TensorRT 8.5 has it)",
        )
    fp16 = precision == "fp16" and target.strongly_typed
    if precision in EIGHT_BITS and recipe.export.fp16:
        raise RecipeError(
            f'build.precision = "{precision}" and export.fp16 = true: Q/DQ are put into an FP32 graph',
            "leave export.fp16 out; what is not in eight bits runs in FP16 where the target has it",
        )
    skipped = {}
    if recipe.train.epochs == 0:
        skipped["train"] = "train.epochs = 0: the weights given are the dense baseline"
    if recipe.prune.ratio == 0:
        skipped["prune"] = "prune.ratio = 0"
    if recipe.sparsify.mode == "off":
        skipped["sparsify"] = 'sparsify.mode = "off"'
    elif recipe.sparsify.mode == "auto" and recipe.sparsify.pattern not in ("2:4", "1:4"):
        skipped["sparsify"] = (
            f'{recipe.sparsify.pattern} zeros buy no time on any target; for a study set sparsify.mode = "force"'
        )
    elif recipe.sparsify.mode == "auto" and target.why_not_sparse:
        skipped["sparsify"] = target.why_not_sparse
    finetune = _decided(recipe)
    decided = replace(
        recipe,
        prune=replace(
            recipe.prune, channel_multiple=recipe.prune.channel_multiple or target.multiple(precision)
        ),
        finetune=finetune,
        qat=_like(recipe.qat, finetune, slower=10),
        export=replace(
            recipe.export,
            opset=opset,
            ir_version=recipe.export.ir_version or (target.ir_version if opset <= target.opset else None),
            lower=target.lower if recipe.export.lower is None else recipe.export.lower,
            int64_io=target.int64_io if recipe.export.int64_io is None else recipe.export.int64_io,
            fp16=fp16 if recipe.export.fp16 is None else recipe.export.fp16,
        ),
        quantize=replace(
            recipe.quantize,
            dialect=recipe.quantize.dialect or target.dialect(precision),
            rest=rest,
            accuracy_drop=recipe.budget.accuracy_drop
            if recipe.quantize.accuracy_drop is None
            else recipe.quantize.accuracy_drop,
        ),
        build=replace(recipe.build, precision=precision),
    )
    return Plan(decided, target, skipped)


def _decided(recipe: Recipe) -> FinetuneConfig:
    """Fine-tuning with what it leaves open: as in training, at a fifth of the rate."""
    config = _like(recipe.finetune, recipe.train, slower=5)
    if config.stop_margin is not None and config.accuracy_drop is None:
        return replace(config, accuracy_drop=recipe.budget.accuracy_drop)
    return config


def _like(config: Tuned, other: TrainConfig | FinetuneConfig, slower: float) -> Tuned:
    """What is left open as in another training, at a lower learning rate."""
    known = {f.name for f in dataclasses.fields(other)}
    open_ = [f.name for f in dataclasses.fields(config) if getattr(config, f.name) is None]
    found = {name: getattr(other, name) for name in open_ if name in known}
    if "learning_rate" in found:
        found["learning_rate"] /= slower
    return replace(config, **found)


def _refuse_fp8(recipe: Recipe, target: Target) -> None:
    """FP8 where the target has none, or written as it cannot be."""
    if recipe.build.precision != "fp8":
        return
    if why := target.why_not_fp8:
        ada = ', or set build.compute_capabilities = ["8.9"] (Ada)' if target.runtime.ahead_of_time else ""
        raise RecipeError(
            f'build.precision = "fp8" for {target.title}: {why}',
            f'take build.precision = "int8"{ada}'
            if "int8" in target.precisions
            else 'take build.precision = "fp16"',
        )
    if recipe.export.opset and recipe.export.opset < NEW_QDQ_SINCE:
        raise RecipeError(
            f"export.opset = {recipe.export.opset}, and Q/DQ take FP8 since opset {NEW_QDQ_SINCE}",
            f"leave export.opset out: {NEW_QDQ} is written then",
        )
    if recipe.quantize.method == "entropy":
        raise RecipeError(
            'quantize.method = "entropy" counts evenly spaced levels, and FP8 has none',
            'take "auto", "max", "percentile" or "mse"',
        )


def _rest(recipe: Recipe, target: Target) -> Literal["fp16", "fp32"]:
    """What an INT8 or FP8 file computes the rest in.

    Raises:
        RecipeError: FP16 at an opset whose Q/DQ have none.
    """
    wanted, opset, precision = recipe.quantize.rest, recipe.export.opset, recipe.build.precision
    typed = target.strongly_typed and not target.flags(precision)
    can = typed and (opset is None or opset >= NEW_QDQ_SINCE)
    if precision not in EIGHT_BITS or wanted == "fp32" or (wanted is None and not can):
        return "fp32"
    if not can:
        raise RecipeError(
            f'quantize.rest = "fp16", and {target.title} needs no FP16 in the file, or the opset has none for Q/DQ',
            f"leave it out, or set export.opset = {NEW_QDQ} for a target without precision flags (rtx)",
        )
    return "fp16"


def _toml(value: Any) -> str:
    """One value in TOML's inline form; JSON's scalars are TOML's."""
    if isinstance(value, dict):
        return (
            "{ "
            + ", ".join(f"{json.dumps(k)} = {_toml(v)}" for k, v in value.items() if v is not None)
            + " }"
        )
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_toml(one) for one in value) + "]"
    return json.dumps(value)


def schema() -> dict[str, Any]:
    """The JSON schema of a recipe, for editors."""
    return _adapter().json_schema()


@cache
def _adapter() -> TypeAdapter[Any]:
    return TypeAdapter(Recipe)


def _override(table: dict[str, Any], override: str) -> None:
    """Set one key from ``section.key=value``; a value that is not TOML is taken as a string."""
    key, equals, value = override.partition("=")
    if not equals or not all(part.strip() for part in key.split(".")):
        raise RecipeError(f"--set {override!r} is not key=value", "for example --set train.epochs=20")
    try:
        parsed = tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        parsed = value
    *sections, last = (part.strip() for part in key.split("."))
    for section in sections:
        table = table.setdefault(section, {})
        if not isinstance(table, dict):
            raise RecipeError(
                f"--set {override!r}: {section!r} is not a section", "see `jetpress run --help`"
            )
    table[last] = parsed


def _explain(error: ValidationError, where: str, text: str) -> tuple[str, str]:
    """The first thing that is wrong: file, line, key path, what was expected, closest valid name."""
    # An unknown key first: a misspelt name is also why another one is missing.
    errors = error.errors(include_url=False)
    first = next((e for e in errors if e["type"] == "unexpected_keyword_argument"), errors[0])
    keys = [str(part) for part in first["loc"]]
    path = ".".join(keys)
    line = _line_of(keys, text)
    place = f"{where}:{line}" if line else where
    if first["type"] == "unexpected_keyword_argument":
        valid = _fields_at(keys[:-1])
        return (
            f"{place}: there is no key {path!r}",
            f"{_closest(keys[-1], valid).lstrip('; ') or 'take it out'}; valid here: {', '.join(sorted(valid))}",
        )
    found = json.dumps(first.get("input"), default=str)
    more = len(errors) - 1
    also = f" (and {more} more)" if more else ""
    return (
        f"{place}: {path or 'recipe'} = {found[:80]}: {first['msg']}{also}",
        "docs/recipe.md describes every key",
    )


def _fields_at(keys: Sequence[str]) -> list[str]:
    kind: Any = Recipe
    for key in keys:
        if key.isdigit():
            kind = InputConfig
            continue
        default = next((f.default for f in dataclasses.fields(kind) if f.name == key), None)
        kind = type(default) if dataclasses.is_dataclass(default) else kind
    return [f.name for f in dataclasses.fields(kind)]


def _closest(name: str, valid: Sequence[str]) -> str:
    close = difflib.get_close_matches(name, valid, n=1)
    return f"; did you mean {close[0]!r}?" if close else ""


def _line_of(keys: Sequence[str], text: str) -> int | None:
    """The line of a dotted key in TOML text, by a plain reading of its tables; None if it is not there."""
    table: list[str] = []
    for number, line in enumerate(text.splitlines(), 1):
        if header := re.match(r"\s*\[+\s*([^\]]+?)\s*\]+", line):
            table = header.group(1).split(".")
        elif key := re.match(r"\s*([A-Za-z0-9_.\-]+)\s*=", line):
            named = [part for part in keys if not part.isdigit()]
            if table + key.group(1).split(".") == named[: len(table) + key.group(1).count(".") + 1]:
                return number
    return None
