"""What the rows of COCO's JSON hold: their types are asked for once, before anything counts on them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import (
    Any,
    Required,  # pydantic takes no others on Python 3.11
)

from pydantic import ConfigDict, FiniteFloat, TypeAdapter, ValidationError, with_config
from typing_extensions import TypedDict

from jetpress.deploy.errors import RecipeError

Number = int | str
"""What rows are named by."""
STRICT = ConfigDict(strict=True, extra="ignore")


@with_config(STRICT)
class Image(TypedDict, total=False):
    """One of ``images``."""

    id: Number
    file_name: Required[str]


@with_config(STRICT)
class Category(TypedDict, total=False):
    """One of ``categories``."""

    id: Required[int]
    name: str
    keypoints: list[str] | None


@with_config(STRICT)
class Annotation(TypedDict, total=False):
    """One of ``annotations``; its box and its area are looked at where they are read, and named by its id."""

    id: Number | None
    image_id: Number
    category_id: int | None
    bbox: Any
    segmentation: Any
    area: FiniteFloat | None
    iscrowd: bool | int
    keypoints: list[FiniteFloat] | None


READERS: dict[str, TypeAdapter[Any]] = {
    "images": TypeAdapter(list[Image]),
    "annotations": TypeAdapter(list[Annotation]),
    "categories": TypeAdapter(list[Category]),
}


def checked(told: Mapping[str, Any], path: Path) -> dict[str, list[Any]]:
    """The rows with the types that they should have.

    Raises:
        RecipeError: a field is missing or of another type; which, and in which row.
    """
    rows = dict[str, list[Any]]()
    for name, reader in READERS.items():
        try:
            rows[name] = reader.validate_python(told[name])
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            place = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in first["loc"][:2])
            raise RecipeError(f"{path}: {name}{place}: {first['msg']}", "see COCO's format") from None
    return rows
