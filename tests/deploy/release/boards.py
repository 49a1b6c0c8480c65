"""Boards in this process, with slots of their own, and what can go wrong on each, from a seed."""

from __future__ import annotations

import errno
import os
import random
import shutil
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest import mock

from jetpress.deploy.device.ssh import ConnectionLost
from jetpress.deploy.errors import DeviceError
from jetpress.deploy.runner.release.deployment import Asked, deploy
from jetpress.deploy.runner.release.slots import Place, damage
from jetpress.deploy.runner.system.failures import RunnerError
from tests.deploy.release.test_slots import build, healthy, release

FAULTS = ("cut", "disk full", "wrong board", "bad engine", "silent")
OLD, NEW = "old", "new"


class Cut(BaseException):
    """The process over there is gone, wherever it was."""


class Boards:
    """Each has the old release. ``faults`` of them, by name; the others take the new one."""

    def __init__(self, folder: Path, count: int, share: float, seed: int) -> None:
        chance = random.Random(seed)
        self.folder, self.names = folder, [f"board{number}" for number in range(count)]
        self.faults = {name: chance.choice(FAULTS) for name in self.names if chance.random() < share}
        self.at = {name: chance.randrange(1, 14) for name in self.names}
        self.calls, self.most, self._now = Counter[str](), 0, 0
        self._local, self._lock = threading.local(), threading.Lock()
        old = release(folder / "releases" / OLD, OLD)
        self.new = release(folder / "releases" / NEW, NEW)
        deploy(str(old), self._asked("first"), build, healthy)
        for name in self.names:
            shutil.copytree(self._root("first"), self._root(name), symlinks=True)

    def _root(self, name: str) -> str:
        return str(self.folder / "boards" / name)

    def _asked(self, name: str) -> Asked:
        return Asked(root=self._root(name), signers=str(self.folder / "nobody"))

    @contextmanager
    def running(self) -> Iterator[None]:
        """For as long as this lasts a write may fail: at each of them the disk can be full or the board be gone."""

        def fsync(handle: int) -> None:
            self._local.left = getattr(self._local, "left", 0) - 1
            if self._local.left == 0:
                raise self._local.failure

        with mock.patch.object(os, "fsync", fsync):
            yield

    def act(self, name: str) -> str:
        """What the fleet asks of a device."""
        with self._lock:
            self.calls[name] += 1
            self._now += 1
            self.most = max(self.most, self._now)
        try:
            return self._deployed(name, self.faults.get(name, ""))
        finally:
            with self._lock:
                self._now -= 1

    def _deployed(self, name: str, fault: str) -> str:
        if fault == "silent":
            raise ConnectionLost(f"{name} gave no sign within 30 s")
        self._local.left = self.at[name] if fault in ("cut", "disk full") else 0
        self._local.failure = Cut() if fault == "cut" else OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        other = "the bundle is for orin-nano" if fault == "wrong board" else None
        sick = "crash: signal 11" if fault == "bad engine" else None
        try:
            deploy(
                str(self.new), self._asked(name), lambda folder: other or build(folder), lambda folder: sick
            )
        except RunnerError as error:
            raise DeviceError(error.what) from None
        except Cut:
            raise ConnectionLost(f"the connection to {name} was lost") from None
        finally:
            self._local.left = 0
        return "new"

    def serves(self, name: str) -> str:
        """The whole engine that serves there; empty where there is none."""
        place = Place(self._root(name), "toy")
        number = place.current()
        if number is None or damage(place, number) is not None:
            return ""
        return (Path(place.path(number)) / "engines/compressed.engine").read_text()
