"""Device: a place where engines are built and run. Two of them: this machine, and any machine behind SSH.

A device needs sshd and Python 3.6, nothing else, and nothing is installed on it: small programs
(`deploy/device/scripts/`) go over stdin, files go below one working folder, and `clean` empties it. A local device is
the same thing with the ssh left out, so there is one path for host and board.

What a device says is not trusted: `deploy/process.py` bounds its output, `deploy/device/transfer.py` checks files.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from jetpress.deploy.device import detached, transfer
from jetpress.deploy.device.protocol import Channel
from jetpress.deploy.device.ssh import Connection, parse
from jetpress.deploy.errors import DeviceError
from jetpress.deploy.process import Completed, Terms, execute

SCRIPTS = Path(__file__).parent / "scripts"
READS = ("scripts/*.py",)
OnLine = Callable[[str], None]
WORKING_FOLDER = ".jetpress"
ANSWER_S = 60.0
LARGEST_READ = 64 * 2**20
BOARD_MARK = Path("/etc/nv_tegra_release")
SYSTEM_PYTHON = "/usr/bin/python3"
"""The only interpreter of a Jetson that imports its TensorRT."""


@dataclass(frozen=True)
class Contents:
    """What a working folder holds, or held. Files that are linked to one another count once."""

    files: int
    size: int
    """Bytes."""

    @classmethod
    def read(cls, answer: Mapping[str, object]) -> Contents:
        """Out of the device's answer, which is a claim."""
        files, size = answer.get("files"), answer.get("bytes")
        if not isinstance(files, int) or not isinstance(size, int):
            raise DeviceError("the device does not say what it holds", "see what its python3 is")
        return cls(files, size)


class Device(Protocol):
    """The one protocol of the house: where to run, and how files get there and back."""

    @property
    def name(self) -> str:
        """What `open` takes to find it again."""

    @property
    def python(self) -> str:
        """The interpreter that has the device's own TensorRT."""

    @property
    def folder(self) -> str:
        """Absolute path of the working folder on the device."""

    def command(self, argv: Sequence[str]) -> list[str]:
        """The command line of *this* machine that runs ``argv`` there."""

    def judge(self, done: Completed) -> None:
        """Raise if it was not the program that failed but the way to it."""

    def close(self) -> None:
        """Let go of the connection. The device stays as it is."""

    def call(self, program: str, request: Mapping[str, object], terms: Terms) -> Completed:
        """Run one of the programs of `deploy/device/scripts` there; ``request`` is the first line that it reads."""
        source = (SCRIPTS / f"{program}.py").read_bytes()
        # Isolated and without site packages: nothing that lies around there can get in, and it starts sooner.
        start = f"import sys;exec(compile(sys.stdin.buffer.read({len(source)}),{program!r},'exec'))"

        def feed() -> Iterator[bytes]:
            yield source + json.dumps(request).encode("ascii") + b"\n"
            yield from terms.feed

        done = execute(
            self.command([self.python, "-IS", "-c", start]), self.name, replace(terms, feed=feed())
        )
        self.judge(done)
        return done

    def channel(self) -> Channel:
        """The device, as far as a conversation with it goes."""
        return Channel(self.name, self.folder, self.call)

    def run(
        self,
        argv: Sequence[str],
        *,
        timeout: float | None = None,
        on_line: OnLine | None = None,
        on_error: OnLine | None = None,
    ) -> Completed:
        """Run a program; no shell reads ``argv``, and it ends when we do (Ctrl-C, timeout, lost connection).

        Args:
            argv: the program and its arguments. ``~`` is not expanded: paths start with ``folder``.
            timeout: seconds after which it is stopped; None: no limit.
            on_line: is handed each line of stdout as it comes.
            on_error: the same of stderr.

        Raises:
            DeviceError: no answer in time, endless output, or the connection was lost.
        """
        terms = Terms(hold=True, timeout=timeout, on_line=on_line, on_error=on_error)
        return self.call("watchdog", {"argv": list(argv)}, terms)

    def run_detached(
        self, name: str, argv: Sequence[str], on_line: OnLine | None = None, on_error: OnLine | None = None
    ) -> Completed:
        """Run a program that goes on there when we end; see :func:`jetpress.deploy.device.detached.run`."""
        return detached.run(self.channel(), name, argv, on_line, on_error)

    def read(self, path: str) -> bytes:
        """The content of a file of at most 64 MiB."""
        content = bytearray()
        request = {"do": "send", "path": path, "offset": 0, "limit": LARGEST_READ + 1}

        def keep(chunk: bytes) -> None:
            content.extend(chunk)
            if len(content) > LARGEST_READ:
                raise DeviceError(f"{path} on {self.name} is larger than 64 MiB", "bring it back with `get`")

        self.channel().succeeded(self.call("files", request, Terms(quiet=ANSWER_S, sink=keep)))
        return bytes(content)

    def write(self, path: str, data: bytes) -> None:
        """Make a file with this content: it is there whole, or as it was before."""
        request = {"do": "write", "path": path, "size": len(data)}
        self.channel().talk("files", request, Terms(feed=[data], quiet=ANSWER_S))

    def put(self, directory: Path, name: str, progress: transfer.OnBytes | None = None) -> str:
        """Send a directory and return its path there; see :func:`jetpress.deploy.device.transfer.put`."""
        return transfer.put(self.channel(), directory, name, progress)

    def get(self, remote: str, local: Path, progress: transfer.OnBytes | None = None) -> None:
        """Bring the files of a directory back; see :func:`jetpress.deploy.device.transfer.get`."""
        transfer.get(self.channel(), remote, local, progress)

    def clean(self) -> Contents:
        """Remove the working folder and end what runs in it; say what that was."""
        self.channel().talk("keep", {"do": "stop", "folder": f"{self.folder}/{detached.FOLDER}"}, Terms())
        return Contents.read(self.channel().ask("remove", folder=self.folder))

    def contents(self) -> Contents:
        """What the working folder holds."""
        return Contents.read(self.channel().ask("usage", folder=self.folder))


@dataclass(frozen=True)
class Local(Device):
    """This machine."""

    where: Path | None = None
    """The working folder; None: ``~/.jetpress``."""

    @property
    def name(self) -> str:
        """``local``."""
        return "local"

    @property
    def python(self) -> str:
        """On a Jetson the system's interpreter; elsewhere the one that runs jetpress."""
        return SYSTEM_PYTHON if BOARD_MARK.exists() else sys.executable

    @property
    def folder(self) -> str:
        """The given folder, absolute."""
        return str((self.where or Path.home() / WORKING_FOLDER).absolute())

    def command(self, argv: Sequence[str]) -> list[str]:
        """``argv`` itself."""
        return list(argv)

    def judge(self, done: Completed) -> None:
        """There is no way here that could fail."""

    def run_detached(
        self, name: str, argv: Sequence[str], on_line: OnLine | None = None, on_error: OnLine | None = None
    ) -> Completed:
        """Here it ends with us: there is no connection that could be lost."""
        return self.run(argv, on_line=on_line, on_error=on_error)

    def close(self) -> None:
        """There is nothing to let go of."""


class Ssh(Device):
    """A machine behind the system's OpenSSH: its config, keys, agents and jump hosts."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._connection = Connection(parse(name))

    @property
    def name(self) -> str:
        """``user@host`` or ``user@host:port``, as given."""
        return self._name

    @property
    def python(self) -> str:
        """The first ``python3`` of the device's PATH."""
        return "python3"

    @property
    def folder(self) -> str:
        """``~/.jetpress`` of the user there."""
        return f"{self._connection.home()}/{WORKING_FOLDER}"

    def command(self, argv: Sequence[str]) -> list[str]:
        """``ssh`` over the open connection, which is made if there is none."""
        return self._connection.command(argv)

    def judge(self, done: Completed) -> None:
        """Raise `ConnectionLost` when it was ssh that failed."""
        self._connection.judge(done)

    def close(self) -> None:
        """End the connection."""
        self._connection.close()


def open(name: str | None, folder: Path | None = None) -> Device:  # noqa: A001 - device.open reads well
    """The device called ``name``: ``user@host``, ``user@host:port``, a host of ~/.ssh/config, or ``local``.

    Nothing is sent before it is first used.

    Args:
        name: None means ``local``.
        folder: the working folder of a local device; None: ``~/.jetpress``.

    Raises:
        DeviceError: this cannot be the name of a host.
    """
    return Local(folder) if name in (None, "local") else Ssh(name)
