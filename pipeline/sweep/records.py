"""What is known of each cell of a sweep, in its folder: one small file a cell, written whole or not at all.

::

    runs/boards-sweep-1a2b3c4d/
      cells/<id>/cell.json     how it ended; missing: not yet
      cells/<id>/recipe.toml   what it runs
      cells/<id>/log           what it said
      results.json, results.parquet, index.html
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal

from pydantic import JsonValue, TypeAdapter, ValidationError

from jetpress.pipeline.store.artifact import canonical
from jetpress.pipeline.store.store import write_atomically

FILE = "cell.json"
State = Literal["done", "failed", "refused", "pruned", "waiting"]
BAD = ("failed",)


@dataclass(frozen=True)
class Record:
    """One cell, and how it ended."""

    id: str
    name: str
    recipe: str
    model: str | None
    target: str
    device: str | None
    values: Mapping[str, JsonValue]
    state: State = "waiting"
    exit_code: int | None = None
    """That its run ended with."""
    why: str = ""
    """What went wrong, or why it cannot be."""
    hint: str = ""
    folder: str = ""
    """Of its run."""
    seconds: float = 0.0
    tries: int = 0
    log: str = ""
    command: str = ""
    """That makes it again."""
    figures: Mapping[str, JsonValue] = field(default_factory=dict)
    """What was measured: see :mod:`jetpress.pipeline.sweep.table`."""


def read(folder: Path, identity: str) -> Record | None:
    """How a cell ended; None: not yet, or its file is damaged."""
    try:
        return _adapter.validate_json((folder / "cells" / identity / FILE).read_bytes())
    except (OSError, ValidationError):
        return None


_adapter = TypeAdapter(Record)


def write(folder: Path, record: Record) -> None:
    """Keep it."""
    write_atomically(folder / "cells" / record.id / FILE, canonical(asdict(record)))


def read_all(folder: Path) -> list[Record]:
    """All cells of a sweep's folder as they were listed last.

    Raises:
        OSError, ValueError: there are none.
    """
    return TypeAdapter(list[Record]).validate_python(json.loads((folder / "results.json").read_bytes()))
