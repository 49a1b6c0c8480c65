"""What ``import jetpress`` offers: the names, and where they come from."""

from __future__ import annotations

from jetpress.pipeline.recipe.reading import Recipe
from jetpress.pipeline.run import plan, run
from jetpress.pipeline.run_onnx import engine

__all__ = ["Recipe", "engine", "plan", "run"]
