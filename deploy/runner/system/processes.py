"""Sessions in fresh processes: what differs between two starts of a program is in the numbers, not hidden from them.

The runner starts itself again, from wherever it lies: a zipapp, a folder, an installed package. A session ends
when we do: the end of its standard input, which it otherwise never reads, tells it so.
"""

import json
import os
import signal
import subprocess
import sys
import threading
from typing import Dict, List, NamedTuple, Optional

from .events import emit
from .failures import (
    BenchmarkInvalid,
    BundleError,
    DeviceError,
    DigestMismatch,
    NoGpu,
    RunnerError,
    ToolMissing,
)

KINDS = {
    kind.code: kind for kind in (BundleError, ToolMissing, DeviceError, DigestMismatch, BenchmarkInvalid)
}
HERE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
# Imported from where it lies, as the zipapp does it; nothing that lies in the current folder gets in its way.
START = """import sys
sys.path = [sys.argv[1]] + [place for place in sys.path if place]
from {package}.__main__ import main
del sys.path[0]
sys.exit(main(sys.argv[2:]))
"""


class Ended(NamedTuple):
    """How a command ended."""

    status: int  # below 0: the signal
    told: Dict[str, object]  # its last event but `done`
    is_late: bool  # it was killed: its time was up


def run(words: List[str]) -> Dict[str, object]:
    """Run one command of the runner in a process of its own; its last event but `done`.

    Raises what it failed with, as if it had been raised here.
    """
    ended = attempt(words)
    if ended.status == 0 and ended.told:
        return ended.told
    raise _failure(ended.status, ended.told)


def attempt(words: List[str], seconds: Optional[float] = None, shows: bool = False) -> Ended:
    """Run one command to its end, whatever that is. Where it `shows`, its events go where ours go, too."""
    code, told, late = START.format(package=os.path.basename(HERE)), {}, []  # type: str, Dict[str, object], List[int]
    child = subprocess.Popen(
        [sys.executable, "-c", code, os.path.dirname(HERE)] + words,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert child.stdout is not None

    def end() -> None:
        late.append(1)
        child.kill()

    limit = threading.Timer(seconds or 0, end)
    try:
        if seconds is not None:
            limit.start()
        for line in child.stdout:
            event = _parsed(line)
            if event is not None and event.get("event") != "done":
                told = event
                if shows:
                    emit(**event)  # type: ignore[arg-type]
        status = child.wait()
    finally:
        limit.cancel()
        child.kill()
        child.wait()
        child.stdout.close()
        if child.stdin is not None:
            child.stdin.close()
    return Ended(status, told, bool(late))


def _parsed(line: bytes) -> Optional[Dict[str, object]]:
    """A library may print to standard output, too."""
    try:
        event = json.loads(line.decode("utf-8", "replace"))
    except (ValueError, RecursionError):
        return None
    return event if isinstance(event, dict) and "event" in event else None


def _failure(status: int, told: Dict[str, object]) -> RunnerError:
    kind = NoGpu if told.get("event") == "skipped" else KINDS.get(status, DeviceError)
    what = str(told.get("what") or "a session ended with %d" % status)
    return kind(what, str(told.get("hint") or "see what it said; `dmesg` says whether memory ran out"))


def end_with_parent() -> None:
    """For a session: Ctrl-C is the parent's to judge, and when it is gone there is nobody to measure for."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_wait, daemon=True).start()


def _wait() -> None:
    while os.read(0, 4096):
        pass
    os._exit(1)
