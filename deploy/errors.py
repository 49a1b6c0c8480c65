"""Every failure that jetpress foresees: what happened, what to do about it, and the exit code.

::

    JetpressError
    |-- RecipeError        2   the recipe, the target, the network or the data given is not usable
    |-- ToolMissing        3   a program or package that this step needs is not installed
    |-- StageError         4   a stage could not keep its promise (wrong outputs, NaN, nothing learnt)
    |-- DeviceError        5   the device, its disk or the connection to it failed
    |-- TrustError         6   a file is not the one that was made: digest, size, path or signature
    |-- BenchmarkInvalid   7   the numbers measured may not be used
    |-- BudgetNotMet       8   everything ran, but the result is outside the recipe's budget
    `-- NothingGained      9   everything ran, but nothing was compressed, or it is slower, or the network guesses

Exit code 130 is Ctrl-C, as in a shell.
"""

from __future__ import annotations

import errno
import os
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar

INTERRUPTED = 130


class JetpressError(Exception):
    """A foreseen failure.

    Args:
        what: one sentence saying what went wrong, with the offending value.
        hint: one sentence saying what to do about it.
    """

    exit_code: ClassVar[int] = 1

    def __init__(self, what: str, hint: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.what}\n  hint: {self.hint}" if self.hint else self.what


class RecipeError(JetpressError):
    """The recipe, the target, the network or the data given is not usable."""

    exit_code = 2


class ToolMissing(JetpressError):
    """A program or package that this step needs is not installed."""

    exit_code = 3


class StageError(JetpressError):
    """A stage could not keep its promise."""

    exit_code = 4


class DeviceError(JetpressError):
    """The device, its disk or the connection to it failed."""

    exit_code = 5


class TrustError(JetpressError):
    """A file is not the one that was made."""

    exit_code = 6


class BenchmarkInvalid(JetpressError):
    """The numbers measured may not be used."""

    exit_code = 7


class BudgetNotMet(JetpressError):
    """Everything ran, but the result is outside the recipe's budget."""

    exit_code = 8


class NothingGained(JetpressError):
    """Everything ran, but the result is worth nothing: not compressed, slower than dense, or a network that guesses."""

    exit_code = 9


@contextmanager
def not_ended() -> Iterator[None]:
    """Whatever code of the user's own is called within: a ``sys.exit()`` in it has done nothing that was asked.

    Raises:
        RecipeError: it ended the process, with whatever code.
    """
    try:
        yield
    except SystemExit as ended:
        last = traceback.extract_tb(ended.__traceback__)[-1]
        code = "" if ended.code is None else str(ended.code)[:80]
        raise RecipeError(
            f"{last.filename}, line {last.lineno}, ended the process: sys.exit({code})",
            "let it return what it is asked for, or raise an error",
        ) from ended


def from_os_error(error: OSError) -> JetpressError:
    """The foreseen failure behind an ``OSError``: full disk, no permission, missing file."""
    where = f" ({error.filename})" if error.filename else ""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        disk = _existing(Path(str(error.filename or ".")))
        stats = os.statvfs(disk)
        free = stats.f_bavail * stats.f_frsize / 2**20
        return DeviceError(
            f"the disk is full{where}: {free:.0f} MiB are free",
            "free some space (`jetpress gc` removes what no run needs) and run the same command again: "
            "finished stages are kept",
        )
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return DeviceError(
            f"no permission to write or read{where}",
            "run from a folder that you own, or set JETPRESS_RUNS to one",
        )
    return DeviceError(
        f"{error.strerror or error}{where}", "check the path and the disk, then run the command again"
    )


def _existing(path: Path) -> Path:
    path = path.absolute()
    while not path.exists():
        path = path.parent
    return path
