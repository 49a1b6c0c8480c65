"""jetpress init | quick"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from jetpress.deploy import console
from jetpress.deploy.errors import JetpressError, RecipeError
from jetpress.pipeline.cli.arguments import Commands, command, completed
from jetpress.pipeline.cli.building import on_targets, run
from jetpress.pipeline.cli.several import pairs
from jetpress.pipeline.recipe.sections.known import TaskName

if TYPE_CHECKING:
    from jetpress.pipeline.starting import Start

MODEL = "torchvision:NAME, timm:NAME or file.py:build"
GOAL, TARGET = "fastest at 1 point", "host"
QUESTIONS = {
    "model": (
        "network",
        f"{MODEL}; its trained weights behind it",
        "torchvision:resnet18",
    ),
    "data": (
        "data",
        (
            "a folder of images (train/CLASS, or just CLASS), a data.yaml, a folder in COCO's or VOC's layout, of "
            "images and masks, a .csv, digits, cifar10 or file.py:load"
        ),
        "digits",
    ),
    "target": ("target", "what to build for: host, orin-nano, xavier, ... (`jetpress targets`)", TARGET),
    "goal": ("goal", "fastest at 1 point; 5 ms at 1 point; 200 fps; half the size at 0.5 points", GOAL),
}
"""Flag -> what is asked, what it takes, what is taken where nothing is said."""


def add(commands: Commands) -> None:
    """The first recipe, and the first run."""
    text = "write a recipe: four questions, or flags; network and data are looked at, every choice is explained in it"
    init = command(commands, "init", _init, text)
    init.add_argument("--model", metavar="M", help=MODEL)
    completed(init.add_argument("--data", metavar="D", help=QUESTIONS["data"][1]), "folder")
    init.add_argument("--target", metavar="T", help="what to build for; `jetpress targets` lists them")
    init.add_argument("--goal", metavar="G", help=QUESTIONS["goal"][1])
    text = "the same as init and run in one: from a network and a folder of images to engine and report"
    quick = command(commands, "quick", _quick, text, works_long=True)
    quick.add_argument("model", metavar="MODEL", help=MODEL)
    completed(quick.add_argument("data", metavar="IMAGES", help=QUESTIONS["data"][1]), "folder")
    quick.add_argument("--goal", metavar="G", default=GOAL, help=f"{QUESTIONS['goal'][1]} (default: {GOAL})")
    on_targets(quick)
    for either in (init, quick):
        text = "what the network is for (default: as network and data say)"
        either.add_argument("--task", metavar="KIND", choices=get_args(TaskName), help=text)
        text = "trained ones: .safetensors, or a state_dict (.pth)"
        completed(either.add_argument("--weights", metavar="FILE", help=text), "file")
        text = "the recipe's file (default: named after the data, here)"
        completed(either.add_argument("--output", "-o", metavar="FILE", help=text), "file")
        either.add_argument("--force", action="store_true", help="write over a file that is there")


def _init(options: argparse.Namespace) -> int:
    missing = [flag for flag in QUESTIONS if getattr(options, flag) is None]
    if missing and not (sys.stdin.isatty() and sys.stderr.isatty()):
        named = ", ".join(f"--{flag}" for flag in missing)
        raise RecipeError(
            f"there is no terminal to ask on, and {named} {'are' if len(missing) > 1 else 'is'} not given",
            f'for example: jetpress init --model torchvision:resnet18 --data images --target host --goal "{GOAL}"',
        )
    ask(options, missing)
    started = _started(options, options.target)
    write(started, options.force)
    if options.json:
        print(
            json.dumps(
                {"recipe": str(started.path), "classes": started.data.classes, "size": started.network.size}
            )
        )
    return 0


def ask(options: argparse.Namespace, missing: list[str]) -> None:
    """Ask on the terminal for what is missing; an answer that cannot be is said, and asked for again."""
    for flag in missing:
        title, takes, default = QUESTIONS[flag]
        console.say(f"{title}: {takes}")
        while not _answered(options, flag, default):
            pass


def _answered(options: argparse.Namespace, flag: str, default: str) -> bool:
    """One answer; False where it cannot be."""
    sys.stderr.write(f"  {flag} [{default}]: ")
    sys.stderr.flush()
    line = sys.stdin.readline()
    if not line:
        raise RecipeError("the questions were not answered", f"give --{flag} and the other flags instead")
    words = line.strip() or default
    try:
        if flag == "model":
            words, *weights = shlex.split(words)
            options.weights = weights[0] if weights else options.weights
        _checks()[flag](words)
    except (JetpressError, ValueError) as error:
        console.say(f"  {error}")
        return False
    setattr(options, flag, words)
    return True


def _checks() -> dict[str, Callable[[str], object]]:
    """What refuses an answer before the next question."""
    from jetpress.deploy.targets import find
    from jetpress.pipeline.data import glance, layouts
    from jetpress.pipeline.network.glance import library_of
    from jetpress.pipeline.recipe.goals import goal

    return {
        "model": library_of,
        "data": lambda words: (
            (Path(words).exists() and layouts.recognised(Path(words))) or glance.look(words, Path())
        ),
        "target": find,
        "goal": goal,
    }


def write(started: Start, force: bool) -> None:
    """Write the recipe, and say what was seen.

    Raises:
        RecipeError: a file of this name is there, with another text.
    """
    path = started.path
    if path.exists() and not force and path.read_text() != started.text:
        raise RecipeError(
            f"{path} is there already", "give --output another name, or --force to write over it"
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(started.text)
    data, network = started.data, started.network
    marks = f" with {data.marks} marked in training" if data.marks else ""
    console.say(f"data: {data.classes} classes; {data.splits}{marks}")
    if data.why_kind:
        console.say(f"task: {data.kind}: {data.why_kind}")
    trained = "from random weights" if network.weights is None else f"weights: {network.weights}"
    side = network.size
    size = side if isinstance(side, int) else " x ".join(map(str, reversed(side)))
    console.say(f"network: {network.builder} at {size} pixels, {trained}")
    console.say(f"wrote {path}; next:")
    for line in started.text.splitlines():
        if line.startswith("#   jetpress "):
            console.say(f"  {line.removeprefix('#   ')}")


def _quick(options: argparse.Namespace) -> int:
    from jetpress.pipeline.data import ranks

    if ranks.rank() == 0:
        started = _started(options, pairs(options.target, options.device)[0].target)
        write(started, options.force)
        options.recipe = started.path
    return run(options)


def _started(options: argparse.Namespace, target: str) -> Start:
    from jetpress.pipeline.starting import Answers, start

    output = None if options.output is None else Path(options.output)
    if output is not None and output.suffix != ".toml":
        raise RecipeError(f"{output} is not a .toml file", f"name it {output.with_suffix('.toml')}")
    answers = Answers(options.model, options.data, target, options.goal, options.weights, options.task)
    return start(answers, output)
