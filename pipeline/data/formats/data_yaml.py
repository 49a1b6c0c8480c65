"""The data.yaml of YOLO's layout: where its data lies. Imports no torch: only its digest may be wanted."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from jetpress.deploy.errors import RecipeError
from jetpress.pipeline.data.formats.marks import text_of

SPLITS = {"train": "train", "val": "validation", "test": "test"}
"""Key of the file -> split."""
MOST = 1_000_000
"""Values in a file, however short it is."""


def described(root: Path) -> Path:
    """The data.yaml that a root is, or holds."""
    if root.suffix in (".yaml", ".yml"):
        return root
    found = [path for name in ("data.yaml", "data.yml", "dataset.yaml") if (path := root / name).is_file()]
    found = found or sorted([*root.glob("*.yaml"), *root.glob("*.yml")])
    if len(found) != 1:
        raise RecipeError(
            f"{root} holds {'no' if not found else len(found)} data.yaml",
            "set data.root to the file, or to its folder",
        )
    return found[0]


def folders(root: Path) -> Iterator[Path]:
    """Where images and labels lie; of a list of images all that its paths may lead to."""
    path = described(root)
    told = told_by(path)
    base = base_of(told, path.parent)
    for key in SPLITS:
        given = told.get(key)
        for one in given if isinstance(given, list) else [given]:
            if one:
                yield from _folders_of(str(one), base, path.parent)


def _folders_of(split: str, base: Path, folder: Path) -> Iterator[Path]:
    places = base / split, folder / split.removeprefix("../")
    images = next((place for place in places if place.is_dir()), None)
    if images is not None:
        yield images
        if (labels := labels_of(images / "one").parent).is_dir():
            yield labels
        return
    yield base
    if not places[0].resolve().is_relative_to(base.resolve()):
        yield places[0].parent


def labels_of(image: Path) -> Path:
    """The file of its objects."""
    parts = list(image.with_suffix(".txt").parts)
    at = next((n for n in range(len(parts) - 2, -1, -1) if parts[n] == "images"), None)
    if at is not None:
        parts[at] = "labels"
    return Path(*parts)


def told_by(path: Path) -> Mapping[str, Any]:
    """Its table.

    Raises:
        RecipeError: it is not there, or is none.
    """
    try:
        told = yaml.safe_load(text_of(path))
    except yaml.YAMLError as error:
        raise RecipeError(
            f"{path} is not YAML: {str(error).replace(chr(10), ' ')}", "mend the file"
        ) from None
    except (ValueError, RecursionError) as error:  # a number of thousands of digits, lists without end
        raise RecipeError(f"{path} is not YAML that can be read: {error}", "mend the file") from None
    if not isinstance(told, dict):
        raise RecipeError(f"{path} is no table", "it has the keys train, val and names")
    if _is_endless(told):
        raise RecipeError(
            f"{path} stands for more than {MOST} values", "its aliases multiply: write it without"
        )
    return told


def _is_endless(told: object) -> bool:
    """An alias is one word and stands for a whole list, which may hold aliases."""
    todo, count = [told], 0
    while todo and count <= MOST:
        one = todo.pop()
        inner = list(one.values()) if isinstance(one, dict) else one if isinstance(one, list) else []
        todo += inner
        count += 1 + len(inner)
    return count > MOST


def base_of(told: Mapping[str, Any], folder: Path) -> Path:
    """Ultralytics takes ``path`` from its own folder of data sets; it counts here where it is one."""
    given = folder / str(told.get("path") or ".")
    return given if given.is_dir() else folder
