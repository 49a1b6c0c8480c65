"""Functions named in a recipe: ``path/to/file.py:function``."""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import json
import os
import sys
import sysconfig
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from jetpress.deploy.errors import RecipeError

OURS = "jetpress"
"""Counts by its own fingerprint, wherever it lies."""
IN_MEMORY = "in-memory-"
"""What the file of a function is called that no file holds."""
_kept: dict[str, tuple[Callable[..., Any], str]] = {}


def keep(function: Callable[..., Any], name: str, digest: str) -> str:
    """A reference to a function that this process holds in memory: it is loaded as those in files are.

    Args:
        function: whatever a recipe may name.
        name: that messages call it by; an identifier.
        digest: SHA-256 of all that decides what it gives.
    """
    reference = f"{IN_MEMORY}{digest[:16]}.py:{name}"
    _kept[reference] = function, digest
    return reference


def _is_kept(reference: str) -> bool:
    """Whether a reference is to a function in memory, which is there.

    Raises:
        RecipeError: it is to one of another process.
    """
    if not split(reference)[0].name.startswith(IN_MEMORY):
        return False
    if reference not in _kept:
        raise RecipeError(
            f"{reference} was given in memory by a program that ran then",
            "run that program again: jetpress.run(model=..., data=...) finds what was made and goes on",
        )
    return True


def split(reference: str) -> tuple[Path, str]:
    """The file and the function's name."""
    path, _, function = reference.rpartition(":")
    return Path(path), function


def digest(reference: str) -> str:
    """SHA-256 of the file and of all files of the user's own that it imports: they have a hand in what it gives."""
    if _is_kept(reference):
        return _kept[reference][1]
    path = split(reference)[0]
    found = {
        os.path.relpath(file, path.parent): hashlib.sha256(_read(file)).hexdigest() for file in files(path)
    }
    return hashlib.sha256(json.dumps(found, sort_keys=True).encode()).hexdigest()


def files(path: Path) -> set[Path]:
    """A user's file, and every file of the user's own that it imports, directly or not, at its top or late.

    What is installed as a library is none: it counts by its version.
    """
    found, todo, folders = set[Path](), [path], [*roots(path), *_own_folders()]
    while todo:
        file = todo.pop()
        if file not in found:
            found.add(file)
            todo += [one for one in _imported(file, folders) if any(map(one.is_relative_to, folders))]
    return found


def roots(path: Path) -> list[Path]:
    """Where modules are looked for before all others: beside the file, and in the folder above it that has a recipe."""
    above = next((folder for folder in path.absolute().parents if any(folder.glob("*.toml"))), None)
    return [path.parent] if above in (None, path.absolute().parent) else [path.parent, Path(str(above))]


def _own_folders() -> list[Path]:
    """The rest of where Python looks (``PYTHONPATH``, the working folder, what is installed for editing), without
    libraries."""
    libraries = [
        Path(place).resolve() for place in {sys.prefix, sys.base_prefix, *sysconfig.get_paths().values()}
    ]
    known = [Path(entry).resolve() for entry in sys.path if not entry or Path(entry).is_dir()]
    return [
        one
        for one in known
        if not any(one.is_relative_to(library) for library in libraries) and not _has_libraries(one)
    ]


def _has_libraries(folder: Path) -> bool:
    """Whether pip installed something there: another environment's, or what ``--target`` named."""
    return any(folder.glob("*.dist-info"))


def _imported(file: Path, folders: Sequence[Path]) -> Iterator[Path]:
    """The files that a file's imports may mean. One that does not parse says so when it is loaded."""
    try:
        nodes = list(ast.walk(ast.parse(_read(file))))
    except (SyntaxError, ValueError):
        return
    for node in nodes:
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield from _first(folders, alias.name.split("."))
        elif isinstance(node, ast.ImportFrom) and node.level <= len(file.parents):
            base = node.module.split(".") if node.module else []
            for alias in node.names:
                parts = [*base, alias.name]
                yield from (
                    _modules(file.parents[node.level - 1], parts) if node.level else _first(folders, parts)
                )


def _first(folders: Sequence[Path], parts: list[str]) -> list[Path]:
    """Of the first folder that has such a module."""
    if parts[:1] == [OURS]:
        return []
    return next((found for folder in folders if (found := list(_modules(folder, parts)))), [])


def _modules(folder: Path, parts: list[str]) -> Iterator[Path]:
    """The files of a dotted name and of the packages that it lies in."""
    for count in range(len(parts) + 1):
        place = folder.joinpath(*parts[:count])
        candidates = (place / "__init__.py", place.with_suffix(".py")) if count else ()
        yield from (one for one in candidates if one.is_file())


def load(reference: str) -> Callable[..., Any]:
    """Import the file and give the function.

    This runs the user's own file, as naming it in the recipe asks for. Modules that lie beside it or beside the recipe
    are found first, as when Python runs a script.

    Raises:
        RecipeError: no such file, no such function, or the file does not import.
    """
    if _is_kept(reference):
        return _kept[reference][0]
    path, function = split(reference)
    name = f"jetpress_user_{hashlib.sha256(str(path).encode() + _read(path)).hexdigest()[:16]}"
    module = sys.modules.get(name)
    if module is None:
        spec = importlib.util.spec_from_file_location(name, path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        for folder in reversed(roots(path.resolve())):
            if str(folder) not in sys.path:
                sys.path.insert(0, str(folder))
        try:
            spec.loader.exec_module(module)
        except Exception as error:
            del sys.modules[name]
            raise RecipeError(
                f"{path} does not import: {type(error).__name__}: {error}", "mend the file"
            ) from error
    found = getattr(module, function, None)
    if not callable(found):
        raise RecipeError(f"{path} has no function {function!r}", "check the name behind the colon")
    return found  # type: ignore[no-any-return]


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise RecipeError(
            f"{path} cannot be read: {error.strerror}", "paths are relative to the recipe"
        ) from None
