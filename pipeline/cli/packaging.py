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
UPDATERS = keys("../deploy/release/package.py", "UPDATERS")


def add(commands: Commands) -> None:
    """From a run to what another program loads; from a release to what another updater sends."""
    text = "a run's engine as DeepStream, Triton, ROS 2 or a program loads it; a release as another updater takes it"
    package = command(commands, "package", _package, text)
    package.add_argument(
        "of",
        metavar="RUN|RELEASE",
        help="a run, by its folder or name; for an updater the folder of a release",
    )
    package.add_argument(
        "--for", dest="kind", required=True, choices=(*KINDS, *UPDATERS), help="what takes it"
    )
    out = package.add_argument(
        "--out", metavar="FOLDER", help="default: packages/KIND in the run's folder, or RELEASE-KIND"
    )
    completed(out, "folder")


def _package(options: argparse.Namespace) -> int:
    out = None if options.out is None else Path(options.out)
    return _release(options, out) if options.kind in UPDATERS else _run(options, out)


def _run(options: argparse.Namespace, out: Path | None) -> int:
    from jetpress.deploy.formats import package, tree
    from jetpress.pipeline.summary import find_run

    place = package(find_run(options.of), options.kind, out)
    files = sorted(one.relative_to(place).as_posix() for one in place.rglob("*") if one.is_file())
    print(json.dumps({"folder": str(place), "files": files}) if options.json else place)
    if not options.json:
        console.say("\n".join(tree(place)))
    console.say(f"what it is, and what of it was tried: {place / 'README.md'}")
    return 0


def _release(options: argparse.Namespace, out: Path | None) -> int:
    from jetpress.deploy.release.package import package

    release = Path(options.of)
    place = out or release.with_name(f"{release.name}-{options.kind}")
    going_on = package(release, options.kind, place)
    print(json.dumps({"folder": str(place), "command": going_on}) if options.json else place)
    console.say(f"go on there: {going_on}")
    console.say("what lies in board/ belongs on each board, once: see `jetpress docs release`")
    return 0
