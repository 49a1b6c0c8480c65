"""From a trained PyTorch vision network to the fastest TensorRT engine that meets an accuracy budget.

::

    import jetpress

    recipe = jetpress.Recipe.load("digits")  # an embedded recipe, or the path of a .toml file
    for step in jetpress.plan(recipe, "host"):
        print(step.name, step.state)
    result = jetpress.run(recipe, "host")  # a record; result.to_dict() is report.json

Inside your own training code (docs/library.md)::

    slim = jetpress.prune(model, example_inputs, macs=0.5)
    train(slim.module)
    jetpress.save(slim, "slim")

The folders beside this file are the parts: ``pipeline`` (from the network to the report; ``pipeline/run.py`` reads top
to bottom), ``deploy`` (devices, and the runner that is sent to them), ``benchmarks`` (statistics, the report),
``recipes``.
"""

from __future__ import annotations

import ast
import importlib
from pathlib import Path
from typing import Any

_OFFERED = {
    one.name: node.module
    for node in ast.parse(Path(__file__).with_suffix(".pyi").read_text(encoding="utf-8")).body
    if isinstance(node, ast.ImportFrom) and node.module
    for one in node.names
}
"""Name -> its module, as the stub beside this file has it."""
__all__ = sorted(_OFFERED)


def __getattr__(name: str) -> Any:
    """What is offered is imported when it is asked for: torch takes seconds, and ``jetpress --help`` must not wait."""
    if name not in _OFFERED:
        raise AttributeError(f"module 'jetpress' has no attribute {name!r}")
    return getattr(importlib.import_module(_OFFERED[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
