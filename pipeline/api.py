"""What ``import jetpress`` offers: the names, and where they come from. Each is imported when it is asked for."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jetpress.pipeline.calling import plan, run
    from jetpress.pipeline.compare import compare
    from jetpress.pipeline.library.exporting import check, equivalent, export
    from jetpress.pipeline.library.sparsifying import fold, sparsify
    from jetpress.pipeline.library.tuning import distillation, fine_tune
    from jetpress.pipeline.recipe.reading import Recipe

OFFERED = {
    "Recipe": "recipe.reading",
    "check": "library.exporting",
    "compare": "compare",
    "distillation": "library.tuning",
    "equivalent": "library.exporting",
    "export": "library.exporting",
    "fine_tune": "library.tuning",
    "fold": "library.sparsifying",
    "plan": "calling",
    "run": "calling",
    "sparsify": "library.sparsifying",
}
"""Name -> the module below ``pipeline`` that has it."""
__all__ = [
    "Recipe",
    "check",
    "compare",
    "distillation",
    "equivalent",
    "export",
    "fine_tune",
    "fold",
    "plan",
    "run",
    "sparsify",
]


def __getattr__(name: str) -> Any:
    """Torch takes seconds: only who asks for a name that needs it waits for it."""
    if name not in OFFERED:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"jetpress.pipeline.{OFFERED[name]}"), name)
