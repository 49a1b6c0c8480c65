"""What a person reads while jetpress works: prose on stderr, progress with an estimate.

On a terminal a progress line is rewritten in place; elsewhere (CI, a log file) it is printed now and then
as a plain line. stdout is left to results.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

PLAIN_EVERY_S = 15.0
TERMINAL_EVERY_S = 0.2


def say(line: str = "") -> None:
    """One line of prose on stderr."""
    print(line, file=sys.stderr, flush=True)


def duration(seconds: float) -> str:
    """``0.4 s``, ``12 s``, ``3 min 05 s``: as short as is useful."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


class Progress:
    """Counts up to ``total`` and says how far it is and how long it will still take."""

    def __init__(self, what: str, total: int) -> None:
        self.what, self.total, self.done = what, total, 0
        self._start = self._last = time.monotonic()
        self._terminal = sys.stderr.isatty()
        self._shown = False

    def step(self, note: str = "", amount: int = 1) -> None:
        """``amount`` more of the total is done; ``note`` is shown behind the estimate."""
        self.done += amount
        now = time.monotonic()
        if now - self._last < (TERMINAL_EVERY_S if self._terminal else PLAIN_EVERY_S):
            return
        self._last = now
        left = (now - self._start) / max(self.done, 1) * max(self.total - self.done, 0)
        share = f"{100 * self.done / max(self.total, 1):3.0f} %"
        self._write(f"    {self.what} {share}, about {duration(left)} left{'  ' + note if note else ''}")

    def _write(self, line: str) -> None:
        self._shown = True
        if self._terminal:
            sys.stderr.write(f"\r\x1b[2K{line}")
            sys.stderr.flush()
        else:
            say(line)

    def clear(self) -> None:
        """Take the terminal's progress line away before something else is printed."""
        if self._terminal and self._shown:
            sys.stderr.write("\r\x1b[2K")
            sys.stderr.flush()


@contextmanager
def progress(what: str, total: int) -> Iterator[Progress]:
    """A :class:`Progress` whose line is taken away at the end, also when the work fails."""
    line = Progress(what, total)
    try:
        yield line
    finally:
        line.clear()
