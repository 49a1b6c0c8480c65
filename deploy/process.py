"""Run a program whose output nobody has to trust: bounded in memory and time, harmless on a terminal.

A device may print for ever, print no line end, send invalid UTF-8 or terminal escapes, or say nothing. So
lines and what is kept of the output have limits, and text is made plain before anything prints it.
"""

from __future__ import annotations

import os
import re
import selectors
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field

from jetpress.deploy.errors import DeviceError

LONGEST_LINE = 8 * 2**20
KEPT = 4 * 2**20
"""Of stdout, the last of it. Who needs more takes the lines as they come."""
KEPT_ERRORS = 2**16
MOST_OUTPUT = 256 * 2**20
CHUNK = 2**16
GRACE_S = 1.7
"""After a timeout or Ctrl-C: the far end has a second to stop what it started, then we stop waiting."""

# What moves a cursor, changes a colour or the direction of reading: C0 but tab and newline, C1, bidi.
_ACTIVE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")


def plain(text: str) -> str:
    """``text`` with control characters written out as ``\\u001b``: what they say is seen, not done."""
    return text if text.isprintable() else _ACTIVE.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


@dataclass(frozen=True)
class Completed:
    """How a program ended. Both texts are plain, and the last of what was printed."""

    returncode: int
    stdout: str
    stderr: str


@dataclass
class _Tail:
    """The last ``most`` bytes of a stream."""

    most: int
    kept: bytearray = field(default_factory=bytearray)

    def add(self, chunk: bytes) -> None:
        self.kept += chunk
        if len(self.kept) > 2 * self.most:
            del self.kept[: -self.most]

    def text(self) -> str:
        return plain(bytes(self.kept[-self.most :]).decode("utf-8", "replace").replace("\r\n", "\n"))


@dataclass
class _Lines:
    """Cuts a stream into lines and hands each on."""

    who: str
    on_line: Callable[[str], None] | None
    rest: bytearray = field(default_factory=bytearray)
    seen: int = 0

    def add(self, chunk: bytes) -> None:
        self.seen += len(chunk)
        if self.seen > MOST_OUTPUT:
            raise DeviceError(
                f"{self.who} printed more than {MOST_OUTPUT // 2**20} MiB and was stopped",
                "look at what it runs: this is no answer of jetpress's own programs",
            )
        if self.on_line is None:
            return
        self.rest += chunk
        if b"\n" in chunk:
            *lines, self.rest = self.rest.split(b"\n")
            for line in lines:
                self.on_line(_text(line))
        if len(self.rest) > LONGEST_LINE:
            raise DeviceError(
                f"{self.who} printed a line of more than {LONGEST_LINE // 2**20} MiB and was stopped",
                "look at what it runs: this is no answer of jetpress's own programs",
            )

    def end(self) -> None:
        if self.rest and self.on_line is not None:
            self.on_line(_text(self.rest))


def _text(line: bytes | bytearray) -> str:
    return plain(bytes(line).removesuffix(b"\r").decode("utf-8", "replace"))


@dataclass(frozen=True)
class Terms:
    """How to talk with a program while it runs."""

    feed: Iterable[bytes] = ()
    """What goes to its stdin."""
    hold: bool = False
    """Leave its stdin open after that: its end then tells the program that we are gone."""
    timeout: float | None = None
    """Seconds it may take altogether."""
    quiet: float | None = None
    """Seconds during which no byte may move in either direction."""
    on_line: Callable[[str], None] | None = None
    on_error: Callable[[str], None] | None = None
    """Is handed each line of stderr."""
    sink: Callable[[bytes], None] | None = None
    """Takes stdout as bytes; then no text of it is kept and it may be of any length."""


def execute(command: list[str], who: str, terms: Terms) -> Completed:
    """Run ``command`` to its end, under ``terms``.

    Raises:
        DeviceError: it took too long, said nothing for too long, or printed without end. It was stopped.
    """
    with subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,  # Ctrl-C comes to us alone; we pass it on by closing stdin
    ) as process:
        try:
            out, errors = _Tail(KEPT), _Tail(KEPT_ERRORS)
            lines, prose = _Lines(who, terms.on_line), _Lines(who, terms.on_error)

            def take(chunk: bytes) -> None:
                lines.add(chunk)
                out.add(chunk)

            def take_error(chunk: bytes) -> None:
                prose.add(chunk)
                errors.add(chunk)

            _converse(process, who, terms, terms.sink or take, take_error)
            lines.end()
            prose.end()
            return Completed(process.wait(), out.text(), errors.text())
        finally:
            _end(process)


def _converse(
    process: subprocess.Popen[bytes],
    who: str,
    terms: Terms,
    on_out: Callable[[bytes], None],
    on_error: Callable[[bytes], None],
) -> None:
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stderr is not None
    readers = {process.stdout.fileno(): on_out, process.stderr.fileno(): on_error}
    clock = _Clock(who, terms)
    with selectors.DefaultSelector() as waiting:
        for reader in readers:
            waiting.register(reader, selectors.EVENT_READ)
        os.set_blocking(process.stdin.fileno(), False)
        waiting.register(process.stdin.fileno(), selectors.EVENT_WRITE)
        feed, pending = iter(terms.feed), memoryview(b"")
        while True:
            events = waiting.select(clock.patience())
            if not events and process.poll() is not None:
                return  # all is read; whoever still holds the pipes was left behind by the program
            for key, _ in events:
                clock.moved()
                if key.fd in readers:
                    if chunk := os.read(key.fd, CHUNK):
                        readers[key.fd](chunk)
                    else:
                        waiting.unregister(key.fd)
                        del readers[key.fd]
                elif (more := _write(process, pending, feed)) is None:
                    waiting.unregister(key.fd)
                    if not terms.hold:
                        process.stdin.close()
                else:
                    pending = more
            if not readers:
                with suppress(subprocess.TimeoutExpired):
                    process.wait(clock.patience())
                    return


def _write(process: subprocess.Popen[bytes], pending: memoryview, feed: Iterator[bytes]) -> memoryview | None:
    """Write some of the feed; return the rest of its current piece, None when all is written or refused."""
    assert process.stdin is not None
    if not pending and not (pending := memoryview(next(feed, b""))):
        return None
    try:
        return pending[os.write(process.stdin.fileno(), pending[:CHUNK]) :]
    except BlockingIOError:
        return pending
    except BrokenPipeError:
        return None


class _Clock:
    """Raises when a program has had its time."""

    def __init__(self, who: str, terms: Terms) -> None:
        self.who, self.terms = who, terms
        self.start = self.last = time.monotonic()

    def moved(self) -> None:
        self.last = time.monotonic()
        self.patience()

    def patience(self) -> float:
        """Seconds to wait for the next byte before looking again."""
        now = time.monotonic()
        for limit, since, what in (
            (self.terms.timeout, self.start, "did not finish"),
            (self.terms.quiet, self.last, "said nothing"),
        ):
            if limit is not None and now - since >= limit:
                raise DeviceError(
                    f"{self.who} {what} within {limit:g} s and was stopped",
                    "see what the device is doing (`top`, `dmesg`), then run the command again",
                )
        left = [self.terms.timeout - (now - self.start)] if self.terms.timeout is not None else []
        return max(0.0, min([0.1, *left]))


def _end(process: subprocess.Popen[bytes]) -> None:
    """Stop a program that still runs: its stdin ends, and if that does not tell it, by force."""
    if process.stdin is not None:
        with suppress(OSError):
            process.stdin.close()
    with suppress(subprocess.TimeoutExpired):
        process.wait(GRACE_S)
    if process.poll() is None:
        process.kill()
