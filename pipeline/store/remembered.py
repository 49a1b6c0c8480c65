"""What was worked out of a source file, kept between runs, as Python keeps its bytecode; among the caches of the user.

A cache and no more: what is lost, damaged, of another version of the file or of this code is worked out again.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

MAKERS = ("remembered.py", "symbols.py")
"""Whatever is changed in these may change what is worked out."""


def remembered(file: Path, name: str, make: Callable[[str], Any]) -> Any:
    """What ``make`` gives for the text of ``file``: plain values, as JSON keeps them.

    Args:
        file: UTF-8.
        name: whatever the result depends on beside the text.
    """
    source = file.read_bytes()
    known = hashlib.sha256(b"\0".join([_makers(), name.encode(), source])).hexdigest()
    note = _folder() / f"{hashlib.sha256(f'{file}:{name}'.encode()).hexdigest()[:24]}.json"
    told = _read(note, known)
    if told is None:
        told = make(source.decode("utf-8"))
        _write(note, known, json.dumps(told))
    return told


@cache
def _makers() -> bytes:
    texts = [Path(__file__).with_name(one).read_bytes() for one in MAKERS]
    return hashlib.sha256(b"\0".join([sys.version.encode(), *texts])).digest()


@cache
def _folder() -> Path:
    try:
        caches = Path(os.environ.get("XDG_CACHE_HOME") or Path("~/.cache").expanduser())
    except RuntimeError:  # a user without a home keeps nothing
        caches = Path(os.devnull)
    return caches / "jetpress" / "symbols"


def _read(note: Path, known: str) -> Any:
    """None where it is of another source, or not what was written."""
    try:
        head, _, text = note.read_text(encoding="utf-8").partition("\n")
    except (OSError, UnicodeDecodeError):
        return None
    return json.loads(text) if head == _head(known, text) else None


def _write(note: Path, known: str, text: str) -> None:
    """No fsync: a note that a loss of power cut is seen by its head."""
    temporary = note.with_name(f"{note.name}.{os.getpid()}.tmp")
    try:
        note.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_text(f"{_head(known, text)}\n{text}", encoding="utf-8")
        temporary.replace(note)
    except OSError:
        with suppress(OSError):
            temporary.unlink()


def _head(known: str, text: str) -> str:
    return f"{known} {hashlib.sha256(text.encode()).hexdigest()}"
