"""Every knob of every stage, as frozen dataclasses, and what a target makes of them.

A recipe is a TOML file. Each section below is one table of it; the text under a field is its reference
(``docs/recipe.md`` and ``docs/recipe.schema.json`` are written from here). ``None`` and ``"auto"`` mean that
the target decides: ``resolve(recipe, target)`` puts its values in. This module imports no torch.
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
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError

from deploy.errors import RecipeError
from deploy.targets import Target

Fraction = Annotated[float, Field(ge=0, lt=1)]
Positive = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]
Count = Annotated[int, Field(ge=0)]
AtLeastOne = Annotated[int, Field(ge=1)]


class _Section:
    """Strict: an unknown key is an error, and every field's text becomes its reference."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(
        extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False
    )


@dataclass(frozen=True)
class InputConfig(_Section):
    """One input of the network, without the batch dimension."""

    shape: tuple[AtLeastOne, ...]
    """Shape of one sample, for example ``[3, 224, 224]``."""
    name: str = "input"
    """Name of the input in the ONNX file."""
    dtype: Literal["float32", "int32", "int64", "uint8"] = "float32"
    """Element type."""


@dataclass(frozen=True)
class ModelConfig(_Section):
    """Which network."""

    builder: str = "torchvision:resnet18"
    """``torchvision:NAME``, ``timm:NAME`` or ``path/to/file.py:function`` (returns an ``nn.Module``; the path
    is relative to the recipe)."""
    arguments: dict[str, Any] = field(default_factory=dict)
    """Keyword arguments of the builder, for example ``{ num_classes = 10 }``."""
    weights: str | None = None
    """Trained weights: a ``.safetensors`` file or a state_dict that loads with ``weights_only=True``. The usual
    wrappings (``state_dict``, ``model``, ``module.``) are understood."""
    inputs: tuple[InputConfig, ...] = ()
    """The network's inputs, in the order of ``forward``. Empty: one input with the shape of the data."""
    outputs: tuple[str, ...] = ()
    """Names of the outputs in the ONNX file, in their flattened order. Empty: ``output``, ``output_1``, ..."""


@dataclass(frozen=True)
class DataConfig(_Section):
    """Which data, and how an image becomes a tensor."""

    source: str = "digits"
    """``digits`` (ships with scikit-learn), ``cifar10``, ``cifar100``, ``imagefolder``, or
    ``path/to/file.py:function`` returning ``{"train": dataset, "validation": dataset, "test": dataset}``."""
    root: str | None = None
    """Folder of the data: torchvision's layout for CIFAR; ``train/CLASS/*.jpg`` and ``val/CLASS/*.jpg`` (and
    ``test/``, if there is one; without it ``val/`` is the test split and validation images are cut off
    ``train/``) for ``imagefolder``. Relative to the recipe."""
    download: bool = False
    """Let torchvision download CIFAR into ``root``."""
    size: AtLeastOne = 32
    """Height and width in pixels that the network sees."""
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    """Per channel, subtracted after scaling to 0..1 (default: ImageNet's)."""
    std: tuple[Positive, Positive, Positive] = (0.229, 0.224, 0.225)
    """Per channel, divided by (default: ImageNet's)."""
    augment: Literal["none", "shift", "flip-crop", "resized-crop", "randaugment"] = "none"
    """Training only. ``shift``: up to 1/8 of the size; ``flip-crop``: CIFAR's; ``resized-crop``: ImageNet's;
    ``randaugment``: flip-crop and two random operations."""
    crop: Annotated[float, Field(gt=0, le=1)] = 0.875
    """``imagefolder``: share of the short side that the centre crop keeps where no random crop is taken."""
    batch_size: AtLeastOne = 64
    """Samples in a training step."""
    workers: Count = 0
    """Processes that decode images."""
    validation_fraction: Annotated[float, Field(gt=0, lt=0.9)] = 0.15
    """Share of the training data kept for validation where the data has no split of its own."""
    test_fraction: Annotated[float, Field(gt=0, lt=0.9)] = 0.15
    """Share kept for the final figure where the data has no test split of its own."""
    calibration_images: AtLeastOne = 64
    """Training images that equivalence and calibration look at."""
    sample_images: AtLeastOne = 256
    """Test images that travel with the bundle, so that the engine's own accuracy is measured."""
    max_corrupt: Count = 0
    """How many unreadable images are left out before the run ends with an error naming them."""
    loss: str = "cross_entropy"
    """``cross_entropy`` of the first output, or ``path/to/file.py:function(outputs, target)``, a scalar tensor."""
    metric: str = "top1"
    """``top1`` of the first output in percent, or ``path/to/file.py:function(outputs, target)`` giving the points
    of each sample (a tensor of batch length, 0 to 100, higher is better)."""


@dataclass(frozen=True)
class TrainConfig(_Section):
    """Training of the dense baseline. ``epochs = 0`` takes ``model.weights`` as the baseline."""

    epochs: Count = 8
    """Passes over the training data."""
    optimizer: Literal["sgd", "adamw"] = "sgd"
    """SGD has Nesterov momentum."""
    learning_rate: Positive = 0.05
    """Peak learning rate."""
    momentum: Fraction = 0.9
    """Of SGD."""
    weight_decay: NotNegative = 5e-4
    """Not applied to biases and normalisation layers."""
    schedule: Literal["cosine", "step", "constant"] = "cosine"
    """``step``: a tenth after one half and after three quarters."""
    warmup_epochs: NotNegative = 1.0
    """Linear warm-up, for at most a quarter of the training."""
    label_smoothing: Fraction = 0.0
    """Of the cross-entropy."""
    clip_norm: NotNegative = 0.0
    """Largest gradient norm; 0 leaves gradients as they are."""


@dataclass(frozen=True)
class PruneConfig(_Section):
    """Structured pruning: whole channels go, in rounds, each followed by fine-tuning."""

    ratio: Fraction = 0.5
    """Share of every layer's channels that is gone after the last round; 0 prunes nothing."""
    rounds: AtLeastOne = 3
    """The ratio is reached in this many steps."""
    first_step: Annotated[float, Field(gt=0, le=1)] = 0.3
    """The first of several rounds removes at most this share of the channels."""
    criterion: Literal["l1", "l2", "fpgm", "bn_scale", "taylor", "random"] = "l2"
    """How much a channel matters."""
    scope: Literal["uniform", "global"] = "uniform"
    """``uniform``: every layer gives up the same share; ``global``: one ranking for the whole network."""
    channel_multiple: AtLeastOne | None = None
    """Surviving channel counts are multiples of this. None: what fills the target's hardware."""
    ignore: tuple[str, ...] = ()
    """Parameters (shell patterns such as ``layer4.*``) whose layers keep all their channels."""


@dataclass(frozen=True)
class SparsifyConfig(_Section):
    """2:4 sparsity along input channels, for GPUs that have sparse tensor cores."""

    mode: Literal["auto", "off", "force"] = "auto"
    """``auto``: where the target can use it; ``force``: also where it cannot pay."""
    method: Literal["magnitude", "wanda", "sparsegpt"] = "magnitude"
    """What is kept. ``magnitude``: the largest weights; ``wanda``: the largest products of weight and input;
    ``sparsegpt``: what costs the layer's output least, and the kept weights make up for the others. The latter
    two look at ``data.calibration_images`` training images; they matter most where little or no training
    follows."""
    permute: bool = True
    """Reorder channels first, so that more is kept. The network computes the same; takes seconds to minutes."""
    pattern: Literal["2:4", "1:4"] = "2:4"
    """How many of every 4 consecutive input channels are kept. TensorRT runs 1:4 as it runs 2:4."""
    min_channels: AtLeastOne = 64
    """Layers with fewer input channels stay dense: sparse kernels do not pay there."""
    ignore: tuple[str, ...] = ()
    """Parameters (shell patterns) that stay dense."""


@dataclass(frozen=True)
class FinetuneConfig(_Section):
    """Recovery after each round of pruning and after 2:4 masking."""

    epochs: Count = 4
    """Passes over the training data after each round."""
    learning_rate: Positive | None = None
    """None: a fifth of ``train.learning_rate``."""
    optimizer: Literal["sgd", "adamw"] | None = None
    """None: that of ``train``."""
    momentum: Fraction | None = None
    """None: that of ``train``."""
    weight_decay: NotNegative | None = None
    """None: that of ``train``."""
    schedule: Literal["cosine", "step", "constant"] = "cosine"
    """As in ``train``."""
    warmup_epochs: NotNegative = 0.25
    """Linear warm-up."""
    label_smoothing: Fraction | None = None
    """None: that of ``train``."""
    clip_norm: NotNegative | None = None
    """None: that of ``train``."""
    distill: Annotated[float, Field(ge=0, le=1)] = 0.5
    """Weight of the dense network's softened outputs against the labels; 0 switches distillation off."""
    temperature: Positive = 4.0
    """Of the softened outputs (Hinton et al., 2015)."""


@dataclass(frozen=True)
class ExportConfig(_Section):
    """The ONNX file."""

    opset: Annotated[int, Field(ge=13, le=23)] | None = None
    """None: the newest that the target's parser takes."""
    batch: AtLeastOne = 1
    """Batch size of the engine."""
    dynamic_batch: bool = False
    """Leave the batch dimension open, from 1 to ``max_batch``."""
    max_batch: AtLeastOne = 8
    """Largest batch of a dynamic engine."""
    ir_version: AtLeastOne | None = None
    """None: what the target's parser knows."""
    lower: tuple[str, ...] | None = None
    """Operators written as primitives although the opset has them. None: those the target's parser lacks."""


@dataclass(frozen=True)
class EquivalenceConfig(_Section):
    """How far PyTorch and ONNX Runtime may differ."""

    max_relative_error: Positive = 1e-3
    """Largest absolute difference over the largest absolute value of the output (FP32)."""
    edge_cases: bool = True
    """Also zeros, ones, extremes and one-hot inputs."""


@dataclass(frozen=True)
class BuildConfig(_Section):
    """The engine."""

    precision: Literal["auto", "fp32", "fp16"] = "auto"
    """``auto``: FP16 on boards, FP32 on the host."""
    workspace_mb: AtLeastOne | None = None
    """Scratch memory of the builder. None: TensorRT's default."""


@dataclass(frozen=True)
class BenchmarkConfig(_Section):
    """Dense and compressed engines, interleaved in one session."""

    seconds: Annotated[float, Field(ge=0.2)] = 3.0
    """At least this long for each engine, after warm-up."""
    runs: Annotated[int, Field(ge=11)] = 64
    """At least this many runs of each engine (64 are needed for a p90)."""
    warmup_ms: NotNegative = 200.0
    """At least this long before anything counts; it goes on until steady."""
    threads: AtLeastOne | None = None
    """Threads of the host engine. None: one for each core."""


@dataclass(frozen=True)
class BudgetConfig(_Section):
    """What the result must meet. Judged on the test split at the end; exit code 8 when it is not met."""

    accuracy_drop: NotNegative = 1.0
    """Points of accuracy that may be lost against the dense network."""
    latency_ms: Positive | None = None
    """Largest median latency of the compressed engine."""
    fps: Positive | None = None
    """Smallest throughput of the compressed engine, in samples per second."""


@dataclass(frozen=True)
class Recipe(_Section):
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

        def place_function(value: str) -> str:
            return str(place(value)) if is_file_reference(value) else value

        return replace(
            self,
            model=replace(
                self.model, builder=place_function(self.model.builder), weights=place(self.model.weights)
            ),
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
        prefix = self.model.builder.partition(":")[0]
        if prefix not in ("torchvision", "timm") and not is_file_reference(self.model.builder):
            raise RecipeError(
                f"{where}: model.builder: {self.model.builder!r} is not understood",
                "torchvision:NAME, timm:NAME or path/to/file.py:function"
                + _closest(prefix, ("torchvision", "timm")),
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
    opset = recipe.export.opset or target.opset
    if opset > target.opset:
        raise RecipeError(
            f"export.opset = {opset}, but {target.title} parses at most opset {target.opset}",
            "leave export.opset out: the newest that the target takes is chosen",
        )
    precision: Any = target.default_precision if recipe.build.precision == "auto" else recipe.build.precision
    if precision not in target.precisions:
        raise RecipeError(
            f"build.precision = {precision!r}, but {target.title} runs {', '.join(target.precisions)}",
            "choose one of these, or leave it out",
        )
    skipped = {}
    if recipe.train.epochs == 0:
        skipped["train"] = "train.epochs = 0: the weights given are the dense baseline"
    if recipe.prune.ratio == 0:
        skipped["prune"] = "prune.ratio = 0"
    if recipe.sparsify.mode == "off":
        skipped["sparsify"] = 'sparsify.mode = "off"'
    elif recipe.sparsify.mode == "auto" and target.why_not_sparse:
        skipped["sparsify"] = target.why_not_sparse
    rate = recipe.finetune.learning_rate or recipe.train.learning_rate / 5
    shared = ("optimizer", "momentum", "weight_decay", "label_smoothing", "clip_norm")
    inherited = {n: getattr(recipe.train, n) for n in shared if getattr(recipe.finetune, n) is None}
    decided = replace(
        recipe,
        prune=replace(
            recipe.prune, channel_multiple=recipe.prune.channel_multiple or target.channel_multiple
        ),
        finetune=replace(recipe.finetune, learning_rate=rate, **inherited),
        export=replace(
            recipe.export,
            opset=opset,
            ir_version=recipe.export.ir_version or target.ir_version,
            lower=target.lower if recipe.export.lower is None else recipe.export.lower,
        ),
        build=replace(recipe.build, precision=precision),
    )
    return Plan(decided, target, skipped)


def is_file_reference(value: str) -> bool:
    """Whether ``value`` is ``path/to/file.py:function``."""
    path, _, function = value.rpartition(":")
    return path.endswith(".py") and function.isidentifier()


def as_table(value: Any) -> Any:
    """Plain JSON values of a (nested) dataclass."""
    return (
        dataclasses.asdict(value)
        if dataclasses.is_dataclass(value) and not isinstance(value, type)
        else value
    )


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
