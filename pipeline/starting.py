"""The first recipe: data and network are looked at, and what was seen becomes a recipe that runs as it is."""

from __future__ import annotations

import os
import tomllib
from dataclasses import dataclass
from pathlib import Path

from jetpress.deploy.errors import RecipeError
from jetpress.deploy.suggest import did_you_mean
from jetpress.deploy.targets import find
from jetpress.pipeline.data import glance as data_glance
from jetpress.pipeline.data.glance import relative
from jetpress.pipeline.engine.place import can_run
from jetpress.pipeline.network import glance as network_glance
from jetpress.pipeline.network.glance import library_of
from jetpress.pipeline.recipe.goals import Goal, goal
from jetpress.pipeline.recipe.messages import Written
from jetpress.pipeline.recipe.reading import Recipe, named
from jetpress.pipeline.recipe.resolve import resolve
from jetpress.pipeline.recipe.sections.fields import is_file_reference
from jetpress.pipeline.recipe.seen import DataSeen, NetworkSeen
from jetpress.pipeline.recipe.writing import commented
from jetpress.pipeline.tasks import TASKS

MOST_WORKERS = 4
DESCRIBING = (".yaml", ".yml", ".json", ".csv")
"""Files that tell of the folder that they lie in, whose name says more than theirs."""


@dataclass(frozen=True)
class Answers:
    """What is asked."""

    model: str
    """``torchvision:NAME``, ``timm:NAME`` or ``file.py:function``."""
    data: str
    """A folder of images, a data set in one of the formats of docs/data.md, ``digits``, ``cifar10``, ``cifar100`` or
    ``file.py:function``."""
    target: str
    goal: str
    """As :func:`jetpress.pipeline.recipe.goals.goal` takes it."""
    weights: str | None = None
    task: str | None = None
    """As ``task.kind``; None: network and data say it."""


@dataclass(frozen=True)
class Start:
    """A recipe that is not written yet."""

    path: Path
    text: str
    data: DataSeen
    network: NetworkSeen
    goal: Goal


def start(answers: Answers, output: Path | None = None) -> Start:
    """Look at everything that was named, and make a recipe of it.

    Args:
        answers: paths in them are relative to where jetpress was started.
        output: the file that the recipe is for; None: named after the data, here.

    Raises:
        RecipeError: something named is not there or does not fit; the nearest names are in the hint.
    """
    target, wanted = find(answers.target), goal(answers.goal)
    if wanted.timed and not (target.is_board or can_run(target)):
        raise RecipeError(
            f"the goal {wanted.words!r} is a time, and nothing here can measure a {target.title}",
            "take a share instead, for example: half the work at 1 point",
        )
    path = output or _beside(answers.data)
    kind = library_of(answers.model).kind
    data = data_glance.look(answers.data, path.parent, answers.task, kind)
    place = _placed(answers.model, path.parent)
    weights = None if answers.weights is None else _weights(answers.weights)
    written = None if weights is None else relative(weights, path.parent)
    network = network_glance.look(answers.model, weights, data, place, written, TASKS[data.kind].counted)
    workers = min(MOST_WORKERS, os.cpu_count() or 1)
    text = commented(path, data, network, wanted, target, workers)
    # What is written runs: it is read as `jetpress run` would, and the target is asked.
    resolve(Recipe.parse(tomllib.loads(text), Written(str(path), text)), target)
    return Start(path, text, data, network, wanted)


def _beside(given: str) -> Path:
    """A recipe here, named after the folder, the file or the data set."""
    path = Path(given.rpartition(":")[0] if is_file_reference(given) else given)
    if path.is_file() and path.suffix in DESCRIBING and path.resolve().parent.name:
        path = path.resolve().parent
    return Path(f"{named(path.resolve() if path.exists() else path)}.toml")


def _placed(model: str, folder: Path) -> str:
    """A file of the user's as it is named from the recipe's folder."""
    if not is_file_reference(model):
        return model
    path, _, function = model.rpartition(":")
    return f"{relative(Path(path), folder)}:{function}"


def _weights(given: str) -> Path:
    path = Path(given)
    if not path.is_file():
        names = [one.name for one in path.parent.glob("*") if one.is_file()] if path.parent.is_dir() else []
        near = did_you_mean(path.name, names)
        raise RecipeError(
            f"there are no weights {given}", near or "give a .safetensors file or a state_dict (.pth)"
        )
    return path
