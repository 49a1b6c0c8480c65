"""jetpress docs: the pages of docs/, which are installed with the package."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from jetpress.deploy.errors import RecipeError
from jetpress.deploy.suggest import did_you_mean
from jetpress.pipeline.cli.arguments import Commands, command

PACKAGE = Path(__file__).parents[2]


def add(commands: Commands) -> None:
    """What is written down."""
    docs = command(commands, "docs", _docs, "list the pages of the documentation, or print one")
    docs.add_argument("page", nargs="?", metavar="PAGE", help="for example: recipe, quantization, detection")


def _docs(options: argparse.Namespace) -> int:
    found = pages()
    if options.page is None:
        titles = {
            name: page.read_text().partition("\n")[0].removeprefix("# ") for name, page in found.items()
        }
        rows = [f"{name:<20} {title}" for name, title in titles.items()]
        print(json.dumps(titles) if options.json else "\n".join(rows))
        return 0
    if options.page not in found:
        near = did_you_mean(options.page, found)
        raise RecipeError(f"there is no page {options.page!r}", f"{near} One of {', '.join(found)}".strip())
    text = found[options.page].read_text()
    print(json.dumps({options.page: text}) if options.json else text, end="")
    return 0


def pages() -> dict[str, Path]:
    """Name -> file: beside the package where it is installed, else in the checkout that it is run from."""
    folders = (PACKAGE / "docs", PACKAGE.parent / "docs")
    return next(found for folder in folders if (found := {p.stem: p for p in sorted(folder.glob("*.md"))}))
