"""What ``import jetpress`` offers: the names, and where they come from."""

from __future__ import annotations

from jetpress.pipeline.library.pruned import Pruned
from jetpress.pipeline.library.pruning import prune
from jetpress.pipeline.library.rounds import Rounds, rounds
from jetpress.pipeline.library.saving import load, save
from jetpress.pipeline.recipe.reading import Recipe
from jetpress.pipeline.run import plan, run

__all__ = [
    "Pruned",
    "Recipe",
    "Rounds",
    "load",
    "plan",
    "prune",
    "rounds",
    "run",
    "save",
]
