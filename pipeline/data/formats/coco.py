"""COCO's JSON: for each split a file of images, annotations and categories.

``data.root`` holds ``train.json``, ``val.json`` and ``test.json`` (or ``annotations/instances_train2017.json`` and the
like, or Roboflow's ``train/_annotations.coco.json``). Images lie beside the file, in ``images/``, or in a folder of
the split's name. Classes count from 0 in the order of the categories' numbers.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jetpress.deploy.errors import RecipeError
from jetpress.pipeline.data.formats.coco_rows import checked
from jetpress.pipeline.data.formats.marks import (
    Findings,
    Mark,
    Marked,
    Outlines,
    Points,
    Runs,
    Values,
    boxes_of,
    leads_to_file,
    pixels_of,
    text_of,
)
from jetpress.pipeline.data.formats.pictures import MOST_PIXELS, size_of
from jetpress.pipeline.recipe.sections.data import DataConfig
from jetpress.pipeline.recipe.sections.task import TaskConfig

POSES = ("keypoints", "pose")
SPLITS = {"train": "train", "val": "validation", "valid": "validation", "test": "test"}
Row = Mapping[str, Any]
COLUMNS = ("images", "annotations", "categories")
LARGEST = 1e9
"""No coordinate is larger; NaN and infinities are not below it either."""


def read(config: DataConfig, task: TaskConfig) -> Marked:
    """Every image of every split.

    Raises:
        RecipeError: one message for each fault, with the file and the number of the annotation.
    """
    root = Path(str(config.root))
    files = dict(_files(root, points=task.kind in POSES))
    if "train" not in files:
        raise RecipeError(f"{root} holds no train.json", "train.json, val.json, test.json in COCO's format")
    findings, splits, told = Findings(str(root)), dict[str, list[tuple[str, Mark]]](), dict[str, Row]()
    for split, path in files.items():
        told[split] = _told(path)
    if task.kind == "segmentation" and not any(
        one.get("segmentation") for one in told["train"]["annotations"]
    ):
        raise RecipeError(
            f"{files['train']}: no annotation has a segmentation", 'it has boxes: task.kind = "detection"'
        )
    order = _categories(told["train"], task.classes, files["train"])
    names = tuple(name for name, _ in order.values())
    numbers = {category: number for number, category in enumerate(order)}
    for split, path in files.items():
        _same_names(told[split], path, order, findings)
        splits[split] = list(_images(told[split], path, root, numbers, task.kind, findings))
    findings.tell()
    origin = {split: str(path.relative_to(root)) for split, path in files.items()}
    return Marked(splits, origin, *_words(order, names, task.kind))


def _files(root: Path, *, points: bool = False) -> Iterator[tuple[str, Path]]:
    for name, split in SPLITS.items():
        ways = (
            f"{name}.json",
            f"{name}/_annotations.coco.json",
            f"instances_{name}.json",
            f"annotations/{name}.json",
        )
        given = [root / way for way in ways if (root / way).is_file()]
        for content in ("person_keypoints", "instances")[not points :]:
            given += sorted(root.glob(f"annotations/{content}_{name}*.json"))
        if given:
            yield split, given[0]


def holds(root: Path) -> bool:
    """Whether a folder is laid out so."""
    return "train" in dict(_files(root))


def _told(path: Path) -> Row:
    try:
        told = json.loads(text_of(path))
    except json.JSONDecodeError as error:
        raise RecipeError(f"{path}:{error.lineno}: not JSON: {error.msg}", "mend the file") from None
    except (ValueError, RecursionError) as error:  # a number of thousands of digits, lists without end
        raise RecipeError(f"{path} is not JSON that can be read: {error}", "mend the file") from None
    missing = [key for key in COLUMNS if not isinstance(told, dict) or key not in told]
    if missing and missing != ["categories"]:
        raise RecipeError(
            f"{path} has no {', '.join(missing)}", "COCO's format: images, annotations, categories"
        )
    rows = checked({"categories": [], **told}, path)
    if missing:
        ids = sorted(
            {one["category_id"] for one in rows["annotations"] if one.get("category_id") is not None}
        )
        rows["categories"] = [{"id": one} for one in ids]
    return rows


def _categories(told: Row, wanted: Sequence[str], path: Path) -> dict[int, tuple[str, Row]]:
    """Number in the file -> name and the record, in the order of the classes."""
    known = {one["id"]: (str(one.get("name", one["id"])), one) for one in told["categories"]}
    if len(known) != len(told["categories"]):
        raise RecipeError(f"{path}: two categories have the same id", "give each its own")
    if not wanted:
        return dict(sorted(known.items()))
    by_name = {name: number for number, (name, _) in known.items()}
    if other := [name for name in by_name if name not in wanted]:
        raise RecipeError(
            f"{path}: category {other[0]!r} is not in task.classes", "leave task.classes out, or add it"
        )
    places = [by_name.get(name, -1 - n) for n, name in enumerate(wanted)]
    return {at: known.get(at, (name, {})) for at, name in zip(places, wanted, strict=True)}


def _same_names(told: Row, path: Path, order: Mapping[int, tuple[str, Row]], findings: Findings) -> None:
    """Splits that number their categories otherwise would be learnt as one class and judged as another."""
    for one in told["categories"]:
        name, record = order.get(one["id"], ("", {}))
        if "name" in one and "name" in record and one["name"] != name:
            findings.wrong(path, f"category {one['id']} is {one['name']!r}, in the training data {name!r}")


def _words(
    order: Mapping[int, tuple[str, Row]], names: tuple[str, ...], kind: str | None
) -> tuple[tuple[str, ...], tuple[tuple[int, int], ...]]:
    """Names of the classes, or of the points; and which of these change places in a mirror."""
    if kind == "segmentation":
        return ("background", *names), ()
    if kind not in POSES:
        return names, ()
    points = next(
        (tuple(map(str, one["keypoints"])) for _, one in order.values() if one.get("keypoints")), ()
    )
    other = {
        name: re.sub(r"left|right", lambda m: {"left": "right"}.get(m[0], "left"), name) for name in points
    }
    swaps = {
        tuple(sorted((points.index(a), points.index(b)))) for a, b in other.items() if a != b and b in points
    }
    return points if kind == "keypoints" else names, tuple((a, b) for a, b in sorted(swaps))


def _images(
    told: Row, path: Path, root: Path, numbers: Mapping[int, int], kind: str | None, findings: Findings
) -> Iterator[tuple[str, Mark]]:
    of_image = defaultdict[Any, list[Row]](list)
    known = {one.get("id") for one in told["images"]}
    if len(known) != len(told["images"]):
        findings.wrong(path, f"{len(told['images'])} images have {len(known)} different ids")
    seen = set[Any]()
    for one in told["annotations"]:
        place = f"{path}: annotation {one.get('id')}"
        if one.get("id") in seen and one.get("id") is not None:
            findings.note(place, "annotations have an id that another one has; both count")
        seen.add(one.get("id"))
        if one.get("image_id") not in known:
            findings.wrong(place, f"there is no image {one.get('image_id')}")
        elif one.get("category_id") not in numbers:
            findings.wrong(place, f"there is no category {one.get('category_id')}")
        else:
            of_image[one["image_id"]].append(one)
    count = max((len(one.get("keypoints") or ()) // 3 for one in told["annotations"]), default=0)
    for image in told["images"]:
        file = _file(str(image.get("file_name")), path, root)
        if file is None:
            findings.wrong(f"{path}: image {image.get('id')}", f"there is no {image.get('file_name')}")
            continue
        rows = of_image[image.get("id")]
        yield str(file), _mark(rows, numbers, kind, count, (path, str(file)), findings)


def _file(name: str, path: Path, root: Path) -> Path | None:
    ways = (
        path.parent,
        path.parent / "images",
        root,
        root / "images",
        *sorted(root.glob(f"*{path.stem.split('_')[-1]}*")),
    )
    return next((way / name for way in ways if leads_to_file(way / name)), None)


def _mark(
    rows: Sequence[Row],
    numbers: Mapping[int, int],
    kind: str | None,
    points: int,
    files: tuple[Path, str],
    findings: Findings,
) -> Mark:
    path, image = files
    labels = [numbers[one["category_id"]] for one in rows]
    if kind == "multilabel":
        return Values(np.isin(np.arange(len(numbers)), labels).astype(np.float32))
    if kind == "keypoints":
        return _pose(rows, points, path, findings)
    if kind == "segmentation":
        return _areas(rows, labels, files, findings)
    size, kept = size_of(image) or (1, 1), list[tuple[float, float, float, float]]()
    for one in rows:
        box = one.get("bbox")
        if not isinstance(box, list) or len(box) != 4 or not all(map(_is_number, box)):
            findings.wrong(f"{path}: annotation {one.get('id')}", f"bbox is {box}, not [x, y, width, height]")
            box = [0, 0, 0, 0]
        x, y, width, height = map(float, box)
        kept.append((x, y, x + width, y + height))
    crowd = [bool(one.get("iscrowd", 0)) for one in rows]
    posed = _points_of(rows, points, path, findings) if kind == "pose" else None
    return boxes_of(f"{path}: {image}", kept, labels, size, findings, crowd, posed)


def _areas(
    rows: Sequence[Row], labels: Sequence[int], files: tuple[Path, str], findings: Findings
) -> Outlines:
    """Outlines or coded pixels, the largest first, so that small ones lie on top; crowds are void."""
    kept, (path, image) = list[tuple[float, int, tuple[Any, ...] | Runs]](), files
    size = size_of(image)
    for one, label in zip(rows, labels, strict=True):
        shape, place = one.get("segmentation"), f"{path}: annotation {one.get('id')}"
        if one.get("iscrowd"):
            findings.note(place, "areas are crowds: what is there is neither learnt nor judged")
            label = -2
        area = _runs(shape) if isinstance(shape, dict) else _outlines(shape)
        if area is None:
            findings.wrong(place, "has no segmentation that can be read")
        elif isinstance(area, Runs) and size is not None and area.size != size[::-1]:
            height, width = area.size
            findings.wrong(place, f"is coded for {width} x {height}, its image is {size[0]} x {size[1]}")
        else:
            kept.append((float(one.get("area") or 0), label + 1, area))
    kept.sort(key=lambda one: -one[0])
    return Outlines(tuple(one[1] for one in kept), tuple(one[2] for one in kept), 0)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < LARGEST


def _outlines(shape: object) -> tuple[Any, ...] | None:
    """Of each part its corners; None where they are no pairs of numbers."""
    if not isinstance(shape, list) or not shape:
        return None
    if not all(
        isinstance(part, list) and len(part) % 2 == 0 and all(map(_is_number, part)) for part in shape
    ):
        return None
    return tuple(np.array(part, np.float32).reshape(-1, 2) for part in shape)


def _runs(shape: Row) -> Runs | None:
    """Run lengths, compressed or as a list; None where they are neither."""
    from pycocotools import mask

    try:
        height, width = (int(side) for side in shape["size"])
        counts = shape["counts"]
        if not isinstance(counts, list | str) or not (
            height > 0 and width > 0 and height * width <= MOST_PIXELS
        ):
            return None
        if isinstance(counts, list):
            counts = mask.frPyObjects({"size": [height, width], "counts": counts}, height, width)["counts"]
        found = Runs((height, width), counts.encode() if isinstance(counts, str) else bytes(counts))
        pixels_of(found)  # it would raise in the middle of a training
        return found
    except (KeyError, TypeError, ValueError, OverflowError):
        return None


def _pose(rows: Sequence[Row], count: int, path: Path, findings: Findings) -> Points:
    """Points of the largest object that has some."""
    posed = [one for one in rows if any(one.get("keypoints") or ())]
    if len(posed) > 1:
        findings.note(path, "images show several objects: the points of the largest are taken")
    if not posed:
        findings.note(path, "images have no points")
        return Points(np.zeros((count, 3), np.float32))
    largest = max(posed, key=lambda one: float(one.get("area") or 0))
    return Points(_points_of([largest], count, path, findings)[0])


def _points_of(rows: Sequence[Row], count: int, path: Path, findings: Findings) -> NDArray[np.float32]:
    """Of each object ``[points, 3]``: x, y, whether it is there; of those that have none: nowhere."""
    found = np.zeros((len(rows), count, 3), np.float32)
    for one, row in zip(found, rows, strict=True):
        given = row.get("keypoints") or [0] * 3 * count
        if len(given) != 3 * count:
            wanted = f"keypoints are {len(given)} numbers, not x, y, visibility of each of {count} points"
            findings.wrong(f"{path}: annotation {row.get('id')}", wanted)
            continue
        one[:] = np.array(given, np.float32).reshape(-1, 3)
        one[:, 2] = one[:, 2] > 0
    return found
