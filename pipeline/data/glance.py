"""What a data set is, seen without reading it whole: for a recipe that is yet to be written."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from jetpress.deploy.errors import RecipeError
from jetpress.deploy.suggest import did_you_mean
from jetpress.pipeline.data import layouts, sources
from jetpress.pipeline.data.formats.marks import Boxes, Mark
from jetpress.pipeline.data.layouts import Layout
from jetpress.pipeline.data.loading import cut_off
from jetpress.pipeline.recipe.sections.data import DataConfig
from jetpress.pipeline.recipe.sections.fields import is_file_reference
from jetpress.pipeline.recipe.sections.task import TaskConfig
from jetpress.pipeline.recipe.seen import DataSeen

BUILT_IN = ("digits", "cifar10", "cifar100")
DIGITS = (178, 182, 177, 183, 181, 182, 181, 179, 174, 180)
"""Images of each class in scikit-learn's digits."""


def look(given: str, recipe_folder: Path, asked: str | None = None, network: str | None = None) -> DataSeen:
    """Look at a data set.

    Args:
        given: a folder of images, a data set in one of the formats of docs/data.md, ``digits``, ``cifar10``,
            ``cifar100`` or ``file.py:function``; paths are relative to where jetpress was started.
        recipe_folder: where the recipe will lie: its paths are relative to that.
        asked: the task that the user names.
        network: the task that a library's network is for.

    Raises:
        RecipeError: it is not there, or not laid out as it must be; says what was meant, where that is plain.
    """
    if given == "digits":
        count, test = sum(DIGITS), _cut_off(DIGITS)
        return DataSeen(
            "digits", None, 10, count, test, f"{test} of its {count} images are the test split", 8
        )
    if given in BUILT_IN:
        return _cifar(given, recipe_folder)
    if is_file_reference(given):
        return _function(given, recipe_folder, asked or network)
    path = Path(given)
    layout = layouts.recognised(path) if path.exists() else None
    if layout is not None:
        return _marked(layout, recipe_folder, asked, network)
    return _folder(given, recipe_folder)


def _marked(layout: Layout, recipe_folder: Path, asked: str | None, network: str | None) -> DataSeen:
    """Boxes, masks, values or points."""
    kind, why = layouts.kind_of(layout, asked, network)
    told = layouts.read(layout, kind)
    counts = {split: len(rows) for split, rows in told.splits.items()}
    listed = ", ".join(f"{split} {count}" for split, count in counts.items())
    missing = [name for name in ("validation", "test") if name not in counts]
    cut = f"; {' and '.join(missing)} cut off training" if len(missing) == 2 else ""
    height, width = layouts.sides([path for path, _ in told.splits["train"]])
    own = counts.get("test", counts.get("validation"))
    return DataSeen(
        layout.source,
        relative(layout.root, recipe_folder),
        layouts.classes_in(told),
        counts["train"],
        round(counts["train"] * DataConfig.test_fraction) if own is None else own,
        f"{listed} images{cut}",
        min(height, width),
        kind=kind,
        why_kind=why,
        names=told.classes,
        sides=(height, width),
        marks=_marks(told.splits["train"]),
        points=_points(told.splits["train"][0][1]),
    )


def _marks(rows: Sequence[tuple[str, Mark]]) -> int:
    """How many boxes or areas there are in all."""
    return sum(len(getattr(mark, "labels", ())) for _, mark in rows)


def _points(mark: Mark) -> int:
    return mark.points.shape[1] if isinstance(mark, Boxes) and mark.points is not None else 0


def relative(path: Path, recipe_folder: Path) -> str:
    """As it is written into a recipe that lies in ``recipe_folder``: relative where it lies below that."""
    path, folder = path.resolve(), recipe_folder.resolve()
    return str(path.relative_to(folder)) if path.is_relative_to(folder) else str(path)


def _cifar(given: str, recipe_folder: Path) -> DataSeen:
    batches = "cifar-10-batches-py" if given == "cifar10" else "cifar-100-python"
    there = next((path for path in (Path("data"), Path()) if (path / batches).is_dir()), None)
    root = "data" if there is None else relative(there, recipe_folder)
    classes = int(given.removeprefix("cifar"))
    return DataSeen(
        given,
        root,
        classes,
        50_000,
        10_000,
        "its own 10000 test images are the test split",
        32,
        there is None,
    )


def _function(given: str, recipe_folder: Path, kind: str | None) -> DataSeen:
    path, _, function = given.rpartition(":")
    if not Path(path).is_file():
        raise RecipeError(f"there is no file {path}", _files_like(path) or "give path/to/file.py:function")
    reference = f"{Path(path).resolve()}:{function}"
    found = sources.read(DataConfig(source=reference), 0, TaskConfig(kind=kind))
    train, labels = found.splits["train"], found.splits["train"].labels
    classes = len(found.classes) or (int(labels.max()) + 1 if labels is not None and len(labels) else 0)
    if not classes:
        raise RecipeError(
            f"{given} does not say its classes",
            'add "classes": [names] to what it returns, or a list `targets` to train',
        )
    shape = train.batch([0], None)[0][0].shape
    test = len(found.splits.get("test") or found.splits.get("validation") or ()) or round(
        len(train) * DataConfig.test_fraction
    )
    return DataSeen(
        f"{relative(Path(path), recipe_folder)}:{function}",
        None,
        classes,
        len(train),
        test,
        f"{', '.join(f'{name} {len(split)}' for name, split in found.splits.items())} samples",
        min(shape[-2:]) if len(shape) == 4 else None,
        kind=kind or "classification",
        why_kind="as asked" if kind else "",
        names=found.classes,
        sides=(shape[-2], shape[-1]) if len(shape) == 4 else None,
    )


def _folder(given: str, recipe_folder: Path) -> DataSeen:
    root = Path(given)
    if not root.is_dir():
        raise RecipeError(f"there is no data set {given!r}", _meant(root))
    try:
        classes, listed = sources.listing(root)
    except RecipeError as error:
        raise RecipeError(error.what, _below(root) or error.hint) from None
    counts = {split: len(files) for split, files in listed.items()}
    own = next((counts[name] for name in ("test", "validation") if name in counts), None)
    test = own or _cut_off(Counter(label for _, label in listed["train"]).values())
    if own is None:
        cut = f"{DataConfig.validation_fraction:.0%} each for validation and test are cut off"
        splits = f"{counts['train']} images, {cut}: there is no val/"
    elif len(counts) == 3:
        splits = f"train/ {counts['train']}, val/ {counts['validation']}, test/ {test} images"
    else:
        folder = "test/" if "test" in counts else "val/"
        splits = f"train/ {counts['train']} images (a part is validation), {folder} {test}: the test split"
    paths = [path for path, _ in listed["train"]]
    return DataSeen(
        "imagefolder",
        relative(root, recipe_folder),
        len(classes),
        counts["train"],
        test,
        splits,
        min(layouts.sides(paths)),
    )


def _cut_off(members: Iterable[int]) -> int:
    """Test samples, where as many of each class are cut off as the recipe's share says."""
    return sum(cut_off(count, DataConfig.test_fraction) for count in members)


def _meant(root: Path) -> str:
    """What somebody who named no folder may have meant."""
    folder = root.parent
    names = [entry.name for entry in os.scandir(folder) if entry.is_dir()] if folder.is_dir() else []
    near = did_you_mean(root.name, names) or did_you_mean(str(root), BUILT_IN)
    takes = (
        "give a folder of images (train/CLASS, val/CLASS, or just CLASS), a data.yaml, a folder in COCO's or VOC's "
        "layout, of images and masks, a .csv, digits, cifar10 or file.py:function"
    )
    return near or takes


def _below(root: Path) -> str:
    """A folder one level down that is laid out as it should be."""
    for entry in sorted(os.scandir(root), key=lambda entry: entry.name):
        if entry.is_dir() and entry.name not in sources.FOLDERS and (Path(entry.path) / "train").is_dir():
            return f"did you mean {entry.path}?"
    for wrong in ("valid", "validation"):
        if (root / wrong).is_dir() and not (root / "train").is_dir():
            return f"call its folders train/ and val/ ({wrong}/ is there)"
    return ""


def _files_like(path: str) -> str:
    folder = Path(path).parent
    return did_you_mean(Path(path).name, [file.name for file in folder.glob("*.py")])
