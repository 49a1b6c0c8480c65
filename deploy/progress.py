"""How far work is and how long it will take, in numbers and in words. `jetpress.deploy.live` draws it."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass, field


def duration(seconds: float) -> str:
    """``0.4 s``, ``12 s``, ``3 min 05 s``: as short as is useful."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    if seconds < 59.5:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes:02d} min"


@dataclass(eq=False)
class Progress:
    """Work that is counted, or that only takes its time."""

    what: str
    total: int = 0
    """Units to do; 0: it cannot be counted (a library's call)."""
    expected: float | None = None
    """Seconds that the same work took before."""
    done: int = 0
    note: str = ""
    """The latest that is known of it, such as a loss."""
    earlier: int = 0
    """Of what is done, units that another process did: they tell nothing about the rate."""
    began: float = field(default_factory=time.monotonic)

    def step(self, note: str = "", amount: int = 1) -> None:
        """``amount`` more of the total is done."""
        self.done += amount
        self.note = note or self.note

    @property
    def share(self) -> float | None:
        """0 to 1; None where it cannot be counted."""
        return min(self.done / self.total, 1.0) if self.total > 0 else None

    def left(self, now: float) -> float | None:
        """Seconds that are left: by the rate so far, else by the time it took before; None: nothing tells."""
        gone, here = now - self.began, self.done - self.earlier
        if self.total > 0 and here > 0:
            return gone / here * max(self.total - self.done, 0)
        if self.expected is not None and gone <= self.expected:
            return self.expected - gone
        return None

    def times(self, now: float) -> str:
        """How long it has taken and will take, in words."""
        gone, left = now - self.began, self.left(now)
        if left is not None:
            return f"{duration(gone)}, about {duration(left)} left"
        before = f" ({duration(self.expected)} last time)" if self.expected is not None else ""
        return f"{duration(gone)} so far{before}"

    def line(self, now: float) -> str:
        """All of it in one line."""
        share = "" if self.share is None else f" {100 * self.share:.0f} %"
        return f"{self.what}{share}, {self.times(now)}{'  ' + self.note if self.note else ''}"


@dataclass(eq=False)
class Overall:
    """The whole that is worked on: which step of how many, and what comes after it."""

    number: int = 0
    """Of the step, from 1; 0: none has begun."""
    count: int = 0
    """Steps in all; 0: not known yet."""
    rest: float | None = None
    """Seconds of the steps after this one, as far as they are known; None: of none of them."""
    complete: bool = False
    """Whether all steps after this one are in ``rest``."""
    began: float = field(default_factory=time.monotonic)

    @property
    def share(self) -> float | None:
        """0 to 1, by steps; None where it is not known how many there are."""
        return max(self.number - 1, 0) / self.count if self.count else None

    def line(self, now: float, running: Iterable[Progress]) -> str:
        """In one line; the step is the outermost of what is running."""
        running = list(running)
        place = f"[{self.number} of {self.count}] " if self.count and self.number else ""
        step = running[0].what if running else "looking up what is done"
        return f"{place}{step}, {duration(now - self.began)} in all{self._left(now, running)}"

    def _left(self, now: float, running: list[Progress]) -> str:
        here = next((left for one in running if (left := one.left(now)) is not None), None)
        if self.rest is None or not self.count or (here is None and not self.rest):
            return ""
        sure = self.complete and here is not None
        return f", {'about' if sure else 'at least'} {duration(self.rest + (here or 0.0))} left"
