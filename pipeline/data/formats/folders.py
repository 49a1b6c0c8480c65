"""Every file below a folder, whatever lies there: links that lead in circles, names that are no text. No torch."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from jetpress.deploy.errors import RecipeError


def files_below(root: Path) -> Iterator[Path]:
    """In the order of names, folder by folder; links are followed.

    Raises:
        RecipeError: a link leads to a folder that it lies in, or a name is not UTF-8.
    """
    above: dict[Path, frozenset[tuple[int, int]]] = {}
    for where, folders, names in os.walk(root, followlinks=True):
        folders.sort()
        _refuse_odd(where, [*folders, *names])
        here, before = _identity(where), above.pop(Path(where), frozenset())
        if here in before:
            raise RecipeError(
                f"{where} is a link to a folder that it lies in",
                "remove it: its files would be met without end",
            )
        above.update((Path(where, one), before | {here}) for one in folders)
        yield from (Path(where, name) for name in sorted(names))


def _identity(folder: str) -> tuple[int, int]:
    known = Path(folder).stat()
    return known.st_dev, known.st_ino


def _refuse_odd(where: str, names: list[str]) -> None:
    """A report, a class list and an engine's labels could not repeat it."""
    for name in names:
        try:
            name.encode()
        except UnicodeEncodeError:
            raise RecipeError(
                f"{where} holds {os.fsencode(name)!r}, which is no name in UTF-8",
                "rename it: `convmv -f latin1 -t utf8` does so for whole folders",
            ) from None
