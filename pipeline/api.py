"""What ``import jetpress`` offers: the names, and where they come from. Each is imported when it is asked for."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jetpress.pipeline.compare import compare
    from jetpress.pipeline.library.exporting import check, equivalent, export
    from jetpress.pipeline.recipe.reading import Recipe
    from jetpress.pipeline.run import plan, run

OFFERED = {
    "Recipe": "recipe.reading",
    "check": "library.exporting",
    "compare": "compare",
    "equivalent": "library.exporting",
    "export": "library.exporting",
    "plan": "run",
    "run": "run",
}
"""Name -> the module below ``pipeline`` that has it."""
__all__ = ["Recipe", "check", "compare", "equivalent", "export", "plan", "run"]


def __getattr__(name: str) -> Any:
    """Torch takes seconds: only who asks for a name that needs it waits for it."""
    if name not in OFFERED:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"jetpress.pipeline.{OFFERED[name]}"), name)
