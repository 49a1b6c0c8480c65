"""Where progress is shown: live lines on a terminal (rich), bars in a notebook (tqdm), elsewhere a plain line now and
then. A thread draws, so the line stays alive while a library's call does not come back."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Protocol

from jetpress.deploy.progress import Overall, Progress

if TYPE_CHECKING:
    from rich.console import RenderableType

PLAIN_EVERY_S = 15.0
LIVE_EVERY_S = 0.5
"""Seldom enough to cost a measurement beside it nothing: one drawing takes about a millisecond."""
BAR = 24


class View(Protocol):
    """What lines are shown on."""

    every: float
    """Seconds between two drawings."""
    live: bool
    """Whether what is drawn is rewritten in place."""

    def draw(self, overall: Overall | None, running: Sequence[Progress]) -> None:
        """Show how far everything is, now."""

    def say(self, line: str) -> None:
        """One line of prose, above what is drawn."""

    def close(self) -> None:
        """Take away what is drawn."""


class Plain:
    """A file, a pipe, the log of a CI: lines that stay."""

    every = PLAIN_EVERY_S
    live = False

    def draw(self, overall: Overall | None, running: Sequence[Progress]) -> None:
        """One line: the innermost work, and how long all will take."""
        now = time.monotonic()
        whole = [f"    {overall.line(now, running)}"] if overall is not None and overall.number else []
        if running and (len(running) > 1 or not whole):
            whole = [f"    {running[-1].line(now)}", *(f";{one[3:]}" for one in whole)]
        elif running and whole and running[-1].note:
            whole.append(f"  {running[-1].note}")
        if whole:
            self.say("".join(whole))

    def say(self, line: str) -> None:
        """As it is, in one write: other processes may write there, too."""
        sys.stderr.write(f"{line}\n")
        sys.stderr.flush()

    def close(self) -> None:
        """Lines stay."""


class Terminal(Plain):
    """Lines that are rewritten in place, by rich; prose goes by above them."""

    every = LIVE_EVERY_S
    live = True

    def __init__(self) -> None:
        self._live: Any = None
        self._shown: tuple[Overall | None, Sequence[Progress]] = (None, ())

    def draw(self, overall: Overall | None, running: Sequence[Progress]) -> None:
        """All of it: the whole, and below it each work with a bar."""
        self._shown = overall, tuple(running)
        if self._live is None:
            self._open()
        else:
            self._live.refresh()

    def _open(self) -> None:
        from rich.console import Console
        from rich.live import Live

        console = Console(file=sys.stderr, highlight=False, markup=False, emoji=False)
        self._live = Live(
            console=console,
            auto_refresh=False,
            transient=True,
            redirect_stdout=False,
            get_renderable=self._lines,
            vertical_overflow="crop",
        )
        self._live.start(refresh=True)
        console.show_cursor(True)  # a process that is killed cannot bring it back

    def _lines(self) -> RenderableType:
        from rich.console import Group
        from rich.text import Text

        overall, running = self._shown
        now, lines = time.monotonic(), list[Text]()
        if overall is not None:
            lines.append(Text(f"  {overall.line(now, running)}", "bold"))
        for one in running:
            if overall is not None and one is running[0] and one.share is None and not one.note:
                continue  # the line above says all of it
            lines.append(Text(f"    {one.what}  "))
            if one.share is not None:
                full = round(BAR * one.share)
                lines[-1].append("━" * full, "green").append("━" * (BAR - full), "bright_black").append("  ")
            lines[-1].append(one.times(now)).append(f"  {one.note}" if one.note else "", "dim")
        for line in lines:
            line.no_wrap, line.overflow = True, "ellipsis"
        return Group(*lines)

    def say(self, line: str) -> None:
        """Above the live lines, unbroken: what is copied from the terminal is whole."""
        if self._live is None:
            super().say(line)
        else:
            self._live.console.print(line, soft_wrap=True, markup=False, highlight=False, emoji=False)

    def close(self) -> None:
        """The live lines go."""
        if self._live is not None:
            self._live.stop()
            self._live = None


class Kernel(Plain):
    """Plain lines in a notebook: on stdout, as it paints stderr red."""

    def say(self, line: str) -> None:
        """On stdout, which no other program reads there."""
        print(line, flush=True)


class Notebook(Kernel):
    """Bars of tqdm. (rich's live lines swallow what another thread prints while they are drawn.)"""

    every = LIVE_EVERY_S
    live = True

    def __init__(self) -> None:
        self._bars: list[Any] = []

    def draw(self, overall: Overall | None, running: Sequence[Progress]) -> None:
        """A bar for what is outermost and one for what is innermost. They stay: each that is closed leaves a gap."""
        now = time.monotonic()
        lines: list[tuple[Progress | Overall, str]] = [(one, one.line(now)) for one in running]
        if overall is not None:
            lines.insert(0, (overall, overall.line(now, running)))
        shown = [lines[0], *lines[1:][-1:]]
        for bar, (work, line) in zip(self._both(), shown, strict=False):
            bar.n = 100 * (work.share or 0)
            bar.set_description_str(line)
            bar.container.layout.display = "flex"
        for bar in self._both()[len(shown) :]:
            bar.container.layout.display = "none"

    def _both(self) -> list[Any]:
        from tqdm.notebook import tqdm

        while len(self._bars) < 2:
            self._bars.append(tqdm(total=100, bar_format="{bar}{desc}", leave=False))
        return self._bars

    def close(self) -> None:
        """The bars go."""
        for bar in self._bars:
            bar.n = bar.total  # or it would stay, as one that failed
            bar.close()
        self._bars.clear()


def view() -> View:
    """What stderr is now."""
    python = sys.modules.get("IPython")
    if python is not None and getattr(python.get_ipython(), "kernel", None) is not None:
        return Notebook() if find_spec("ipywidgets") and find_spec("tqdm") else Kernel()
    if sys.stderr.isatty() and os.environ.get("TERM") != "dumb":
        return Terminal()
    return Plain()


class Screen:
    """What is being worked on, outermost first, drawn while there is anything."""

    def __init__(self) -> None:
        self.overall: Overall | None = None
        self.running: list[Progress] = []
        self._lock = threading.RLock()
        self._view: View | None = None
        self._over = threading.Event()
        self._drawer: threading.Thread | None = None

    def begin(self, work: Progress | Overall) -> None:
        """It is shown from now on."""
        with self._lock:
            if isinstance(work, Overall):
                self.overall = work
            else:
                self.running.append(work)
            if self._drawer is None:
                self._view, self._over = view(), threading.Event()
                self._drawer = threading.Thread(target=self._draw, args=(self._view, self._over), daemon=True)
                self._drawer.start()

    def end(self, work: Progress | Overall) -> None:
        """It is shown no longer; with the last one the thread ends."""
        with self._lock:
            if work is self.overall:
                self.overall = None
            elif isinstance(work, Progress):
                self.running.remove(work)
            if self.running or self.overall is not None:
                return
            drawer, shown, self._drawer, self._view = self._drawer, self._view, None, None
            self._over.set()
        if drawer is not None and shown is not None:
            drawer.join()
            shown.close()

    def is_live(self) -> bool:
        """Whether what is drawn is rewritten in place."""
        with self._lock:
            return self._view is not None and self._view.live

    def say(self, line: str) -> None:
        """One line of prose."""
        with self._lock:
            (self._view or view()).say(line)

    def _draw(self, shown: View, over: threading.Event) -> None:
        with suppress(OSError, ValueError):  # nobody reads stderr any more
            while not over.wait(shown.every):
                with self._lock:
                    if not over.is_set():
                        shown.draw(self.overall, tuple(self.running))
