"""A folder that gets its name when all in it is on the disk, and is gone where that fails."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from jetpress.deploy.errors import RecipeError


@contextmanager
def folder(place: Path) -> Iterator[Path]:
    """The draft of ``place``, which must not be there.

    Raises:
        RecipeError: it is.
    """
    if place.exists():
        raise RecipeError(f"{place} is there already", "name another folder with --out")
    place.parent.mkdir(parents=True, exist_ok=True)
    draft = place.with_name(f".{place.name}.draft")
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir()
    try:
        yield draft
        for path in [*draft.rglob("*"), draft]:
            _settle(path)
        draft.rename(place)
        _settle(place.parent)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _settle(path: Path) -> None:
    held = os.open(path, os.O_RDONLY)
    try:
        os.fsync(held)
    finally:
        os.close(held)
