"""What turns a trained network into a verified ONNX graph and asks a device for an engine.

::

    from pipeline import Recipe, plan, run

    recipe = Recipe.load("recipes/digits.toml")
    result = run(recipe, "host")
"""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

import deploy  # noqa: F401 - before anything imports onnxruntime: it switches its telemetry off

if TYPE_CHECKING:
    from pipeline.recipe import Recipe
    from pipeline.run import plan, run

__all__ = ["Recipe", "plan", "run"]


class _Package(ModuleType):
    """Late imports: `pipeline.run` imports torch, and `jetpress --help` must answer at once.

    Properties, because a file is called ``run`` too: importing it must not replace the function of that name.
    """

    @property
    def Recipe(self) -> Any:  # noqa: N802
        return importlib.import_module("pipeline.recipe").Recipe

    @property
    def plan(self) -> Any:
        return importlib.import_module("pipeline.run").plan

    @property
    def run(self) -> Any:
        return importlib.import_module("pipeline.run").run

    @run.setter
    def run(self, module: ModuleType) -> None:
        """The import system announces the file here: it stays reachable as ``sys.modules["pipeline.run"]``."""


sys.modules[__name__].__class__ = _Package
