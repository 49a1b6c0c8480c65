"""What is put back however the runner ends: a watchdog waits for the end of a pipe that only the runner holds."""

import os
import signal
import subprocess
import sys
from contextlib import contextmanager
from typing import Callable, Iterator, Tuple

LONGEST_S = 7200  # a runner that hangs holds nothing for ever


@contextmanager
def restored(module: str, place: str, path: str, gate: int, restore: Callable[[str], None]) -> Iterator[None]:
    """Put back what the lease at `path` says at the end of the block, and where the runner is killed inside it.

    Args:
        module: its name; it has `restore(path)`, which does no harm twice, and calls `watch` as its own `watch(path)`.
        place: its file.
        gate: a lock that the watchdog keeps until it has ended.
    """
    process, pipe = _start(module, place, path, gate)
    try:
        yield
    finally:
        restore(path)
        os.close(pipe)
        process.wait()


def _start(module: str, place: str, path: str, gate: int) -> Tuple["subprocess.Popen[bytes]", int]:
    """A fresh interpreter, so that it holds nothing of ours but the lock; and our end of its pipe."""
    place = os.path.abspath(place)
    for _ in module.split("."):
        place = os.path.dirname(place)  # the folder, or the zipapp, that this package is imported from
    code = (
        "import importlib, sys; sys.path.insert(0, sys.argv[1]);"
        "importlib.import_module(sys.argv[2]).watch(sys.argv[3])"
    )
    theirs, ours = os.pipe()
    try:
        process = subprocess.Popen(
            [sys.executable, "-c", code, place, module, path],
            stdin=theirs,
            stdout=subprocess.DEVNULL,
            start_new_session=True,
            pass_fds=(gate,),
        )
    finally:
        os.close(theirs)
    return process, ours


def watch(path: str, restore: Callable[[str], None], longest: int = LONGEST_S) -> None:
    """The watchdog: wait for the runner's end, and restore if it has not done so itself."""
    for polite in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(polite, signal.SIG_IGN)
    signal.signal(signal.SIGALRM, lambda *_: restore(path))
    signal.alarm(longest)
    sys.stdin.buffer.read()
    restore(path)
