"""YOLO's layout: a data.yaml that names the splits and the classes, and for each image a text file of its objects.

A line is ``class x y width height``, in shares of the image, or ``class x1 y1 x2 y2 x3 y3 ...``, an outline; for
keypoints ``class x y width height x1 y1 [there1] ...``. The file lies where the image does, with ``labels`` in place
of the last ``images`` of its path. No file, or an empty one: background.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jetpress.deploy.errors import RecipeError
from jetpress.pipeline.data.formats.data_yaml import SPLITS, base_of, described, labels_of, told_by
from jetpress.pipeline.data.formats.marks import (
    Findings,
    Mark,
    Marked,
    Outlines,
    Points,
    Values,
    boxes_of,
    leads_to_file,
    text_of,
)
from jetpress.pipeline.data.formats.pictures import images_in, size_of
from jetpress.pipeline.recipe.sections.data import DataConfig
from jetpress.pipeline.recipe.sections.task import TaskConfig

BEYOND = 0.01
"""Share of the image by which a place may lie beyond it: rounding."""


def read(config: DataConfig, task: TaskConfig) -> Marked:
    """Every image of the splits that data.yaml names.

    Raises:
        RecipeError: one message for each fault, with file and line.
    """
    path = described(Path(str(config.root)))
    told, folder = told_by(path), path.parent
    names = _names(told, path)
    points = _points(told, path)
    findings, splits, origin = Findings(str(path)), dict[str, list[tuple[str, Mark]]](), dict[str, str]()
    for key, split in SPLITS.items():
        if told.get(key):
            images = list(_images(told[key], told, folder, f"{path}: {key}"))
            splits[split] = [(str(p), _marks(p, names, task.kind, points, findings)) for p in images]
            origin[split] = f"{key}: {told[key]}"
    if not splits.get("train"):
        raise RecipeError(f"{path} names no training images", "train: images/train, as Ultralytics has it")
    findings.tell()
    classes = ("background", *names) if task.kind == "segmentation" else names
    return Marked(splits, origin, classes, _swaps(told))


def _names(told: Mapping[str, Any], path: Path) -> tuple[str, ...]:
    names = told.get("names")
    if isinstance(names, dict):
        if set(names) != set(range(len(names))):
            raise RecipeError(f"{path}: names are not numbered from 0 to {len(names) - 1}", "number them so")
        names = [names[number] for number in range(len(names))]
    if not names and isinstance(told.get("nc"), int):
        names = [str(number) for number in range(told["nc"])]
    if not isinstance(names, list) or not names:
        raise RecipeError(f"{path} has no names", "names: [cat, dog]")
    if isinstance(told.get("nc"), int) and told["nc"] != len(names):
        raise RecipeError(
            f"{path}: nc is {told['nc']}, and there are {len(names)} names", "correct one of them"
        )
    return tuple(map(str, names))


def _points(told: Mapping[str, Any], path: Path) -> tuple[int, int] | None:
    """How many points an object has, and numbers of each."""
    match told.get("kpt_shape"):
        case None:
            return None
        case [int(count), (2 | 3) as each] if count > 0:
            return count, each
        case other:
            raise RecipeError(f"{path}: kpt_shape is {other!s:.80}", "points, and 2 or 3 numbers: [17, 3]")


def _swaps(told: Mapping[str, Any]) -> tuple[tuple[int, int], ...]:
    other = told.get("flip_idx")
    if not isinstance(other, list):
        return ()
    if any(type(one) is not int or not 0 <= one < len(other) for one in other):
        raise RecipeError(
            f"data.yaml: flip_idx is not a number of each point: {other!s:.80}", "see YOLO's pose format"
        )
    return tuple((a, b) for a, b in enumerate(other) if a < b)


def _images(given: object, told: Mapping[str, Any], folder: Path, place: str) -> Iterator[Path]:
    """Of a folder, a list of files, or several of them."""
    base = base_of(told, folder)
    for one in given if isinstance(given, list) else [given]:
        places = base / str(one), folder / str(one).removeprefix("../")
        path = next((p for p in places if leads_to_file(p, Path.exists)), None)
        if path is None:
            raise RecipeError(
                f"{place}: there is no {base / str(one)}", "paths are relative to `path`, or to the file"
            )
        if path.is_dir():
            yield from images_in(path)
            continue
        for number, line in enumerate(text_of(path).splitlines(), 1):
            if line.strip():
                image = next(
                    (p for p in (path.parent / line.strip(), base / line.strip()) if leads_to_file(p)), None
                )
                if image is None:
                    raise RecipeError(f"{path}:{number}: there is no image {line.strip()}", "mend the list")
                yield image


def _marks(
    image: Path, names: Sequence[str], kind: str | None, points: tuple[int, int] | None, findings: Findings
) -> Mark:
    size, file = size_of(str(image)), labels_of(image)
    width, height = size or (1, 1)  # what cannot be read is counted by whoever reads it
    lines = text_of(file).splitlines() if file.is_file() else []
    rows = [
        row
        for n, line in enumerate(lines, 1)
        if (row := _row(f"{file}:{n}", line, names, findings, points)) is not None
    ]
    if kind == "keypoints":
        return _pose(file, rows, points, (width, height), findings)
    posed = _points_of(file, rows, points, (width, height), findings) if kind == "pose" else None
    rows = [row[:5] for row in rows] if points else rows
    if kind == "segmentation":
        outlines = [_outline(row, width, height) for row in rows]
        return Outlines(tuple(int(row[0]) + 1 for row in rows), tuple((one,) for one in outlines), 0)
    if kind == "multilabel":
        return Values(np.isin(np.arange(len(names)), [int(row[0]) for row in rows]).astype(np.float32))
    boxes = []
    for row in rows:
        outline = _outline(row, width, height)
        boxes.append((*outline.min(0).tolist(), *outline.max(0).tolist()))
    labels = [int(row[0]) for row in rows]
    return boxes_of(file, boxes, labels, (width, height), findings, points=posed)


def _row(
    place: str, line: str, names: Sequence[str], findings: Findings, points: tuple[int, int] | None
) -> list[float] | None:
    """The numbers of a line; None where it has none, or is wrong."""
    words = line.split()
    if not words:
        return None
    try:
        row = [float(word) for word in words]
    except ValueError:
        findings.wrong(place, f"{line.strip()[:60]!r} is not numbers")
        return None
    shares = row[1:] if points is None else row[1:5]
    if len(row) < 5 or len(row) == 6:
        findings.wrong(
            place, f"{len(row)} numbers: class x y width height, or class and at least three points"
        )
    elif not 0 <= row[0] < len(names) or row[0] != int(row[0]):
        findings.wrong(place, f"class {words[0]:.20}, and there are {len(names)}, from 0")
    elif len(shares) % 2:
        findings.wrong(place, f"{len(shares)} numbers behind the class: an outline has x and y of each point")
    elif other := [one for one in shares if not -BEYOND <= one <= 1 + BEYOND]:
        worst = max(other, key=lambda one: abs(one - 0.5))
        findings.wrong(place, f"{worst:g} is no share of the image, 0 to 1")
    else:
        return row
    return None


def _outline(row: Sequence[float], width: int, height: int) -> Any:
    """Corners ``[k, 2]`` in pixels."""
    if len(row) == 5:
        _, x, y, w, h = row
        shares = [
            [x - w / 2, y - h / 2],
            [x + w / 2, y - h / 2],
            [x + w / 2, y + h / 2],
            [x - w / 2, y + h / 2],
        ]
    else:
        shares = [list(pair) for pair in zip(row[1::2], row[2::2], strict=False)]
    return np.array(shares, np.float32) * np.array([width, height], np.float32)


def _pose(
    file: Path,
    rows: Sequence[Sequence[float]],
    shape: tuple[int, int] | None,
    size: tuple[int, int],
    findings: Findings,
) -> Points:
    """Points of the largest object."""
    if len(rows) > 1:
        findings.note(file, "images show several objects: the points of the largest are taken")
    largest = [max(rows, key=lambda one: one[3] * one[4])] if rows else []
    found = _points_of(file, largest, shape, size, findings)
    return Points(found[0] if rows else np.zeros(found.shape[1:], np.float32))


def _points_of(
    file: Path,
    rows: Sequence[Sequence[float]],
    shape: tuple[int, int] | None,
    size: tuple[int, int],
    findings: Findings,
) -> NDArray[np.float32]:
    """Of each object ``[points, 3]``: x, y in pixels, whether it is there."""
    if shape is None:
        raise RecipeError(
            f"{file}: points are asked for, and data.yaml has no kpt_shape", "kpt_shape: [17, 3]"
        )
    count, each = shape
    found = np.zeros((len(rows), count, 3), np.float32)
    for one, row in zip(found, rows, strict=True):
        if len(row) != 5 + count * each:
            findings.wrong(file, f"{len(row)} numbers, kpt_shape {list(shape)} asks for {5 + count * each}")
            continue
        values = np.array(row[5:], np.float32).reshape(count, each)
        one[:, :2] = values[:, :2] * np.array(size, np.float32)
        one[:, 2] = values[:, 2] > 0 if each == 3 else (values != 0).any(1)
        places = values[one[:, 2] > 0, :2]
        if not ((places >= -BEYOND) & (places <= 1 + BEYOND)).all():
            findings.wrong(file, "a point is no share of the image, 0 to 1")
    return found
