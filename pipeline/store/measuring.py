"""Who measures a device has it for itself: among all runs of one store, and on this machine among the cells of a sweep.

Boards: building, trying and timing on one wait for one another. This machine: timing waits for timing, and whoever
runs several programs at once (a sweep) is asked first: it stops the others for as long as it takes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar

from jetpress.pipeline.recipe.configs import Place, TimedConfig, Timing, TimingsConfig

Locked = Callable[[str, str], AbstractContextManager[None]]
Alone = Callable[[], AbstractContextManager[None]]
_asked: ContextVar[Alone] = ContextVar("alone", default=nullcontext)


@contextmanager
def asking(alone: Alone) -> Iterator[None]:
    """Within the block ``alone`` is entered whenever this machine is measured."""
    before = _asked.set(alone)
    try:
        yield
    finally:
        _asked.reset(before)


@contextmanager
def exclusive(config: object, locked: Locked) -> Iterator[None]:
    """A stage with this configuration has its device for itself, if it works on one.

    Nothing within takes a lock of the store: a process that was stopped might hold it.

    Args:
        config: of the stage.
        locked: the store's own: a name, and what whoever waits for it is told.
    """
    place, timed = _place(config)
    if place is None or (place.device is None and not timed):
        yield
        return
    name = place.device or "this machine"
    lock = locked(f"device-{hashlib.sha256(name.encode()).hexdigest()[:16]}", f"another run is on {name}")
    with lock, nullcontext() if place.device else _asked.get()():
        yield


def _place(config: object) -> tuple[Place | None, bool]:
    """Where a stage works, and whether it takes times there."""
    match config:
        case Place():
            return config, False
        case Timing():
            return config.place, True
        case TimingsConfig() | TimedConfig():
            return config.bench.place, True
    return None, False
