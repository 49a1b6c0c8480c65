"""onnxscript's list of translations, read once in a process.

``torch.onnx.export`` asks for it in every export, and gets it by parsing the source of 500 functions anew: most of the
time that a small network takes, and a run exports several. The list is the same each time, and is only read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from importlib import import_module

LISTED = "get_torchlib_ops"


@contextmanager
def read_once() -> Iterator[None]:
    """Exports within take the list that an earlier one read, where this PyTorch asks for it as we know it."""
    try:
        lazily = import_module("torch.onnx._internal._lazy_import")
        asked = lazily.onnxscript_apis
        read = getattr(asked, LISTED)
    except (ImportError, AttributeError):
        yield
        return
    before = vars(asked).get(LISTED)  # None where the module's own is found through it
    setattr(asked, LISTED, _remembered(read))
    try:
        yield
    finally:
        if before is None:
            vars(asked).pop(LISTED, None)
        else:
            setattr(asked, LISTED, before)


@cache
def _remembered(read: Callable[[], list[object]]) -> Callable[[], list[object]]:
    return cache(read)
