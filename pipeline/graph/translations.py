"""onnxscript's list of translations and their signatures, read once in a process.

``torch.onnx.export`` asks for both in every export: the list it gets by parsing the source of 500 functions anew, the
signatures from their annotations. That is most of the time that a small network takes, and a run exports several. They
are the same each time, and are only read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import cache
from importlib import import_module
from typing import Any

PLACES = (
    ("torch.onnx._internal._lazy_import", "onnxscript_apis", "get_torchlib_ops"),
    ("torch.onnx._internal.exporter._registration", "_schemas", "op_signature_from_function"),
)
"""Module, what it calls its source, and the function that it asks there."""


@contextmanager
def read_once() -> Iterator[None]:
    """Exports within take what an earlier one read, where this PyTorch asks for it as we know it."""
    with ExitStack() as stack:
        for place in PLACES:
            stack.enter_context(_read_once(*place))
        yield


@contextmanager
def _read_once(module: str, source: str, name: str) -> Iterator[None]:
    try:
        asked = getattr(import_module(module), source)
        read = getattr(asked, name)
    except (ImportError, AttributeError):
        yield
        return
    before = vars(asked).get(name)  # None where the module's own is found through it
    setattr(asked, name, _remembered(read))
    try:
        yield
    finally:
        if before is None:
            vars(asked).pop(name, None)
        else:
            setattr(asked, name, before)


@cache
def _remembered(read: Callable[..., Any]) -> Callable[..., Any]:
    return cache(read)
