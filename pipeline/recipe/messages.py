"""Where a recipe is wrong, and what its writer may have meant."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, fields, is_dataclass
from functools import cache
from typing import get_args, get_type_hints

from pydantic import ValidationError

from jetpress.deploy.errors import RecipeError
from jetpress.deploy.suggest import closest

SHOWN = 80
"""Characters of a value that a message repeats."""


@dataclass(frozen=True)
class Written:
    """What a recipe was written as: a file with its text, and what ``--set`` put in its place."""

    where: str = "recipe"
    text: str = ""
    overrides: tuple[str, ...] = ()

    def place(self, path: str) -> str:
        """Where a dotted key is set: the last ``--set`` that names it, else file and line, else the file."""
        keys = path.split(".") if path else []
        for override in reversed(self.overrides):
            named = keys_of(override)
            if keys and all(a == b for a, b in zip(named, keys, strict=False)):
                return shown_set(override)
        line = _line_of(keys, self.text)
        return f"{self.where}:{line}" if line else self.where


def keys_of(override: str) -> list[str]:
    """The key of ``section.key=value``, in its parts."""
    return [part.strip() for part in override.partition("=")[0].split(".")]


def shown_set(override: str) -> str:
    """An override as it was given, cut where it is long."""
    return f"--set {override[:SHOWN]!r}" + ("..." if len(override) > SHOWN else "")


def explain(error: ValidationError, written: Written, root: type) -> RecipeError:
    """The first thing that is wrong: where it is set, what was expected, the closest valid name."""
    # An unknown key first: a misspelt name is also why another one is missing.
    errors = error.errors(include_url=False)
    first = next((e for e in errors if e["type"] == "unexpected_keyword_argument"), errors[0])
    keys = [str(part) for part in first["loc"]]
    path = ".".join(keys)
    place = written.place(path)
    if first["type"] == "unexpected_keyword_argument":
        valid = ", ".join(sorted(_fields_at(keys[:-1], root)))
        return RecipeError(
            f"{place}: there is no key {path[:SHOWN]!r}",
            f"{_meant(keys, root) or 'take it out.'} Valid here: {valid}",
        )
    found = json.dumps(first.get("input"), default=str)
    also = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
    return RecipeError(
        f"{place}: {path or 'recipe'} = {found[:SHOWN]}: {first['msg']}{also}",
        "`jetpress docs recipe` describes every key",
    )


def _meant(keys: Sequence[str], root: type) -> str:
    """All tables that have a key of just this name; else the nearest name where it stands (at the top: anywhere)."""
    *above, name = keys
    elsewhere: dict[str, list[str]] = {}
    for table in _fields_at([], root):
        for key in _fields_at([table], root):
            elsewhere.setdefault(key, []).append(f"{table}.{key}")
    here = {key: [key] for key in _fields_at(above, root)}
    near = here if above else elsewhere | here
    found = elsewhere.get(name) or near.get(closest(name, near) or "", [])
    return f"did you mean {' or '.join(map(repr, found))}?" if found else ""


def _fields_at(keys: Sequence[str], root: type) -> list[str]:
    """The keys of a table; none where ``keys`` lead to something else."""
    kind: type | None = root
    for key in keys:
        if kind is None or key.isdigit():  # of a list of tables
            continue
        hint = _hints(kind).get(key)
        kind = next(
            (one for one in (hint, *get_args(hint)) if isinstance(one, type) and is_dataclass(one)), None
        )
    return [field.name for field in fields(kind)] if kind is not None and is_dataclass(kind) else []


_hints = cache(get_type_hints)
"""Evaluating them takes a millisecond, and a misspelt key asks for all of them."""


def _line_of(keys: Sequence[str], text: str) -> int | None:
    """The line of a dotted key in TOML text, by a plain reading of its tables; None if it is not there."""
    table: list[str] = []
    for number, line in enumerate(text.splitlines(), 1):
        if header := re.match(r"\s*\[+\s*([^\]]+?)\s*\]+", line):
            table = header.group(1).split(".")
        elif key := re.match(r"\s*([A-Za-z0-9_.\-]+)\s*=", line):
            named = [part for part in keys if not part.isdigit()]
            if table + key.group(1).split(".") == named[: len(table) + key.group(1).count(".") + 1]:
                return number
    return None
