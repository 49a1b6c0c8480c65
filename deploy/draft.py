"""A folder that gets its name when all in it is on the disk, and is gone where that fails."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from jetpress.deploy.errors import RecipeError
from jetpress.deploy.runner.system.files import settle, settle_all

SUFFIX = ".jetpress.draft"


@contextmanager
def folder(place: Path) -> Iterator[Path]:
    """The draft of ``place``, which must not be there.

    Drafts of calls that were killed are removed by the next one beside them: nobody holds them any more.

    Raises:
        RecipeError: it is there.
    """
    if place.exists():
        raise RecipeError(f"{place} is there already", "name another folder with --out")
    place.parent.mkdir(parents=True, exist_ok=True)
    for left in place.parent.glob(f".*{SUFFIX}"):
        with _held(left) as is_ours:
            if is_ours:
                shutil.rmtree(left, ignore_errors=True)
    draft = place.with_name(f".{place.name}{SUFFIX}")
    draft.mkdir()
    try:
        with _held(draft):
            yield draft
        settle_all(str(draft))
        draft.rename(place)
        settle(str(place.parent))
    finally:
        shutil.rmtree(draft, ignore_errors=True)


@contextmanager
def _held(folder: Path) -> Iterator[bool]:
    """Whether the folder is ours alone, for as long as this lasts; a process that dies lets go."""
    held = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            yield False
            return
        yield True
    finally:
        os.close(held)
