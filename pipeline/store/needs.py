"""What a run needs from the store, written down before it is made: ``needs.json`` in the run's folder.

A run that is killed has noted all that it had begun, so `jetpress gc` leaves that to the run that goes on. What
the run before needed stays noted until a run of the same recipe has come to its end.
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from jetpress.deploy import console
from jetpress.pipeline.store.artifact import canonical
from jetpress.pipeline.store.store import DIGEST, LATEST, Store, write_atomically

FILE = "needs.json"


@dataclass(frozen=True)
class Noted:
    """What is written in a run's folder."""

    keys: frozenset[str]
    used: float
    """When a run of this folder last began or ended, in seconds since 1970."""


class Needs:
    """The needs of a run while it lasts. Several processes may run the same recipe at once."""

    def __init__(self, store: Store, folder: Path) -> None:
        self._store, self._folder = store, folder
        self._mine: set[str] = set()
        self._noted: frozenset[str] = frozenset()
        self._handle = -1

    def __enter__(self) -> Self:
        self._folder.mkdir(parents=True, exist_ok=True)
        self._store.locks.mkdir(parents=True, exist_ok=True)
        with self._store.alone():
            self._handle = os.open(_mark(self._store, self._folder), os.O_RDWR | os.O_CREAT, 0o644)
            fcntl.flock(self._handle, fcntl.LOCK_SH)
            self._write(set())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._handle)

    def note(self, key: str) -> None:
        """The run needs what this key stands for; it is written down when this returns."""
        self._mine.add(key)
        if key not in self._noted:
            with self._store.alone():
                self._write({key})

    def finished(self) -> None:
        """The run has come to its end: what earlier ones needed is no longer needed."""
        with self._store.alone():
            if self._is_the_only_one():
                self._noted = frozenset(self._mine)
                write_atomically(self._folder / FILE, _text(self._noted))
            else:
                self._write(self._mine)

    def _write(self, more: set[str]) -> None:
        self._noted = kept(self._store, self._folder).keys | more
        write_atomically(self._folder / FILE, _text(self._noted))

    def _is_the_only_one(self) -> bool:
        try:
            fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        finally:
            fcntl.flock(self._handle, fcntl.LOCK_SH)
        return True


def kept(store: Store, folder: Path) -> Noted:
    """What a run's folder says that it needs. Where that is damaged or missing: all that its report names."""
    try:
        told = json.loads((folder / FILE).read_bytes())
    except FileNotFoundError:
        return _reported(store, folder)
    except (ValueError, RecursionError):
        told = None
    match told:
        case {"keys": list(keys), "used": float() | int() as used} if 0 <= used < LATEST:
            if all(map(_is_key, keys)):
                return Noted(frozenset(keys), used)
    console.say(f"  {folder / FILE} is damaged: what the report names is kept")
    return _reported(store, folder)


def is_running(store: Store, folder: Path) -> bool:
    """Whether a process runs this folder's recipe now."""
    with suppress(FileNotFoundError), _mark(store, folder).open() as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def _reported(store: Store, folder: Path) -> Noted:
    """Of a run from before needs were noted, or whose note is damaged."""
    try:
        report = json.loads((folder / "report.json").read_bytes())
    except (OSError, ValueError, RecursionError):
        report = None
    match report:
        case {"stages": list(stages)}:
            digests = [one.get("digest") for one in stages if isinstance(one, dict)]
        case _:
            digests = []
    keys = frozenset(key for key, memo in store.known().items() if memo.digest in digests)
    return Noted(keys, folder.stat().st_mtime)


def _mark(store: Store, folder: Path) -> Path:
    """The file that every process holds that runs this folder's recipe."""
    return store.locks / f"{folder.name}.running"


def _text(keys: frozenset[str]) -> str:
    return canonical({"keys": sorted(keys), "used": time.time()})


def _is_key(value: object) -> bool:
    return isinstance(value, str) and DIGEST.fullmatch(value) is not None
