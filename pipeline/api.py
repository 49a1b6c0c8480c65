"""What ``import jetpress`` offers: the names, and where they come from. Each is imported when it is asked for."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jetpress.pipeline.calling import plan, run
    from jetpress.pipeline.compare import compare
    from jetpress.pipeline.library.exporting import check, equivalent, export
    from jetpress.pipeline.library.pruned import Pruned
    from jetpress.pipeline.library.pruning import prune
    from jetpress.pipeline.library.quantizing import quantize
    from jetpress.pipeline.library.rounds import Rounds, rounds
    from jetpress.pipeline.library.saving import load, save
    from jetpress.pipeline.library.sparsifying import fold, sparsify
    from jetpress.pipeline.library.tuning import distillation, fine_tune
    from jetpress.pipeline.recipe.reading import Recipe
    from jetpress.pipeline.run_onnx import engine

OFFERED = {
    "Pruned": "library.pruned",
    "Recipe": "recipe.reading",
    "Rounds": "library.rounds",
    "check": "library.exporting",
    "compare": "compare",
    "distillation": "library.tuning",
    "engine": "run_onnx",
    "equivalent": "library.exporting",
    "export": "library.exporting",
    "fine_tune": "library.tuning",
    "fold": "library.sparsifying",
    "load": "library.saving",
    "plan": "calling",
    "prune": "library.pruning",
    "quantize": "library.quantizing",
    "rounds": "library.rounds",
    "run": "calling",
    "save": "library.saving",
    "sparsify": "library.sparsifying",
}
"""Name -> the module below ``pipeline`` that has it."""
__all__ = [
    "Pruned",
    "Recipe",
    "Rounds",
    "check",
    "compare",
    "distillation",
    "engine",
    "equivalent",
    "export",
    "fine_tune",
    "fold",
    "load",
    "plan",
    "prune",
    "quantize",
    "rounds",
    "run",
    "save",
    "sparsify",
]


def __getattr__(name: str) -> Any:
    """Torch takes seconds: only who asks for a name that needs it waits for it."""
    if name not in OFFERED:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"jetpress.pipeline.{OFFERED[name]}"), name)
