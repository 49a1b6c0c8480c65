"""Combinations of a recipe's keys that cannot work, refused before anything runs."""

from __future__ import annotations

from jetpress.deploy.errors import RecipeError
from jetpress.deploy.suggest import did_you_mean
from jetpress.pipeline.recipe.messages import Written
from jetpress.pipeline.recipe.sections.compression import PruneConfig, SparsifyConfig
from jetpress.pipeline.recipe.sections.data import DataConfig
from jetpress.pipeline.recipe.sections.export import ExportConfig
from jetpress.pipeline.recipe.sections.fields import is_file_reference
from jetpress.pipeline.recipe.sections.model import ModelConfig
from jetpress.pipeline.recipe.sections.training import FinetuneConfig, TrainConfig

SOURCES = ("digits", "cifar10", "cifar100", "imagefolder", "yolo", "coco", "voc", "masks", "pairs", "csv")
LIBRARIES = ("torchvision", "timm")


def trained(train: TrainConfig, model: ModelConfig, written: Written) -> None:
    """The baseline is trained here, or was before."""
    if train.epochs == 0 and model.weights is None:
        raise RecipeError(
            f"{written.place('train.epochs')}: train.epochs = 0 leaves the network untrained, "
            "and model.weights is not set",
            "give the trained weights in model.weights, or train for at least one epoch",
        )


def data(config: DataConfig, written: Written) -> None:
    """The data set is known, and its folder given."""
    if config.source not in SOURCES and not is_file_reference(config.source):
        raise RecipeError(
            f"{written.place('data.source')}: data.source: {config.source!r} is not a known data set",
            _hint(f"one of {', '.join(SOURCES)}, or path/to/file.py:function", config.source, SOURCES),
        )
    if config.source in SOURCES[1:] and config.root is None:
        raise RecipeError(
            f"{written.place('data.source')}: data.source = {config.source!r} needs data.root",
            "set data.root to the folder",
        )
    if len(config.mean) != len(config.std):
        raise RecipeError(
            f"{written.place('data.std')}: data.mean has {len(config.mean)} channels, data.std {len(config.std)}",
            "give both for every channel of the image",
        )


def builder(section: str, model: ModelConfig, written: Written) -> None:
    """The network comes from a library that is known, or from a file."""
    prefix = model.builder.partition(":")[0]
    if prefix not in LIBRARIES and not is_file_reference(model.builder):
        raise RecipeError(
            f"{written.place(f'{section}.builder')}: {section}.builder: {model.builder!r} is not understood",
            _hint("torchvision:NAME, timm:NAME or path/to/file.py:function", prefix, LIBRARIES),
        )


def teacher(config: FinetuneConfig, written: Written) -> None:
    """A teacher knows something."""
    if config.teacher is not None:
        builder("finetune.teacher", config.teacher, written)
        if config.teacher.weights is None:
            raise RecipeError(
                f"{written.place('finetune.teacher')}: finetune.teacher has no weights",
                "an untrained network teaches nothing: set weights",
            )


def trainer(section: str, value: str | None, written: Written) -> None:
    """A trainer of one's own is a function in a file."""
    if value is not None and not is_file_reference(value):
        raise RecipeError(
            f"{written.place(f'{section}.trainer')}: {section}.trainer: {value!r} is not path/to/file.py:function",
            'for example trainer = "my.py:train"',
        )


def regularized(prune: PruneConfig, train: TrainConfig, tune: FinetuneConfig, written: Written) -> None:
    """The pull towards zero is jetpress's own loop's."""
    if prune.regularize_epochs and (own := tune.trainer or train.trainer):
        raise RecipeError(
            f"{written.place('prune.regularize_epochs')}: prune.regularize_epochs trains in jetpress's own loop, "
            f"and the trainer is {own}",
            "set prune.regularize_epochs = 0, or take the trainer out",
        )


def pattern(config: SparsifyConfig, written: Written) -> None:
    """A pattern leaves something out."""
    kept, _, group = config.pattern.partition(":")
    if group and int(kept) >= int(group):
        raise RecipeError(
            f"{written.place('sparsify.pattern')}: sparsify.pattern = {config.pattern!r} keeps everything",
            'as in "2:4"',
        )


def inputs(model: ModelConfig, written: Written) -> None:
    """Every input has a name of its own."""
    names = [one.name for one in model.inputs]
    if len(set(names)) != len(names):
        raise RecipeError(
            f"{written.place('model.inputs')}: model.inputs: two inputs share a name",
            "name every input differently",
        )


def batch(config: ExportConfig, written: Written) -> None:
    """A batch that the engine is tuned for is one that it takes."""
    if config.dynamic_batch and config.batch > config.max_batch:
        raise RecipeError(
            f"{written.place('export.batch')}: export.batch = {config.batch} is above "
            f"export.max_batch = {config.max_batch}",
            "raise export.max_batch",
        )


def _hint(valid: str, name: str, near: tuple[str, ...]) -> str:
    guess = did_you_mean(name, near)
    return f"{valid}; {guess}" if guess else valid
