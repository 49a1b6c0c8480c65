"""FORMATS: one frozen record for each way in which others load an engine. To add one: a file here, and a record.

Everything is written from the run's plan: names, shapes, types, mean, std, order of colours, head, classes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from jetpress.deploy import draft
from jetpress.deploy.errors import RecipeError
from jetpress.deploy.formats import (
    cpp,
    deepstream,
    isaac_ros,
    jetson_inference,
    python,
    subject,
    triton,
    written,
)
from jetpress.deploy.formats.subject import Subject
from jetpress.deploy.suggest import did_you_mean


@dataclass(frozen=True)
class Format:
    """A kind of package."""

    title: str
    write: Callable[[Subject, Path], None]
    """Fills a folder; refuses, by name and with the remedy, what cannot be said there."""
    tried: str
    """What of it was tried, where no board was."""


FORMATS: dict[str, Format] = {
    "deepstream": Format("NVIDIA DeepStream", deepstream.write, deepstream.TRIED),
    "triton": Format("Triton Inference Server", triton.write, triton.TRIED),
    "isaac-ros": Format("Isaac ROS", isaac_ros.write, isaac_ros.TRIED),
    "jetson-inference": Format("jetson-inference", jetson_inference.write, jetson_inference.TRIED),
    "python": Format("Python", python.write, python.TRIED),
    "cpp": Format("C++", cpp.write, cpp.TRIED),
}


def package(run: Path, kind: str, out: Path | None = None) -> Path:
    """Make a package of a finished run; it is there whole, or not at all.

    Args:
        run: the run's folder.
        kind: a key of :data:`FORMATS`.
        out: the package's folder, which must not be there; None: ``packages/KIND`` in the run's folder.

    Returns:
        the package's folder

    Raises:
        RecipeError: there is no such kind, it cannot say what this network needs, or the folder is there.
        TrustError: bundle or engine are not those that were made.
    """
    if kind not in FORMATS:
        near = did_you_mean(kind, FORMATS)
        raise RecipeError(
            f"there is no package for {kind!r}", f"{near} There are: {', '.join(FORMATS)}".strip()
        )
    made = subject.read(run, kind)
    place = out or run / "packages" / kind
    with draft.folder(place) as folder:
        FORMATS[kind].write(made, folder)
        with (folder / "README.md").open("a") as readme:
            readme.write(f"\n## What was tried\n\n{written.wrapped(FORMATS[kind].tried)}\n")
    return place


def tree(folder: Path) -> list[str]:
    """Its files, with their sizes in bytes."""
    files = sorted(one for one in folder.rglob("*") if one.is_file())
    return [f"{one.stat().st_size:>10,}  {one.relative_to(folder)}" for one in files]
