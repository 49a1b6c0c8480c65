"""A disk whose power fails: every change below a folder is recorded, and any moment of it can be played back.

What survives is what POSIX promises, and no more: the content of a file as of its last fsync, the names in a folder as
of the folder's. What came after that may be there, in part, or not at all: names in the order in which they were
changed, content cut anywhere, or zeros in its place.
"""

from __future__ import annotations

import os
import random
import shutil
import stat
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from unittest import mock

Inode = tuple[int, int]
"""Its number, and since when: numbers are given out again."""
CHANGES = [(os, name) for name in ("mkdir", "rename", "replace", "symlink", "unlink", "rmdir")]


@dataclass
class Moment:
    """What is on the disk, seen by whoever reads it while it has power."""

    folders: dict[Inode, dict[str, Inode]] = field(default_factory=dict)
    files: dict[Inode, bytes] = field(default_factory=dict)
    links: dict[Inode, str] = field(default_factory=dict)


class Recorder:
    """Records what happens below ``root``."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.moments: list[Moment] = []
        self.synced: list[dict[Inode, int]] = []
        """At each moment, for each inode, the moment that its fsync made last."""
        self._known: dict[int, Inode] = {}
        self._look(None)

    @contextmanager
    def recording(self) -> Iterator[None]:
        """For as long as this lasts."""
        with ExitStack() as patched:
            for module, name in [*CHANGES, (shutil, "copyfile")]:
                act = self._watched(getattr(module, name))
                patched.enter_context(mock.patch.object(module, name, act))
            patched.enter_context(mock.patch.object(os, "fsync", self._fsync))
            yield

    def _watched(self, act: Callable[..., object]) -> Callable[..., object]:
        def call(*given: object, **more: object) -> object:
            self._look(None)  # what was written since, by whatever means
            result = act(*given, **more)
            self._look(None)
            return result

        return call

    def _fsync(self, handle: int) -> None:
        self._look(os.fstat(handle).st_ino)

    def _look(self, synced: int | None) -> None:
        moment, here, at = Moment(), dict[int, Inode](), len(self.moments)

        def inode(status: os.stat_result) -> Inode:
            return here.setdefault(status.st_ino, self._known.get(status.st_ino, (status.st_ino, at)))

        def walk(folder: Path) -> Inode:
            names = moment.folders[inode(folder.stat())] = {}
            for path in sorted(folder.iterdir()):
                status = path.lstat()
                names[path.name] = inode(status)
                if stat.S_ISLNK(status.st_mode):
                    moment.links[names[path.name]] = str(path.readlink())
                elif stat.S_ISDIR(status.st_mode):
                    walk(path)
                else:
                    moment.files[names[path.name]] = path.read_bytes()
            return inode(folder.stat())

        self.top = walk(self.root)
        self._known = here
        last = dict(self.synced[-1]) if self.synced else dict.fromkeys(here.values(), 0)
        if synced in here:
            last[here[synced]] = at
        self.moments.append(moment)
        self.synced.append(last)

    def play(self, at: int, chance: random.Random, place: Path) -> None:
        """Leave in ``place`` what is there after the power failed at a moment."""
        self._folder(self.top, at, chance, place)

    def _folder(self, inode: Inode, at: int, chance: random.Random, place: Path) -> None:
        place.mkdir()
        moments, never = self._since(inode, at)
        seen = [{}] * never + [moment.folders[inode] for moment in moments if inode in moment.folders]
        for name, child in chance.choice(seen).items():
            if any(child in moment.links for moment in self.moments):
                (place / name).symlink_to(next(m.links[child] for m in self.moments if child in m.links))
            elif any(child in moment.folders for moment in self.moments):
                self._folder(child, at, chance, place / name)
            else:
                (place / name).write_bytes(self._content(child, at, chance))

    def _since(self, inode: Inode, at: int) -> tuple[list[Moment], bool]:
        """The moments that may have reached the disk, from its last fsync on; and whether it never had one."""
        first = self.synced[at].get(inode)
        return self.moments[first or 0 : at + 1], first is None

    def _content(self, inode: Inode, at: int, chance: random.Random) -> bytes:
        moments, never = self._since(inode, at)
        seen = [moment.files[inode] for moment in moments if inode in moment.files]
        content = chance.choice(seen)
        if len(set(seen)) == 1 and not never:
            return content  # nothing was written since
        torn = content[: chance.randrange(len(content) + 1)]
        return chance.choice([content, torn, torn + bytes(len(content) - len(torn)), b""])
