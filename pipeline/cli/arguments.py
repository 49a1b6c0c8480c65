"""What the commands have in common: ``--json``, how much is said, and the recipe."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import TYPE_CHECKING, Literal, Protocol

from jetpress.deploy import console

if TYPE_CHECKING:
    from jetpress.pipeline.recipe.reading import Recipe


class Commands(Protocol):
    """What ``add_subparsers`` returns; argparse has no public name for it."""

    def add_parser(self, name: str, *, help: str, description: str) -> argparse.ArgumentParser:  # noqa: A002
        """The parser of a command."""


def command(
    commands: Commands,
    name: str,
    act: Callable[[argparse.Namespace], int],
    text: str,
    results: bool = True,
    works_long: bool = False,
) -> argparse.ArgumentParser:
    """A command that calls ``act``; with ``--json`` if it has ``results``, ``-q`` and ``-v`` if it ``works_long``."""
    added = commands.add_parser(name, help=text, description=text)
    added.set_defaults(act=act, level=console.Level.NORMAL)
    if results:
        added.add_argument("--json", action="store_true", help="one JSON object on stdout")
    if works_long:
        said = added.add_mutually_exclusive_group()
        for short, long, level, of_it in (
            ("-q", "--quiet", console.Level.QUIET, "only errors and the verdict"),
            ("-v", "--verbose", console.Level.VERBOSE, "also what is decided, and why"),
        ):
            said.add_argument(short, long, dest="level", action="store_const", const=level, help=of_it)
    return added


def completed(argument: argparse.Action, kind: Literal["file", "folder", "recipe"]) -> None:
    """What a shell completes an argument with."""
    shells = {
        "file": {"bash": "_filedir", "zsh": "_files"},
        "folder": {"bash": "_filedir -d", "zsh": "_files -/"},
        "recipe": {"bash": "_filedir toml", "zsh": "_files -g '*.toml'"},
    }
    argument.complete = shells[kind]  # type: ignore[attr-defined]


def recipe(options: argparse.Namespace) -> Recipe:
    """The recipe that the options name, with their ``--set``."""
    from jetpress.pipeline.recipe.reading import Recipe

    return Recipe.load(options.recipe, options.set)
