"""Stages that are imported when they first run: looking up what is cached needs no torch, which takes seconds.

::

    with lazy_stages():
        from jetpress.pipeline.stages.train import train

Inside the block the import gives a stand-in that knows its module and its name, which is all that a memo key needs.
To the type checker it is the ordinary import that it says it is.
"""

from __future__ import annotations

import ast
import importlib
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any, get_type_hints

from jetpress.deploy import console
from jetpress.pipeline.store import artifact

STAGES = "jetpress.pipeline.stages"


class LazyStage:
    """Stands for the function ``name`` of a module of ours until it is called."""

    def __init__(self, module: str, name: str) -> None:
        self.__module__, self.__name__ = module, name

    def __call__(self, *arguments: object) -> object:
        """Import the module and call the function."""
        if self.__module__ not in sys.modules:
            with console.progress("loading libraries"):  # PyTorch takes seconds
                importlib.import_module(self.__module__)
        return getattr(sys.modules[self.__module__], self.__name__)(*arguments)


class _StandIn(ModuleType):
    """Whatever is imported from it is :class:`LazyStage`."""

    def __getattr__(self, name: str) -> LazyStage:
        if name.startswith("__"):
            raise AttributeError(name)
        return LazyStage(self.__name__, name)


class _Finder:
    """Finds a stand-in for every stage."""

    @staticmethod
    def find_spec(
        name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        return ModuleSpec(name, _Finder) if name.startswith(f"{STAGES}.") else None  # type: ignore[arg-type]

    @staticmethod
    def create_module(spec: ModuleSpec) -> ModuleType:
        return _StandIn(spec.name)

    @staticmethod
    def exec_module(module: ModuleType) -> None:
        """There is nothing to run."""


@contextmanager
def lazy_stages() -> Iterator[None]:
    """Within it, what is imported from a stage is imported when it is first called."""
    package = importlib.import_module(STAGES)
    known = {name: sys.modules.pop(name) for name in list(sys.modules) if name.startswith(f"{STAGES}.")}
    attributes = dict(vars(package))
    sys.meta_path.insert(0, _Finder)
    try:
        yield
    finally:
        sys.meta_path.remove(_Finder)
        for name in [name for name in sys.modules if name.startswith(f"{STAGES}.")]:
            del sys.modules[name]
        sys.modules |= known
        for name in vars(package).keys() - attributes.keys():
            delattr(package, name)
        vars(package).update(attributes)


@cache
def kind_of(stage: Callable[..., Any]) -> Any:
    """The class of artifact that a stage returns, from its annotation; a lazy one stays unimported."""
    if not isinstance(stage, LazyStage):
        return get_type_hints(stage)["return"]
    source = Path(__file__).parents[2].joinpath(*stage.__module__.split(".")[1:]).with_suffix(".py")
    for node in ast.parse(source.read_bytes()).body:
        if isinstance(node, ast.FunctionDef) and node.name == stage.__name__:
            assert isinstance(node.returns, ast.Name)
            return getattr(artifact, node.returns.id)
    raise LookupError(f"{stage.__module__} has no stage {stage.__name__}")
