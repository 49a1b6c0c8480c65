"""Several programs at once, each in a process group of its own; one that measures this machine has it for itself.

A program is given a socket (its number is the last argument) over which it says in lines of JSON how it is. While
one measures on this machine, the others are stopped (SIGSTOP) and go on afterwards: a benchmark beside a training
would measure both.
"""

from __future__ import annotations

import json
import os
import select
import selectors
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Told = Mapping[str, Any]
POLL_S = 0.2
GRACE_S = 10.0
"""How long a program may take to end after Ctrl-C before it is killed."""
LONGEST_LINE = 2**20


@dataclass(frozen=True)
class Task:
    """One program to run."""

    id: str
    command: tuple[str, ...]
    log: Path
    """Takes its stdout and stderr."""
    folder: Path | None = None
    """That it is started in; None: this one."""
    environment: Mapping[str, str] | None = field(default=None, hash=False)
    """All that it is given; None: what this process has."""
    seconds: float | None = None
    """How long it may run."""
    memory: int | None = None
    """Bytes that its processes may hold together."""
    disk: int | None = None
    """Bytes that its folder may hold."""
    device: str | None = None
    """That it works on."""
    needs: Mapping[str, str] = field(default_factory=dict, hash=False)
    """Small files that are here; another machine has to write them first: path -> text."""


@dataclass(frozen=True)
class Ended:
    """How a program ended."""

    code: int
    """Of its exit; negative: the signal that killed it."""
    told: Told
    """The last that it said of its end; empty: nothing."""
    seconds: float
    why: str = ""
    """The limit that it broke."""


class Running:
    """A program that was started."""

    def __init__(self, task: Task) -> None:
        self.task, self.began = task, time.monotonic()
        self.socket, theirs = socket.socketpair()
        self.told: Told = {}
        self.why = ""
        self._line = b""
        task.log.parent.mkdir(parents=True, exist_ok=True)
        with theirs, task.log.open("ab") as log:
            self.process = subprocess.Popen(
                [*task.command, str(theirs.fileno())],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=task.folder, env=task.environment,
                pass_fds=[theirs.fileno()], start_new_session=True,
            )  # fmt: skip

    def lines(self) -> Iterator[Told]:
        """What it said since it was asked last; ends with the socket's end, which is the program's."""
        read = self.socket.recv(2**16)
        if not read:
            raise EOFError
        *whole, self._line = (self._line + read)[-LONGEST_LINE:].split(b"\n")
        for line in whole:
            with suppress(ValueError):
                told = json.loads(line)
                if isinstance(told, dict):
                    yield told

    def has_more(self) -> bool:
        """Whether it said what nobody has read yet, or its socket has ended."""
        return bool(select.select([self.socket], [], [], 0)[0])

    def answer(self) -> None:
        """It may measure now."""
        with suppress(OSError):
            self.socket.sendall(b"\n")

    def signal(self, number: int) -> None:
        """To all of its processes."""
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, number)

    def ended(self) -> Ended:
        """Wait for it."""
        self.socket.close()
        code = self.process.wait()
        self.signal(signal.SIGKILL)  # what it left running
        return Ended(code, self.told, time.monotonic() - self.began, self.why)


def unheard(task: Task, told: Told) -> str:
    """Nobody asks."""
    del task, told
    return ""


class Workers:
    """Programs side by side.

    Args:
        most: how many run at once.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._heard: Callable[[Task, Told], str] = unheard
        self._running: dict[socket.socket, Running] = {}
        self._measuring: list[Running] = []
        """Who measures, and who waits to."""
        self._selector = selectors.DefaultSelector()

    def work(
        self,
        take: Callable[[Sequence[Task]], Task | None],
        ended: Callable[[Task, Ended], None],
        more: Callable[[], bool] = lambda: False,
        heard: Callable[[Task, Told], str] = unheard,
    ) -> None:
        """Run programs until there are none.

        Args:
            take: the next one, told what is running; None: none now.
            ended: is told how each one ended.
            more: whether there may be others later, when nothing runs now.
            heard: is told what a program says of its work; a reason that it gives ends the program.
        """
        self._heard = heard
        with self._stopped_at_the_end():
            while True:
                while not self._measuring and len(self._running) < self._most:
                    task = take([one.task for one in self._running.values()])
                    if task is None:
                        break
                    self._begin(task)
                if not self._running and not more():
                    return
                self._listen(ended)
                self._hold_to_limits()

    def _begin(self, task: Task) -> None:
        running = Running(task)
        self._running[running.socket] = running
        self._selector.register(running.socket, selectors.EVENT_READ)

    def _listen(self, ended: Callable[[Task, Ended], None]) -> None:
        if not self._running:
            time.sleep(POLL_S)
        for key, _ in self._selector.select(POLL_S) if self._running else ():
            running = self._running[key.fileobj]  # type: ignore[index]
            try:
                for told in running.lines():
                    self._take_in(running, told)
            except (EOFError, ConnectionError):
                self._finish(running, ended)
        for running in [*self._running.values()]:
            # A process that it left running may hold the other end of the socket.
            if running.process.poll() is not None and not running.has_more():
                self._finish(running, ended)

    def _finish(self, running: Running, ended: Callable[[Task, Ended], None]) -> None:
        self._selector.unregister(running.socket)
        del self._running[running.socket]
        self._no_longer_measures(running)
        ended(running.task, running.ended())

    def _take_in(self, running: Running, told: Told) -> None:
        match told.get("event"):
            case "measuring":
                self._measuring.append(running)
                if len(self._measuring) == 1:
                    self._leave_alone(running)
            case "measured":
                self._no_longer_measures(running)
            case "ended":
                running.told = told
            case _:
                if why := self._heard(running.task, told):
                    self._end(running, why)

    def _leave_alone(self, running: Running) -> None:
        for other in self._running.values():
            if other is not running:
                other.signal(signal.SIGSTOP)
        running.signal(signal.SIGCONT)
        running.answer()

    def _no_longer_measures(self, running: Running) -> None:
        if running not in self._measuring:
            return
        was_first = self._measuring[0] is running
        self._measuring.remove(running)
        if self._measuring and was_first:
            self._leave_alone(self._measuring[0])
        elif not self._measuring:
            for other in self._running.values():
                other.signal(signal.SIGCONT)

    def _hold_to_limits(self) -> None:
        for running in self._running.values():
            if not running.why and (why := broken(running)):
                self._end(running, why)

    def _end(self, running: Running, why: str) -> None:
        running.why = why
        running.signal(signal.SIGKILL)

    @contextmanager
    def _stopped_at_the_end(self) -> Iterator[None]:
        """Ctrl-C and errors end every program: first asked to, then killed."""
        try:
            yield
        finally:
            for running in self._running.values():
                running.signal(signal.SIGCONT)
                running.signal(signal.SIGINT)
            until = time.monotonic() + GRACE_S
            for running in self._running.values():
                with suppress(subprocess.TimeoutExpired):
                    running.process.wait(max(until - time.monotonic(), 0))
                running.signal(signal.SIGKILL)
                running.ended()
            self._selector.close()


def broken(running: Running) -> str:
    """The limit that a program broke; empty: none."""
    task = running.task
    if task.seconds is not None and (time.monotonic() - running.began) > task.seconds:
        return f"it ran longer than {task.seconds:g} s"
    if task.memory is not None and memory_of(running.process.pid) > task.memory:
        return f"its processes held more than {task.memory / 2**20:.0f} MiB"
    if task.disk is not None and task.folder is not None and size_of(task.folder) > task.disk:
        return f"its folder held more than {task.disk / 2**20:.0f} MiB"
    return ""


def memory_of(group: int) -> int:
    """Bytes that the processes of a group hold in memory; what they share is counted for each."""
    page, total = os.sysconf("SC_PAGE_SIZE"), 0
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError, ValueError, IndexError):
            fields = (process / "stat").read_text().rpartition(")")[2].split()
            if int(fields[2]) == group:
                total += int(fields[21]) * page
    return total


def size_of(folder: Path) -> int:
    """Bytes of all files below ``folder``."""
    total = 0
    for path in folder.rglob("*"):
        with suppress(OSError):
            total += path.lstat().st_size if not path.is_dir() else 0
    return total
