"""What a folder or a file of data is, seen from how it is laid out: for a recipe that is yet to be written."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from jetpress.deploy.errors import RecipeError
from jetpress.pipeline.data import sources
from jetpress.pipeline.data.formats import coco, data_yaml, masks, table, voc
from jetpress.pipeline.data.formats import pairs as pair_files
from jetpress.pipeline.data.formats.marks import Mark, Marked, Outlines, Points, TargetFile, Values
from jetpress.pipeline.data.formats.pictures import channels_of, images_in, size_of
from jetpress.pipeline.recipe.sections.data import DataConfig
from jetpress.pipeline.recipe.sections.task import TaskConfig
from jetpress.pipeline.tasks import FORMATS

LOOKED_AT = 32
"""Images whose size is read; only their headers are."""
CLASS_COLUMNS = ("class", "label", "target", "category")


@dataclass(frozen=True)
class Layout:
    """A data set in one of the formats."""

    source: str
    """As ``data.source``."""
    root: Path
    """As ``data.root``."""


def recognised(path: Path) -> Layout | None:
    """The format that a file or a folder is in; None where it is none of those that say more than a class.

    Raises:
        RecipeError: there are label files of YOLO's layout, and no data.yaml.
    """
    if path.is_file():
        return _of_file(path)
    if next(path.glob("*.yaml"), None) or next(path.glob("*.yml"), None):
        told = data_yaml.told_by(data_yaml.described(path))
        if "train" in told:
            return Layout("yolo", data_yaml.described(path))
    for source, found in (
        ("coco", coco.holds),
        ("voc", voc.holds),
        ("csv", table.holds),
        ("pairs", pair_files.holds),
    ):
        if found(path):
            return Layout(source, path)
    if folders := dict(masks.folders_in(path)):
        if any(images_in(below) for _, below in folders.values()):
            return Layout("masks", path)
        if any(next(below.rglob("*.txt"), None) for _, below in folders.values()):
            raise RecipeError(
                f"{path} has images and label files, and no data.yaml",
                "write one: train: images/train, val: images/val, names: [cat, dog]; `jetpress docs data`",
            )
    return None


def _of_file(path: Path) -> Layout | None:
    if path.suffix in (".yaml", ".yml"):
        return Layout("yolo", path)
    if path.suffix == ".csv":
        whole = path.stem in table.SPLITS and (path.parent / "train.csv").is_file()
        return Layout("csv", path.parent if whole else path)
    if path.suffix == ".json":
        for root in (path.parent, path.parent.parent):
            if coco.holds(root):
                return Layout("coco", root)
        raise RecipeError(
            f"{path} does not lie as COCO's files do",
            "name it train.json, with val.json beside it, or give the folder above annotations/",
        )
    return None


def kind_of(layout: Layout, asked: str | None, network: str | None) -> tuple[str, str]:
    """What the network is for, and why.

    Args:
        layout: of the data.
        asked: by the user.
        network: what a library's network is for; None: that is the user's own affair.

    Raises:
        RecipeError: the data is for something else.
    """
    kinds, known = sources.FORMATS[layout.source].kinds, FORMATS[layout.source]
    if asked or network:
        kind = str(asked or network)
        if kind == "classification" and kind not in kinds and "multilabel" in kinds:
            return "multilabel", "which classes an image shows: the network finds no boxes and no masks"
        if kind not in kinds:
            raise RecipeError(
                f"the data is in the format {layout.source!r}, which is for {', '.join(kinds)}, not for {kind}",
                "give another network or --task",
            )
        if layout.source != "csv" or asked:
            return kind, "as asked" if asked else "what the network is for"
    if layout.source == "csv":
        return _of_columns(layout.root)
    if layout.source == "yolo" and data_yaml.told_by(data_yaml.described(layout.root)).get("kpt_shape"):
        return (
            "keypoints",
            "data.yaml has kpt_shape; --task pose takes every object, --task detection its boxes",
        )
    if layout.source == "voc" and not (layout.root / voc.BOXES).is_dir():
        return "segmentation", "there are masks, and no boxes"
    return known, f"the data is for {' or '.join(kinds)} (--task)"


def _of_columns(root: Path) -> tuple[str, str]:
    """By the names of a table's columns, and by what stands in them."""
    path = root / "train.csv" if root.is_dir() else root
    first, *rows = table.lines_of(path) or [[]]
    columns = [n for n in range(1, len(first)) if first[n].strip() != table.SPLIT]
    values = {row[n].strip() for row in rows if len(row) == len(first) for n in columns}
    names = [first[n].strip().lower() for n in columns]
    if len(columns) == 1 and names[0] in CLASS_COLUMNS and all(one.isdigit() for one in values):
        return "classification", f"one column, {names[0]}, of whole numbers"
    if len(columns) > 1 and values <= {"0", "1"}:
        return "multilabel", f"{len(columns)} columns of 0 and 1"
    pairs = list(zip(names[::2], names[1::2], strict=False))
    if pairs and all((x[:1] == "x" and y[:1] == "y") or (x[-1:] == "x" and y[-1:] == "y") for x, y in pairs):
        return "keypoints", f"{len(pairs)} pairs of columns x and y"
    return "regression", f"numbers: {', '.join(names[:5])}"


def read(layout: Layout, kind: str) -> Marked:
    """Every image of every split, and what is marked in it.

    Raises:
        RecipeError: all that is wrong in the data.
    """
    config = DataConfig(source=layout.source, root=str(layout.root))
    return sources.FORMATS[layout.source].read(config, TaskConfig(kind=kind))


def classes_in(marked: Marked) -> int:
    """Classes, labels, values or points that the network has an output for."""
    if marked.classes:
        return len(marked.classes)
    marks: list[Mark] = [mark for _, mark in marked.splits["train"]]
    first = marks[0] if marks else None
    if isinstance(first, TargetFile):
        return channels_of(first.path)
    if isinstance(first, Points):
        return len(first.points)
    if isinstance(first, Outlines):
        return 1 + max(
            (label for one in marks if isinstance(one, Outlines) for label in one.labels), default=0
        )
    return int(max((one.values.max() for one in marks if isinstance(one, Values)), default=0)) + 1


def sides(paths: Sequence[str]) -> tuple[int, int]:
    """Median height and width of some images, evenly spaced through all, in pixels.

    Raises:
        RecipeError: none can be read.
    """
    step = max(1, len(paths) // LOOKED_AT)
    found = [
        size for path in paths[::step] if (size := size_of(path))
    ]  # the run names those that cannot be read
    if not found:
        raise RecipeError(
            f"none of {len(paths[::step])} images can be read, {paths[0] if paths else 'none is there'} for one",
            "check the files",
        )
    widths, heights = zip(*found, strict=True)
    return _median(heights), _median(widths)


def _median(numbers: Iterable[int]) -> int:
    return int(statistics.median(numbers))
