"""--lock-clocks: the highest clocks while something is measured, and afterwards those of before, whatever happens.

What is to be restored goes into a lease file first. A watchdog, a process in a session of its own, waits for the
end of a pipe that only the runner holds: however the runner ends, kill -9 included, the kernel closes the pipe and
the watchdog restores. A lease that both left behind is restored by the next run (a reboot resets the clocks).

NVIDIA's own `jetson_clocks` does it where it is, as root or by `sudo -n`; else the kernel's files, as root.
"""

import fcntl
import glob
import json
import os
import subprocess
import time
from contextlib import contextmanager
from typing import Iterator, List, NamedTuple, Optional, Tuple

from ..system.events import tell
from ..system.failures import DeviceError, ToolMissing
from ..system.files import make_folder, write_json
from . import restored
from .identity import Board
from .sensors import GPU_CLOCKS

FOLDER = os.path.join("~", ".jetpress")
LEASE, STORED, LOCK = "clocks.json", "clocks.stored", "clocks.lock"
JETSON_CLOCKS = "usr/bin/jetson_clocks"
COMMAND_S = 60
# (folder, the lowest clock, which is raised to the highest that the power mode allows)
FLOORS = tuple(("sys/class/devfreq/" + name, "min_freq", "max_freq") for name in GPU_CLOCKS) + (
    ("sys/devices/system/cpu/cpufreq/policy*", "scaling_min_freq", "scaling_max_freq"),
)


class Lease(NamedTuple):
    """How it is done here, and what is to be restored."""

    pid: int
    command: List[str]  # jetson_clocks; empty where the kernel's files are written
    stored: str  # what jetson_clocks wrote down of before
    values: List[Tuple[str, str, str]]  # file, its value before, the highest


@contextmanager
def locked(board: Board, wanted: bool) -> Iterator[bool]:
    """Hold the clocks at their highest inside the block; whether they are."""
    if not wanted:
        yield False
        return
    folder = make_folder(os.path.expanduser(FOLDER))
    with open(os.path.join(folder, LOCK), "a") as gate:
        try:
            fcntl.flock(gate, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise DeviceError("another benchmark holds the clocks of this board", "wait until it has ended")
        path = os.path.join(folder, LEASE)
        if os.path.exists(path):
            tell("a benchmark that was killed left the clocks locked: they are restored")
            restore(path)
        write_json(path, _lease(board, folder)._asdict())
        with restored.restored(__name__, __file__, path, gate.fileno(), restore):
            _raise(path)
            yield True


def _lease(board: Board, folder: str) -> Lease:
    tool = board.path(JETSON_CLOCKS)
    if os.access(tool, os.X_OK):
        command = [tool] if os.geteuid() == 0 else ["sudo", "-n", tool]
        stored = os.path.join(folder, STORED)
        if os.path.exists(stored):
            os.unlink(stored)  # the tool would ask whether it may overwrite it
        _command(command + ["--store", stored])
        return Lease(os.getpid(), command, stored, [])
    values = []
    for pattern, low, high in FLOORS:
        for place in sorted(glob.glob(board.path(pattern))):
            before, highest = board.read(place, low), board.read(place, high)
            if before and highest:
                values.append((os.path.join(place, low), before, highest))
    if not values or not os.access(values[0][0], os.W_OK):
        raise ToolMissing(
            "the clocks of this machine cannot be locked: %s"
            % ("root only" if values else "no jetson_clocks, no clocks in /sys"),
            "run it as root on the board, or let `sudo -n jetson_clocks` work; or leave --lock-clocks out",
        )
    return Lease(os.getpid(), [], "", values)


def _raise(path: str) -> None:
    lease = _read(path)
    if lease.command:
        _command(lease.command)
    for file, _, highest in lease.values:
        _set(file, highest)


def restore(path: str) -> None:
    """Bring back what the lease says, then remove the lease. Twice does no harm."""
    if not os.path.exists(path):
        return
    lease = _read(path)
    if lease.command:
        _command(lease.command + ["--restore", lease.stored])
        if os.path.exists(lease.stored):
            os.unlink(lease.stored)
    for file, before, _ in lease.values:
        _set(file, before)
    os.unlink(path)


def free(seconds: float) -> None:
    """Wait until nobody holds them: the watchdog of a runner that was killed brings them back, and keeps the lock.

    A Ctrl-C between two of our lines ends no block of our own before this: then they are brought back here.
    """
    folder = os.path.expanduser(FOLDER)
    path, lease = os.path.join(folder, LOCK), os.path.join(folder, LEASE)
    if not os.path.exists(path):
        return
    if os.path.exists(lease) and _read(lease).pid == os.getpid():
        restore(lease)
        return
    end = time.monotonic() + seconds
    with open(path, "a") as gate:
        while time.monotonic() < end:
            try:
                fcntl.flock(gate, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except OSError:
                time.sleep(0.1)


def _read(path: str) -> Lease:
    with open(path, encoding="utf-8") as source:
        return Lease(**json.load(source))


def _set(file: str, value: str) -> None:
    try:
        with open(file, "w") as target:
            target.write(value)
    except OSError as error:
        tell("warning: %s stays as it is: %s" % (file, error.strerror))


def _command(words: List[str]) -> None:
    try:
        done = subprocess.run(
            words,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=COMMAND_S,
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise ToolMissing("%s cannot be run: %s" % (" ".join(words), error), "run it as root on the board")
    if done.returncode:
        output = done.stdout.decode("utf-8", "replace").strip()[-300:]
        raise ToolMissing(
            "%s failed: %s" % (" ".join(words), output),
            "run the benchmark as root, or allow it: echo '%s ALL=(ALL) NOPASSWD: %s' in /etc/sudoers.d"
            % (os.environ.get("USER", "user"), words[-1] if len(words) < 3 else words[2]),
        )


def watch(path: str) -> None:
    """The watchdog's program; see `restored`."""
    restored.watch(path, restore)


def held(board: Board) -> Optional[float]:
    """The GPU's clock in MHz that it should keep to while the clocks are locked."""
    for name in GPU_CLOCKS:
        floor = board.number("sys/class/devfreq", name, "min_freq")
        if floor is not None:
            return floor / 1e6
    return None
