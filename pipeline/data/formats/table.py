"""CSV: the first column is the path of an image, the others are its values; a first line names them.

``data.root`` is the file, or a folder with ``train.csv``, ``val.csv`` and ``test.csv``. A column called ``split`` says
``train``, ``val`` or ``test``.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from jetpress.deploy.errors import RecipeError
from jetpress.pipeline.data.formats.marks import (
    Findings,
    Mark,
    Marked,
    Points,
    Values,
    leads_to_file,
    text_of,
)
from jetpress.pipeline.recipe.sections.data import DataConfig
from jetpress.pipeline.recipe.sections.task import TaskConfig

SPLITS = {
    "train": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "test": "test",
}
SPLIT = "split"
SORTS = {"classification": "number of a class, from 0", "multilabel": "0 or 1"}
"""Kind of task -> what its values are, where they are not any numbers."""
MOST_CLASSES = 1_000_000


def read(config: DataConfig, task: TaskConfig) -> Marked:
    """Every line of every file.

    Raises:
        RecipeError: one message for each fault, with file and line.
    """
    root = Path(str(config.root))
    files = {
        split: root / f"{name}.csv" for name, split in SPLITS.items() if (root / f"{name}.csv").is_file()
    }
    if root.is_file():
        files = {"train": root}
    if "train" not in files:
        raise RecipeError(
            f"there is no {root / 'train.csv'}", "set data.root to a .csv file, or to a folder of them"
        )
    findings, splits, names = Findings(str(root)), dict[str, list[tuple[str, Mark]]](), tuple[str, ...]()
    for split, path in files.items():
        here, rows = _rows(path, findings)
        names = names or here
        if here != names:
            findings.wrong(f"{path}:1", f"has the columns {', '.join(here)}, another file {', '.join(names)}")
        if task.kind == "keypoints" and len(here) % 2:
            raise RecipeError(f"{path}:1: {len(here)} columns of values", "x and y of each point: path,x,y")
        if task.kind == "classification" and len(here) != 1:
            raise RecipeError(
                f"{path}:1: {len(here)} columns of values: {', '.join(here[:5])}",
                'path,class for a class of each image; columns of 0 and 1 are task.kind = "multilabel"',
            )
        for place, told, image, values in rows:
            if wrong := [one for one in values if not _is_of(one, task.kind)]:
                findings.wrong(place, f"{wrong[0]:g} is no {SORTS[str(task.kind)]}")
                continue
            splits.setdefault(SPLITS.get(told, split), []).append((image, _mark(values, task.kind)))
    findings.tell()
    if not splits.get("train"):
        raise RecipeError(
            f"{files['train']} has no lines of training data", "path,value: a line for each image"
        )
    if task.kind == "classification":  # its numbers are the classes, which the columns do not name
        names = ()
    elif task.kind == "keypoints":
        names = names[::2]
    return Marked(splits, {split: files.get(split, root).name for split in splits}, names)


def holds(root: Path) -> bool:
    """Whether a folder is laid out so."""
    return (root / "train.csv").is_file()


def lines_of(path: Path) -> list[list[str]]:
    """The cells of each line.

    Raises:
        RecipeError: it is no such file.
    """
    try:
        return list(csv.reader(text_of(path).splitlines()))
    except csv.Error as error:
        raise RecipeError(
            f"{path} does not read as a table: {error}", "path,value: a line for each image"
        ) from None


def _is_of(value: float, kind: str | None) -> bool:
    """Whether a task of this kind has such values."""
    if kind == "classification":
        return 0 <= value < MOST_CLASSES and value == int(value)
    return kind != "multilabel" or value in (0, 1)


def _rows(path: Path, findings: Findings) -> tuple[tuple[str, ...], list[tuple[str, str, str, list[float]]]]:
    """Names of the values; of each line its place, its split, the image, the values."""
    lines = lines_of(path)
    if not lines or len(lines[0]) < 2:
        raise RecipeError(
            f"{path}:1: has no columns path and value", "path,value on the first line, then a line an image"
        )
    first, *rest = [[cell.strip() for cell in line] for line in lines]
    if all(map(_is_number, first[1:])):
        raise RecipeError(f"{path}:1: names no columns", "path,value on the first line")
    at = first.index(SPLIT) if SPLIT in first[1:] else None
    columns = [n for n in range(1, len(first)) if n != at]
    return tuple(first[n] for n in columns), list(_read(path, rest, len(first), columns, at, findings))


def _read(
    path: Path,
    rest: Sequence[list[str]],
    width: int,
    columns: Sequence[int],
    at: int | None,
    findings: Findings,
) -> Iterator[tuple[str, str, str, list[float]]]:
    seen = set[str]()
    for number, line in enumerate(rest, 2):
        place = f"{path}:{number}"
        if not any(line):
            continue
        image = path.parent / line[0]
        if len(line) != width:
            findings.wrong(place, f"{len(line)} columns, the first line has {width}")
        elif wrong := [line[n] for n in columns if not _is_number(line[n])]:
            findings.wrong(place, f"{wrong[0][:60]!r} is no number")
        elif not leads_to_file(image):
            findings.wrong(place, f"there is no image {line[0]}")
        elif at is not None and line[at] not in SPLITS:
            findings.wrong(place, f"there is no split {line[at]!r}: train, val or test")
        else:
            if line[0] in seen:
                findings.note(place, "images are named twice; both count")
            seen.add(line[0])
            split = line[at] if at is not None else ""
            yield place, split, str(image), [float(line[n]) for n in columns]


def _is_number(text: str) -> bool:
    try:
        return bool(np.isfinite(float(text)))
    except ValueError:
        return False


def _mark(values: Sequence[float], kind: str | None) -> Mark:
    if kind == "keypoints":
        pairs = np.array(values, np.float32).reshape(-1, 2)
        return Points(np.concatenate([pairs, (pairs >= 0).all(1, keepdims=True)], axis=1).astype(np.float32))
    return Values(np.array(values, np.float32))
