"""jetpress package"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from jetpress.deploy import console
from jetpress.pipeline.cli.arguments import Commands, command, completed
from jetpress.pipeline.recipe.sections.known import keys

KINDS = keys("../deploy/formats/__init__.py", "FORMATS")
"""Read from the source: whoever asks for help must not wait for its imports."""


def add(commands: Commands) -> None:
    """From a run to a folder that another program loads."""
    text = "a finished run's engine as others load it: configuration, pre-processing, decoding, labels"
    package = command(commands, "package", _package, text)
    package.add_argument("run", metavar="RUN", help="a run's folder or its name in runs/")
    package.add_argument("--for", dest="kind", required=True, choices=KINDS, help="what loads it")
    out = package.add_argument(
        "--out", metavar="FOLDER", help="which must not be there (default: packages/KIND in the run's folder)"
    )
    completed(out, "folder")


def _package(options: argparse.Namespace) -> int:
    from jetpress.deploy.formats import package, tree
    from jetpress.pipeline.summary import find_run

    out = None if options.out is None else Path(options.out)
    place = package(find_run(options.run), options.kind, out)
    files = sorted(one.relative_to(place).as_posix() for one in place.rglob("*") if one.is_file())
    print(json.dumps({"folder": str(place), "files": files}) if options.json else place)
    if not options.json:
        console.say("\n".join(tree(place)))
    console.say(f"what it is, and what of it was tried: {place / 'README.md'}")
    return 0
