"""What a person reads while jetpress works: prose on stderr, progress with an estimate. stdout is left to results.

``-q`` leaves errors and the verdict, ``-v`` adds what is decided and why. How progress is drawn is
:mod:`jetpress.deploy.live`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from enum import IntEnum

from jetpress.deploy.live import Screen
from jetpress.deploy.progress import Overall, Progress, duration

__all__ = [
    "Level",
    "Overall",
    "Progress",
    "conclude",
    "detail",
    "duration",
    "milestone",
    "note",
    "progress",
    "say",
    "speak",
    "whole",
]


class Level(IntEnum):
    """How much is said."""

    QUIET = 0
    """Errors and the verdict."""
    NORMAL = 1
    VERBOSE = 2
    """Also what is decided and why."""


_screen = Screen()
_level = Level.NORMAL


def _forked() -> None:
    """A child process has no thread that draws, and perhaps a lock that nobody lets go of."""
    global _screen
    _screen = Screen()


os.register_at_fork(after_in_child=_forked)


def speak(level: Level) -> None:
    """From now on this much is said."""
    global _level
    _level = level


def say(line: str = "") -> None:
    """One line of prose."""
    if _level >= Level.NORMAL:
        _screen.say(line)


def milestone(line: str) -> None:
    """How far work is: a line where lines stay; live ones say it themselves."""
    if _level > Level.NORMAL or (_level == Level.NORMAL and not _screen.is_live()):
        _screen.say(line)


def detail(line: str) -> None:
    """What is decided and why: a line with ``-v``."""
    if _level >= Level.VERBOSE:
        _screen.say(line)


def note(line: str, lasting: bool = True) -> None:
    """What another program says of its work: beside the progress of the work, and a line with ``-v`` if ``lasting``."""
    if lasting:
        detail(f"    {line}")
    if _screen.running:
        _screen.running[-1].note = line.strip()


def conclude(line: str) -> None:
    """An error or the verdict: said however quiet it is to be."""
    _screen.say(line)


@contextmanager
def progress(
    what: str, total: int = 0, expected: float | None = None, earlier: int = 0
) -> Iterator[Progress]:
    """Work that is shown until it ends, also when it fails.

    Args:
        what: names it.
        total: units to do, counted by ``step``; 0 where it cannot be counted: then its time goes by.
        expected: seconds that the same work took before.
        earlier: units of the total that another process did.
    """
    work = Progress(what, total, expected, earlier, earlier=earlier)
    if _level < Level.NORMAL:
        yield work
        return
    _screen.begin(work)
    try:
        yield work
    finally:
        _screen.end(work)


@contextmanager
def whole() -> Iterator[Overall]:
    """One line over all steps of a command; whoever takes them fills it in."""
    overall = Overall()
    if _level < Level.NORMAL:
        yield overall
        return
    _screen.begin(overall)
    try:
        yield overall
    finally:
        _screen.end(overall)
