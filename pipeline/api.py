"""What ``import jetpress`` offers: the names, and where they come from. Each is imported when it is asked for."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jetpress.pipeline.calling import plan, run
    from jetpress.pipeline.compare import compare
    from jetpress.pipeline.functions.exporting import check, equivalent, export
    from jetpress.pipeline.functions.pruned import Pruned
    from jetpress.pipeline.functions.pruning import prune
    from jetpress.pipeline.functions.quantizing import quantize
    from jetpress.pipeline.functions.rounds import Rounds, rounds
    from jetpress.pipeline.functions.saving import load, save
    from jetpress.pipeline.functions.sparsifying import fold, sparsify
    from jetpress.pipeline.functions.tuning import distillation, fine_tune
    from jetpress.pipeline.recipe.reading import Recipe
    from jetpress.pipeline.run_onnx import engine

OFFERED = {
    "Pruned": "functions.pruned",
    "Recipe": "recipe.reading",
    "Rounds": "functions.rounds",
    "check": "functions.exporting",
    "compare": "compare",
    "distillation": "functions.tuning",
    "engine": "run_onnx",
    "equivalent": "functions.exporting",
    "export": "functions.exporting",
    "fine_tune": "functions.tuning",
    "fold": "functions.sparsifying",
    "load": "functions.saving",
    "plan": "calling",
    "prune": "functions.pruning",
    "quantize": "functions.quantizing",
    "rounds": "functions.rounds",
    "run": "calling",
    "save": "functions.saving",
    "sparsify": "functions.sparsifying",
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
