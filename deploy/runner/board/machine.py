"""How busy the machine is before anything is measured: load, pressure, and what the host of a virtual machine takes.

And whether another benchmark runs meanwhile, of whatever user: each holds a shared lock on one folder, and who gets
it alone is alone.
"""

import fcntl
import os
import re
import tempfile
import time
from contextlib import contextmanager
from typing import Callable, Dict, Iterator, List, NamedTuple, Optional

from .identity import Board

MEASURING = "jetpress-measuring"  # below the folder for temporary files
WINDOW_S = 0.3
BUSY = 0.20  # of all processors; the kernel's own work and a desktop stay below
STOLEN = 0.02


class Machine(NamedTuple):
    """What its kernel says; None where it says nothing of it."""

    cpus: int
    load: Optional[float]  # processes that run or want to, mean of a minute
    waiting: Optional[float]  # share of the last 10 s in which something waited for a processor (PSI)
    busy: Optional[float]  # share of all processors, just now
    stolen: Optional[float]  # share that the host of this virtual machine gave to others
    virtual: bool

    def is_busy(self) -> bool:
        """Whether somebody else's work will be in the numbers."""
        return (self.busy or 0.0) > BUSY or (self.stolen or 0.0) > STOLEN

    def in_words(self) -> str:
        """In a line."""
        words = ["%d processor%s" % (self.cpus, "" if self.cpus == 1 else "s")]
        if self.busy is not None:
            words.append("%.0f %% busy before anything of ours ran" % (100 * self.busy))
        if self.load is not None:
            words.append("load %.2f" % self.load)
        if self.waiting is not None:
            words.append("work waited for a processor %.0f %% of the time" % (100 * self.waiting))
        if self.virtual:
            words.append("a virtual machine")
        if self.stolen:
            words.append("%.0f %% taken by its host" % (100 * self.stolen))
        return ", ".join(words)


def look(board: Board, window_s: float = WINDOW_S) -> Machine:
    """Read it; what is read from counters takes `window_s` seconds."""
    before = _ticks(board)
    time.sleep(window_s)
    after = _ticks(board)
    spent = [late - early for early, late in zip(before, after)]  # noqa: B905 - Python 3.6
    total = sum(spent)
    idle, stolen = sum(spent[3:5]), sum(spent[7:8])
    return Machine(
        cpus=len(os.sched_getaffinity(0)),
        load=_load(board),
        waiting=_waiting(board),
        busy=(total - idle) / float(total) if total > 0 else None,
        stolen=stolen / float(total) if total > 0 else None,
        virtual=is_virtual(board),
    )


@contextmanager
def measuring() -> Iterator[Callable[[], bool]]:
    """Tells others that a benchmark runs, as long as this lasts; what is given says whether another one runs now."""
    folder = os.path.join(tempfile.gettempdir(), MEASURING)
    try:
        os.makedirs(folder, exist_ok=True)
        held = os.open(folder, os.O_RDONLY)
    except OSError:  # somebody keeps it to himself: then nobody knows
        yield lambda: False
        return

    def others() -> bool:
        alone = _take(held, fcntl.LOCK_EX)
        _take(held, fcntl.LOCK_SH)
        return not alone

    try:
        yield others
    finally:
        os.close(held)


def _take(held: int, lock: int) -> bool:
    try:
        fcntl.flock(held, lock | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _ticks(board: Board) -> List[int]:
    """user nice system idle iowait irq softirq steal, of all processors; guest time is in user already."""
    line = (board.read("proc/stat") or "").split("\n", 1)[0].split()
    return [int(word) for word in line[1:9] if word.isdigit()] if line[:1] == ["cpu"] else []


def _load(board: Board) -> Optional[float]:
    words = (board.read("proc/loadavg") or "").split()
    try:
        return float(words[0])
    except (IndexError, ValueError):
        return None


def _waiting(board: Board) -> Optional[float]:
    some = re.search(r"some avg10=([\d.]+)", board.read("proc/pressure/cpu") or "")
    return float(some.group(1)) / 100 if some else None


def is_virtual(board: Board) -> bool:
    """By the processor's own flag (x86), else by what a hypervisor leaves in the file system."""
    processors = board.read("proc/cpuinfo") or ""
    flags = re.search(r"^flags\s*:.*\bhypervisor\b", processors, re.MULTILINE)
    return bool(flags) or any(
        board.read(place) for place in ("sys/hypervisor/type", "proc/device-tree/hypervisor/compatible")
    )


def remedy(machine: Machine, lockable: bool) -> str:
    """What makes the numbers of such a machine steadier; `lockable`: it has a clock of a GPU to hold."""
    words: Dict[bool, str] = {
        True: "lock the clocks (--lock-clocks, benchmark.lock_clocks), stop other programs",
        False: "stop other programs",
    }
    said = words[lockable]
    if machine.virtual and not lockable:
        said += (
            "; what other guests of the same host do to a virtual machine cannot be stopped from inside it"
        )
    return said
