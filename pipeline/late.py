"""Stages that are imported when they first run: looking up what is cached needs no torch, slow to import."""

from __future__ import annotations

import ast
import importlib
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, get_type_hints

from pipeline import artifact


class Late:
    """Stands for the function ``name`` of a module of ours until it is called."""

    def __init__(self, module: str, name: str) -> None:
        self.__module__, self.__name__ = module, name

    def __call__(self, *arguments: Any) -> Any:
        """Import the module and call the function."""
        return getattr(importlib.import_module(self.__module__), self.__name__)(*arguments)


def late(reference: str) -> Any:
    """``"pipeline.train:train"`` as a function."""
    module, _, name = reference.partition(":")
    return Late(module, name)


@cache
def kind_of(stage: Callable[..., Any]) -> Any:
    """The class of artifact that a stage returns, from its annotation; a late one stays unimported."""
    if not isinstance(stage, Late):
        return get_type_hints(stage)["return"]
    source = Path(__file__).parent.parent.joinpath(*stage.__module__.split(".")).with_suffix(".py")
    for node in ast.parse(source.read_bytes()).body:
        if isinstance(node, ast.FunctionDef) and node.name == stage.__name__:
            assert isinstance(node.returns, ast.Name)
            return getattr(artifact, node.returns.id)
    raise LookupError(f"{stage.__module__} has no stage {stage.__name__}")
