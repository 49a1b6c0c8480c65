"""One connection to a device, through the system's OpenSSH, shared by everything that goes over it.

A master process holds the connection; each program that runs on the device is one more channel in it, without
a new handshake. The master runs `cat` over there and waits for the end of its stdin, so that it ends with us,
however we end. The user's config, keys, agents and jump hosts are used as they are; only what makes it safe
is set: host keys are checked whatever the config says, nothing is asked, nothing is forwarded.
"""

from __future__ import annotations

import json
import os
import re
import selectors
import shlex
import shutil
import subprocess
import tempfile
import time
import weakref
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from jetpress.deploy.errors import DeviceError, ToolMissing
from jetpress.deploy.process import Completed, plain

CONNECT_S = 10
HELLO_S = 30.0
MOST_WORDS = 2**16
CONFIG = "JETPRESS_SSH_CONFIG"
SSH_FAILED = 255
OPTIONS = {
    "BatchMode": "yes",
    "StrictHostKeyChecking": "yes",
    "ConnectTimeout": str(CONNECT_S),
    "ServerAliveInterval": "5",
    "ServerAliveCountMax": "3",
    "ClearAllForwardings": "yes",
    "ForwardAgent": "no",
    "ForwardX11": "no",
    "PermitLocalCommand": "no",
    "RemoteCommand": "none",
    "RequestTTY": "no",
    "ControlPersist": "no",
    "LogLevel": "ERROR",
}
MARK = "jetpress-hello "
HELLO = (
    "import json,os,sys;"
    f"print({MARK!r}+json.dumps([list(sys.version_info[:3]),os.path.expanduser('~')]),flush=True);"
    "os.execvp('cat',['cat'])"
)
OLDEST_PYTHON = (3, 6)

# A user and a host as they occur in the world. No blank, quote, shell character or leading "-" can pass.
_NAME = re.compile(
    r"(?:(?P<user>[A-Za-z0-9_][A-Za-z0-9_.-]{0,63})@)?"
    r"(?P<host>[A-Za-z0-9_][A-Za-z0-9_.-]{0,252}|\[[0-9A-Fa-f:.]{2,45}\])"
    r"(?::(?P<port>[0-9]{1,5}))?"
)


class ConnectionLost(DeviceError):
    """The connection broke after it had been made: trying again may help."""


@dataclass(frozen=True)
class Address:
    """Where ssh is to connect to."""

    destination: str
    port: int | None = None

    def __str__(self) -> str:
        return f"{self.destination}:{self.port}" if self.port else self.destination

    def by_hand(self, command: str = "ssh") -> str:
        """What a person types to get there."""
        port = f"-p {self.port} " if self.port else ""
        return f"{command} {port}{self.destination}"


def parse(name: str) -> Address:
    """The address in ``user@host:port``.

    Raises:
        DeviceError: it is no host name, or could be taken for an option of ssh.
    """
    match = _NAME.fullmatch(name)
    port = int(match["port"]) if match and match["port"] else None
    if match is None or port == 0 or (port or 0) > 65535:
        raise DeviceError(
            f"{plain(name)[:80]!r} cannot be a device",
            "write user@host or user@host:port; anything unusual belongs into a Host entry of ~/.ssh/config",
        )
    host = match["host"].strip("[]")
    return Address(f"{match['user']}@{host}" if match["user"] else host, port)


class Connection:
    """Connects when it is first used, and again when it was lost."""

    def __init__(self, address: Address) -> None:
        self.address = address
        self._master: subprocess.Popen[bytes] | None = None
        self._folder: Path | None = None
        self._home: str | None = None
        self._end: Callable[[], object] = lambda: None

    def home(self) -> str:
        """Home folder of the user there."""
        if self._home is None:
            self._connect()
        assert self._home is not None
        return self._home

    def command(self, argv: Sequence[str]) -> list[str]:
        """The local command that runs ``argv`` there, quoted so that the shell there interprets nothing."""
        if self._master is None or self._master.poll() is not None:
            self._connect()
        return [*self._ssh(), "-o", "ControlMaster=no", "--", self.address.destination, shlex.join(argv)]

    def judge(self, done: Completed) -> None:
        """Raise if ssh failed, rather than the program that it ran (`guard` keeps 255 free for this)."""
        if done.returncode != SSH_FAILED:
            return
        with suppress(subprocess.TimeoutExpired):
            if self._master is not None:
                self._master.wait(1.0)
        raise ConnectionLost(
            f"the connection to {self.address} was lost: {_reply(done.stderr)}",
            "see that the device is up and reachable, then run it again: it goes on where it stopped",
        )

    def close(self) -> None:
        """End the connection and remove its socket."""
        self._end()
        self._master = None

    def _ssh(self) -> list[str]:
        assert self._folder is not None
        config = ["-F", os.environ[CONFIG]] if os.environ.get(CONFIG) else []
        options = [part for key, value in OPTIONS.items() for part in ("-o", f"{key}={value}")]
        port = ["-p", str(self.address.port)] if self.address.port else []
        return ["ssh", *config, "-T", "-S", str(self._folder / "s"), *options, *port]

    def _connect(self) -> None:
        self.close()
        if shutil.which("ssh") is None:
            raise ToolMissing("OpenSSH's `ssh` is not installed", "install it: apt install openssh-client")
        self._folder = Path(
            tempfile.mkdtemp(prefix="jetpress-")
        )  # private; short, as a socket's path must be
        hello = shlex.join(["python3", "-c", HELLO])
        command = [*self._ssh(), "-o", "ControlMaster=yes", "--", self.address.destination, hello]
        pipe = subprocess.PIPE
        master = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, start_new_session=True)
        self._end = weakref.finalize(self, _end, master, self._folder)
        out, errors = _first_words(master)
        match = re.search(f"^{MARK}(.*)$", out, re.MULTILINE)
        if match is None:
            failure = why(self.address, master.poll(), out, errors, known=self._home is not None)
            self.close()
            raise failure
        if match.start() > 0:
            self.close()
            raise DeviceError(
                f"the login shell of {self.address} prints text of its own: {_reply(out[: match.start()])}",
                "guard that line of its ~/.bashrc with: case $- in *i*) ... esac",
            )
        self._master = master
        self._home = self._read_hello(match[1])

    def _read_hello(self, hello: str) -> str:
        try:
            version, home = json.loads(hello)
            usable = tuple(version) >= OLDEST_PYTHON and home.startswith("/") and home.isprintable()
        except (ValueError, TypeError, AttributeError, RecursionError):
            usable, version, home = False, "?", ""
        if not usable:
            self.close()
            found = f"Python {plain(_dotted(version))[:40]} and the home folder {plain(str(home))[:80]!r}"
            raise DeviceError(
                f"{self.address} has {found}",
                "a device needs a home folder and python3 of version 3.6 or newer",
            )
        return str(home)


def _dotted(version: object) -> str:
    return ".".join(map(str, version)) if isinstance(version, list) else str(version)


def _end(master: subprocess.Popen[bytes], folder: Path) -> None:
    with suppress(OSError):
        assert master.stdin is not None
        master.stdin.close()
    with suppress(subprocess.TimeoutExpired):
        master.wait(1.0)
    master.kill()
    master.wait()
    for pipe in (master.stdout, master.stderr):
        assert pipe is not None
        pipe.close()
    shutil.rmtree(folder, ignore_errors=True)


def _first_words(master: subprocess.Popen[bytes]) -> tuple[str, str]:
    """What the master prints until the hello, its end, or the end of our patience."""
    assert master.stdout is not None
    assert master.stderr is not None
    heard = {master.stdout.fileno(): bytearray(), master.stderr.fileno(): bytearray()}
    out, errors = heard.values()
    until = time.monotonic() + HELLO_S
    with selectors.DefaultSelector() as waiting:
        for pipe in heard:
            waiting.register(pipe, selectors.EVENT_READ)
        while waiting.get_map() and time.monotonic() < until and max(len(out), len(errors)) < MOST_WORDS:
            for key, _ in waiting.select(until - time.monotonic()):
                chunk = os.read(key.fd, 4096)
                heard[key.fd].extend(chunk)
                if not chunk:
                    waiting.unregister(key.fd)
            if (at := out.find(MARK.encode())) >= 0 and b"\n" in out[at:]:
                break
        else:
            with suppress(subprocess.TimeoutExpired):
                master.wait(1.0)
    return plain(out.decode("utf-8", "replace")), plain(errors.decode("utf-8", "replace"))


def why(address: Address, status: int | None, out: str, errors: str, known: bool) -> DeviceError:
    """The failure behind what ssh said when no connection came about.

    Args:
        address: where to.
        status: exit status of ssh, None while it still runs.
        out: what came from the device.
        errors: what ssh and the device said on stderr.
        known: whether the device had answered before; then this is an outage, and trying again may help.
    """
    reply, hand = _reply(errors or out), address.by_hand()
    if "REMOTE HOST IDENTIFICATION HAS CHANGED" in errors or re.search(
        r"host key .* has changed", errors, re.I
    ):
        return DeviceError(
            f"the host key of {address} has changed: this may be another machine. Nothing was sent: {reply}",
            "if the device was reinstalled, compare the fingerprint on the device itself, remove the old key "
            f"with `ssh-keygen -R`, then connect once by hand: {hand}",
        )
    if "Host key verification failed" in errors or re.search("No .* host key is known", errors):
        return DeviceError(
            f"the host key of {address} is not known: {reply}",
            f"connect once by hand and compare the fingerprint: {hand}",
        )
    if "Permission denied" in errors or "Too many authentication failures" in errors:
        return DeviceError(
            f"{address} refused the login: {reply}",
            f"jetpress asks for no password: set up a key ({address.by_hand('ssh-copy-id')}) until this "
            f"works without one: {hand} true",
        )
    if status in (126, 127) or "python3: not found" in errors or "python3: command not found" in errors:
        return DeviceError(f"{address} has no python3: {reply}", "install it there: sudo apt install python3")
    if max(len(out), len(errors)) >= MOST_WORDS:
        return DeviceError(
            f"{address} prints without end: {len(out) + len(errors)} characters and no answer, last: {reply[-100:]}",
            f"see what its login script, or what is called python3 there, prints: {hand} true",
        )
    if "too long for Unix domain socket" in errors:
        return DeviceError(
            f"ssh cannot make its socket below {tempfile.gettempdir()}: {reply}", "set TMPDIR to a short path"
        )
    if status is None or status == SSH_FAILED:
        kind = ConnectionLost if known else DeviceError
        within = f"gave no sign within {HELLO_S:g} s" if status is None else "is not reachable"
        return kind(
            f"{address} {within}: {reply}", f"check power, cable and address until this works: {hand} true"
        )
    return DeviceError(
        f"{address} could not run python3 (status {status}): {reply}", f"try it: {hand} python3 -V"
    )


def _reply(text: str) -> str:
    """The end of what was said, on one line."""
    lines = [line.strip() for line in text.splitlines() if line.strip("@ ")]
    return " | ".join(lines)[-600:] or "it said nothing"
