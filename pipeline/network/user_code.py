"""Functions named in a recipe: ``path/to/file.py:function``."""

from __future__ import annotations

import hashlib
import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from jetpress.deploy.errors import RecipeError


def split(reference: str) -> tuple[Path, str]:
    """The file and the function's name."""
    path, _, function = reference.rpartition(":")
    return Path(path), function


def digest(reference: str) -> str:
    """SHA-256 of the file: it is part of every result that the function had a hand in."""
    return hashlib.sha256(_read(split(reference)[0])).hexdigest()


def load(reference: str) -> Callable[..., Any]:
    """Import the file and give the function.

    This runs the user's own file, as naming it in the recipe asks for. Modules that lie beside it are found first, as
    when Python runs a script.

    Raises:
        RecipeError: no such file, no such function, or the file does not import.
    """
    path, function = split(reference)
    name = f"jetpress_user_{hashlib.sha256(str(path).encode() + _read(path)).hexdigest()[:16]}"
    module = sys.modules.get(name)
    if module is None:
        spec = importlib.util.spec_from_file_location(name, path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        if (beside := str(path.resolve().parent)) not in sys.path:
            sys.path.insert(0, beside)
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
