"""What decides a result but is not written in the recipe: the data, the weights, the user's own files.

The recipe names them; their digests join the memo key of the first stage, so a changed file is a changed
input. This module imports no torch: a run whose every stage is cached must not pay for it.
"""

from __future__ import annotations

import hashlib
import importlib.util
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from jetpress.deploy.errors import RecipeError
from jetpress.pipeline.data.formats import data_yaml
from jetpress.pipeline.data.formats.folders import files_below
from jetpress.pipeline.network import user_code
from jetpress.pipeline.recipe.configs import SourceConfig
from jetpress.pipeline.recipe.reading import Recipe
from jetpress.pipeline.recipe.resolve import Plan
from jetpress.pipeline.recipe.sections.data import DataConfig
from jetpress.pipeline.recipe.sections.fields import is_file_reference
from jetpress.pipeline.store.artifact import sha256

BY_LOSS = ("taylor", "fisher")
"""Criteria that ask the loss."""
WRITTEN = ".cache"
"""What Ultralytics writes beside labels when it trains: no data."""


def source_config(recipe: Recipe) -> SourceConfig:
    """What the first stage is told.

    Raises:
        RecipeError: a file or folder that the recipe names is not there.
    """
    trains = recipe.train.epochs > 0
    return SourceConfig(
        recipe.model,
        recipe.data,
        recipe.seed,
        input_digests(recipe),
        trains,
        loss=_needs_loss(recipe),
        task=recipe.task,
    )


def _needs_loss(recipe: Recipe) -> bool:
    """Whether jetpress itself computes one: a trainer of the user's own has its own."""
    train, tune = recipe.train, recipe.finetune
    own = tune.trainer or train.trainer
    return (
        (train.epochs > 0 and not train.trainer)
        or (tune.epochs > 0 and not own)
        or recipe.prune.regularize_epochs > 0
        or recipe.prune.criterion in BY_LOSS
    )


def input_digests(recipe: Recipe) -> dict[str, str]:
    """Digests of everything outside the recipe that has a hand in the result, by recipe key.

    Raises:
        RecipeError: a file or folder that the recipe names is not there.
    """
    digests = {"data": fingerprint(recipe.data)}
    if recipe.model.weights is not None:
        path = Path(recipe.model.weights)
        if not path.is_file():
            raise RecipeError(f"there are no weights {path}", "model.weights is relative to the recipe")
        digests["model.weights"] = sha256(path)
    named = {
        "model.builder": recipe.model.builder,
        "train.trainer": recipe.train.trainer,
        "data.loss": recipe.data.loss,
        "data.metric": recipe.data.metric,
    }
    return digests | {
        key: user_code.digest(value) for key, value in named.items() if value and is_file_reference(value)
    }


def identified(plan: Plan) -> Plan:
    """A plan whose fine-tuning knows the files of its trainer, where that is one of the user's own.

    Raises:
        RecipeError: there is no such file.
    """
    trainer = plan.finetune.training.trainer
    if trainer is None:
        return plan
    return replace(plan, finetune=replace(plan.finetune, code=user_code.digest(trainer)))


def fingerprint(config: DataConfig) -> str:
    """A cheap digest of the data's identity, as hex.

    Images in folders count by path, size and modification time: reading them all would cost an epoch.
    CIFAR counts by name alone: torchvision compares its files with published digests whenever it reads them.
    Of YOLO's layout data.yaml counts by its text, and of other files only those where it says that images and labels
    are. A ``file.py`` counts by its text, and by the files below ``data.root`` where that is given.
    """
    digest = hashlib.sha256(config.source.encode())
    if config.source == "digits":
        digest.update(sha256(digits()).encode())
    elif is_file_reference(config.source):
        digest.update(user_code.digest(config.source).encode())
    if config.root is not None and not config.source.startswith("cifar"):
        for folder in folders(config):
            for name, size, changed in _files(folder):
                digest.update(f"{name}\0{size}\0{changed}\n".encode())
        if config.source == "yolo":
            digest.update(sha256(data_yaml.described(Path(config.root))).encode())
    return digest.hexdigest()


def folders(config: DataConfig) -> list[Path]:
    """Where the data lies, and nothing else: a data.yaml says it, and beside it a run and a trainer may write."""
    root = Path(str(config.root))
    if config.source == "yolo":
        return [*dict.fromkeys(data_yaml.folders(root))]
    return [root.parent if root.is_file() else root]


def digits() -> Path:
    """The file that scikit-learn reads its digits from; importing scikit-learn for it would take seconds."""
    spec = importlib.util.find_spec("sklearn")
    if spec is None or spec.origin is None:
        raise RecipeError(
            "scikit-learn is not installed", "data.source = 'digits' needs it: pip install scikit-learn"
        )
    return Path(spec.origin).parent / "datasets" / "data" / "digits.csv.gz"


def _files(root: Path) -> Iterator[tuple[str, int, int]]:
    if not root.is_dir():
        raise RecipeError(f"there is no folder {root}", "data.root is relative to the recipe")
    for path in files_below(root):
        if path.suffix == WRITTEN:
            continue
        stat = path.stat() if path.exists() else path.lstat()  # a link that leads nowhere is what it says
        yield str(path.relative_to(root)), stat.st_size, stat.st_mtime_ns
