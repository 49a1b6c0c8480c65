"""Pascal VOC: ``JPEGImages/``, ``Annotations/*.xml``, and ``ImageSets/Main/{train,val,test}.txt``.

Corners in the XML count from 1 and belong to the box. Without ImageSets all images are training data. Segmentation:
``SegmentationClass/*.png``, in the palette of VOC, 255 is void.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree as ET

import numpy as np

from jetpress.deploy.errors import RecipeError
from jetpress.pipeline.data.formats.marks import (
    Findings,
    Mark,
    Marked,
    MaskFile,
    Values,
    boxes_of,
    leads_to_file,
    text_of,
)
from jetpress.pipeline.data.formats.pictures import SUFFIXES, size_of
from jetpress.pipeline.recipe.sections.data import DataConfig
from jetpress.pipeline.recipe.sections.task import TaskConfig

SPLITS = {"train": "train", "val": "validation", "test": "test"}
IMAGES, BOXES, MASKS = "JPEGImages", "Annotations", "SegmentationClass"
Objects = list[tuple[str, tuple[float, float, float, float], bool]]
"""Name, corners in pixels from 0, whether it is hard to tell."""


def read(config: DataConfig, task: TaskConfig) -> Marked:
    """Every image of the splits.

    Raises:
        RecipeError: one message for each fault, with the file.
    """
    root = Path(str(config.root))
    folder = MASKS if task.kind == "segmentation" else BOXES
    for name in (IMAGES, folder):
        if not (root / name).is_dir():
            raise RecipeError(f"there is no folder {root / name}", f"Pascal VOC has {IMAGES}/ and {folder}/")
    findings, listed = Findings(str(root)), dict(_listed(root, "Segmentation" if folder == MASKS else "Main"))
    if folder == MASKS:
        splits = {
            split: [(str(image), MaskFile(str(root / MASKS / f"{image.stem}.png"))) for image in images]
            for split, images in _found(root, listed, MASKS, ".png", findings).items()
        }
        findings.tell()
        return Marked(splits, {split: f"{split} of {root.name}" for split in splits}, task.classes)
    told = {
        split: [(image, _objects(root / BOXES / f"{image.stem}.xml", findings)) for image in images]
        for split, images in _found(root, listed, BOXES, ".xml", findings).items()
    }
    named = sorted({name for rows in told.values() for _, objects in rows for name, _, _ in objects})
    names = task.classes or tuple(named)
    if other := [name for name in named if name not in names]:
        raise RecipeError(
            f"{root}: class {other[0]!r} is not in task.classes", "leave task.classes out, or add it"
        )
    marked = {
        split: [(str(p), _mark(p, o, names, task.kind, findings)) for p, o in rows]
        for split, rows in told.items()
    }
    findings.tell()
    return Marked(marked, {split: f"{split} of {root.name}" for split in marked}, names)


def holds(root: Path) -> bool:
    """Whether a folder is laid out so."""
    return (root / IMAGES).is_dir() and ((root / BOXES).is_dir() or (root / MASKS).is_dir())


def _listed(root: Path, kind: str) -> Iterator[tuple[str, list[str]]]:
    """Names of the images of each split."""
    for name, split in SPLITS.items():
        path = root / "ImageSets" / kind / f"{name}.txt"
        if path.is_file():
            yield split, [line.split()[0] for line in text_of(path).splitlines() if line.strip()]


def _found(
    root: Path, listed: dict[str, list[str]], folder: str, suffix: str, findings: Findings
) -> dict[str, list[Path]]:
    """The images of each split; without lists all that have a file in ``folder``."""
    there = {path.stem: path for path in sorted((root / IMAGES).iterdir()) if path.suffix.lower() in SUFFIXES}
    given = listed or {"train": sorted(path.stem for path in (root / folder).glob(f"*{suffix}"))}
    found = dict[str, list[Path]]()
    for split, names in given.items():
        for name in names:
            if name not in there:
                findings.wrong(root / "ImageSets" / split, f"there is no image {IMAGES}/{name}")
            elif not leads_to_file(root / folder / f"{name}{suffix}"):
                findings.wrong(there[name], f"has no {folder}/{name}{suffix}")
            else:
                found.setdefault(split, []).append(there[name])
    return found


def _objects(path: Path, findings: Findings) -> Objects:
    found = Objects()
    try:
        tree = ET.fromstring(text_of(path))  # noqa: S314  expat of today expands nothing from outside
    except ET.ParseError as error:
        findings.wrong(f"{path}:{error.position[0]}", f"not XML: {error.args[0]}")
        return found
    for number, one in enumerate(tree.iter("object"), 1):
        name, box = one.findtext("name"), one.find("bndbox")
        try:
            corners = [float(str(box.findtext(side))) for side in ("xmin", "ymin", "xmax", "ymax")]  # type: ignore[union-attr]
        except (AttributeError, ValueError):
            findings.wrong(path, f"object {number} has no box of four numbers")
            continue
        x1, y1, x2, y2 = corners
        hard = (one.findtext("difficult") or "0").strip() == "1"
        found.append(((name or "").strip(), (x1 - 1, y1 - 1, x2, y2), hard))
    return found


def _mark(
    image: Path, objects: Objects, names: tuple[str, ...], kind: str | None, findings: Findings
) -> Mark:
    labels = [names.index(name) for name, _, _ in objects]
    if kind == "multilabel":
        return Values(np.isin(np.arange(len(names)), labels).astype(np.float32))
    crowd = [hard for _, _, hard in objects]
    if any(crowd):
        findings.note(
            image, "objects are marked as difficult: finding them is neither right nor wrong", sum(crowd)
        )
    return boxes_of(
        image, [box for _, box, _ in objects], labels, size_of(str(image)) or (1, 1), findings, crowd
    )
