"""What ``torch.onnx.export`` reads again and again, read once.

In every export it asks for onnxscript's list of translations, which it gets by parsing the source of 500 functions
anew, and for their signatures, from their annotations. Both are the same in a process, and are only read. And it has
the dispatcher list its operators for every library that there is; which there are may change, but not in an export.
That is most of the time that a small network takes, and a run exports several.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import cache
from importlib import import_module
from typing import Any

Read = Callable[..., Any]
IN_A_PROCESS = (
    ("torch.onnx._internal._lazy_import", "onnxscript_apis", "get_torchlib_ops"),
    ("torch.onnx._internal.exporter._registration", "_schemas", "op_signature_from_function"),
)
"""Module, what it calls its source, and the function that is asked there."""
IN_AN_EXPORT = (("torch._export", "utils", "_materialize_cpp_cia_ops"),)


@contextmanager
def read_once() -> Iterator[None]:
    """The export within takes what an earlier one read, where this PyTorch asks for it as we know it."""
    with ExitStack() as stack:
        for place in IN_A_PROCESS:
            stack.enter_context(_read_by(_remembered, *place))
        for place in IN_AN_EXPORT:
            stack.enter_context(_read_by(cache, *place))
        yield


@contextmanager
def _read_by(remember: Callable[[Read], Read], module: str, source: str, name: str) -> Iterator[None]:
    try:
        asked = getattr(import_module(module), source)
        read = getattr(asked, name)
    except (ImportError, AttributeError):
        yield
        return
    before = vars(asked).get(name)  # None where the module's own is found through it
    setattr(asked, name, remember(read))
    try:
        yield
    finally:
        if before is None:
            vars(asked).pop(name, None)
        else:
            setattr(asked, name, before)


@cache
def _remembered(read: Read) -> Read:
    return cache(read)
