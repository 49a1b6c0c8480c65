"""Names that a recipe may use and that stand in modules which import torch: read from the source, in milliseconds."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import TYPE_CHECKING, Literal

PIPELINE = Path(__file__).resolve().parents[2]


def keys(file: str, table: str) -> tuple[str, ...]:
    """The keys of the dict ``table`` in a file below ``pipeline/``.

    Raises:
        LookupError: there is no such table of plain strings.
    """
    for node in ast.parse((PIPELINE / file).read_bytes()).body:
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.target.id == table:
            assert isinstance(node.value, ast.Dict)
            return tuple(str(key.value) for key in node.value.keys if isinstance(key, ast.Constant))
    raise LookupError(f"{file} has no table {table}")


if TYPE_CHECKING:
    CriterionName = str
    TaskName = str
else:
    CriterionName = Literal[keys("pruning/criteria.py", "CRITERIA")]
    TaskName = Literal[keys("tasks/__init__.py", "TASKS")]
