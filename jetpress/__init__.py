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

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jetpress.pipeline.api import (
        Pruned,
        Recipe,
        Rounds,
        check,
        compare,
        distillation,
        engine,
        equivalent,
        export,
        fine_tune,
        fold,
        load,
        plan,
        prune,
        quantize,
        rounds,
        run,
        save,
        sparsify,
    )

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
    """What is offered is imported when it is asked for: torch takes seconds, and ``jetpress --help`` must not wait."""
    if name not in __all__:
        raise AttributeError(f"module 'jetpress' has no attribute {name!r}")
    from jetpress.pipeline import api

    return getattr(api, name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
