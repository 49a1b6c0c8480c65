"""What is marked in an image, as formats of data have it. Imports no torch: only its digest may be wanted."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jetpress.deploy.console import say
from jetpress.deploy.errors import RecipeError

LISTED = 8
"""Faults that are told one by one."""


@dataclass(frozen=True, eq=False)
class Boxes:
    """Objects with a box and a class each."""

    boxes: NDArray[np.float32]
    """``[k, 4]``: x1, y1, x2, y2 in pixels of the upright image."""
    labels: NDArray[np.int64]
    """``[k]``, from 0."""
    crowd: NDArray[np.bool_]
    """``[k]``: stands for many objects; what is found in it is neither right nor wrong."""
    points: NDArray[np.float32] | None = None
    """``[k, points, 3]``: x, y in pixels of the upright image, and whether it is there; None: nobody asks."""


@dataclass(frozen=True)
class MaskFile:
    """A picture of class numbers."""

    path: str


@dataclass(frozen=True)
class TargetFile:
    """What is to be made of an image: an image, or an array of numbers."""

    path: str


@dataclass(frozen=True)
class Runs:
    """An area as COCO's run-length coding has it."""

    size: tuple[int, int]
    """Height and width."""
    counts: bytes
    """Compressed, as pycocotools has them."""


def pixels_of(area: Runs) -> NDArray[np.uint8]:
    """``[h, w]``: 1 where it is.

    Raises:
        ValueError: the runs are not as long as the image has pixels.
    """
    from pycocotools import mask

    with warnings.catch_warnings():  # pycocotools' arrays are of the time before NumPy 2
        warnings.simplefilter("ignore", DeprecationWarning)
        found: NDArray[np.uint8] = mask.decode({"size": list(area.size), "counts": area.counts})
    return found


@dataclass(frozen=True, eq=False)
class Outlines:
    """Areas, each with a class; later ones lie over earlier ones."""

    labels: tuple[int, ...]
    """Below 0: what is there is neither learnt nor judged."""
    areas: tuple[tuple[NDArray[np.float32], ...] | Runs, ...]
    """Of each its outlines ``[k, 2]``: x, y in pixels of the upright image, or its pixels."""
    background: int


@dataclass(frozen=True, eq=False)
class Values:
    """Numbers of the whole image."""

    values: NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Points:
    """The same points in every image."""

    points: NDArray[np.float32]
    """``[k, 3]``: x, y in pixels of the upright image, and whether it is there."""


Mark = Boxes | MaskFile | TargetFile | Outlines | Values | Points


@dataclass(frozen=True)
class Marked:
    """What a format has: of each split the images and what is marked in them."""

    splits: Mapping[str, Sequence[tuple[str, Mark]]] = field(hash=False)
    origin: Mapping[str, str] = field(hash=False)
    classes: tuple[str, ...] = ()
    swaps: tuple[tuple[int, int], ...] = ()
    """Points that change places in a mirrored image."""


class Findings:
    """What is wrong in a data set, told at once and with its place; what is only worth knowing is counted."""

    def __init__(self, source: str) -> None:
        self._source = source
        self._wrong: list[str] = []
        self._noted: Counter[str] = Counter()
        self._first: dict[str, str] = {}

    def wrong(self, place: object, what: str) -> None:
        """Nothing sensible can be made of it."""
        self._wrong.append(f"{place}: {what}")

    def note(self, place: object, what: str, count: int = 1) -> None:
        """Something sensible is made of it, as ``what`` says."""
        self._noted[what] += count
        self._first.setdefault(what, str(place))

    def tell(self) -> None:
        """Say what was noted.

        Raises:
            RecipeError: something is wrong.
        """
        if self._wrong:
            listed = "\n    ".join(self._wrong[:LISTED])
            more = f"\n    ... and {len(self._wrong) - LISTED} more" if len(self._wrong) > LISTED else ""
            count = f"{len(self._wrong)} faults" if len(self._wrong) > 1 else "a fault"
            raise RecipeError(
                f"{self._source}: {count} in the data:\n    {listed}{more}", "mend the files named"
            )
        for what, times in self._noted.items():
            say(f"    {self._source}: {times} {what} (first: {self._first[what]})")


def boxes_of(
    place: object, rows: Sequence[tuple[float, float, float, float]], labels: Sequence[int], size: tuple[int, int],
    findings: Findings, crowd: Sequence[bool] = (), points: NDArray[np.float32] | None = None,
) -> Boxes:  # fmt: skip
    """Boxes inside of an image of (width, height); those without area are left out, twice the same is once.

    Args:
        place: named in what is found.
        rows: x1, y1, x2, y2 in pixels.
        labels: of each.
        size: of the image.
        findings: told of what is wrong.
        crowd: of each; empty: none is.
        points: of each ``[points, 3]``, or None.
    """
    kept: dict[tuple[Any, ...], int] = {}
    width, height = size
    for number, (x1, y1, x2, y2) in enumerate(rows):
        inside = (max(x1, 0.0), max(y1, 0.0), min(x2, float(width)), min(y2, float(height)))
        if max(abs(a - b) for a, b in zip(inside, (x1, y1, x2, y2), strict=True)) > 1:
            findings.note(place, "boxes reach beyond their image and are cut to it")
        if inside[2] - inside[0] <= 0 or inside[3] - inside[1] <= 0:
            findings.note(place, "boxes have no area and are left out")
        elif (key := (*inside, labels[number])) in kept:
            findings.note(place, "boxes are there twice and count once")
        else:
            kept[key] = number
    array = np.array([[*key] for key in kept], np.float64).reshape(-1, 5)
    if not len(array):
        findings.note(place, "images have no object: background")
    chosen = np.array([*kept.values()], np.int64)
    crowds = np.array(crowd, np.bool_)[chosen] if crowd else np.zeros(len(chosen), np.bool_)
    found = None if points is None else points[chosen]
    return Boxes(array[:, :4].astype(np.float32), array[:, 4].astype(np.int64), crowds, found)


def leads_to_file(path: Path, asked: Callable[[Path], bool] = Path.is_file) -> bool:
    """Whether there is a file of a name that stood in another; one that is too long for any leads nowhere."""
    try:
        return asked(path)
    except OSError:
        return False


def text_of(path: Path) -> str:
    """The text of a file, line ends and byte order mark of any system taken off.

    Raises:
        RecipeError: it cannot be read, or is no text.
    """
    if path.exists() and not path.is_file():  # to open a pipe would wait for whoever writes into it
        raise RecipeError(f"{path} is no file: a pipe or a folder", "check the file")
    try:
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise RecipeError(
            f"there is no file {path}", "data.root is relative to the recipe; see `jetpress docs data`"
        )
    except (OSError, UnicodeDecodeError) as error:
        raise RecipeError(f"{path} cannot be read as text: {error}", "check the file") from None
