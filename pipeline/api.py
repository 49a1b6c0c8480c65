"""What ``import jetpress`` offers: the names, and where they come from."""

from __future__ import annotations

from jetpress.pipeline.recipe.reading import Recipe
from jetpress.pipeline.run import plan, run

__all__ = ["Recipe", "plan", "run"]
