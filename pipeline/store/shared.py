"""A store that machines share without a common disk: ``JETPRESS_STORE=s3://bucket/prefix``, or any that fsspec has.

::

    memo/<key>.json        as in a store on a disk; written after its object, so that who finds one finds the other
    objects/<digest>.tar   one upload: whole, or not there
    claims/<key>           a machine is at this stage
    runs/<folder>.tar      the reports of a run

Stages work on the store of their own machine, as ever: what it lacks is fetched, what it makes is put here. What is
fetched is held against its digest like everything else, but whoever may write here decides what a key stands for.
"""

from __future__ import annotations

import os
import tarfile
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from jetpress.deploy import console
from jetpress.deploy.errors import DeviceError, RecipeError, ToolMissing

VARIABLE = "JETPRESS_STORE"
ABSENT_S = 10.0
"""For so long what was not there is not asked for again: a run looks all of its steps up before each."""
LEASE_S = 120.0
"""A claim that nobody renewed for so long is of a machine that is gone. Longer than a measurement, during which the
other runs of a machine are stopped."""
POLL_S = 2.0


class Shared:
    """The shared store.

    Args:
        url: as fsspec reads it.

    Raises:
        ToolMissing: a package for that kind of address is not installed.
        RecipeError: the address is none.
    """

    def __init__(self, url: str) -> None:
        import fsspec

        try:
            on_disk = "://" not in url or url.startswith(("file:", "local:"))
            folders = {"auto_mkdir": True} if on_disk else {}
            self._there, self._root = fsspec.url_to_fs(url, **folders)
        except ImportError as error:
            raise ToolMissing(f"{VARIABLE}={url}: {error}", "for S3: pip install 'jetpress[s3]'") from None
        except ValueError as error:
            raise RecipeError(f"{VARIABLE}={url}: {error}", "for example s3://bucket/prefix") from None
        self._url, self._on_disk, self._absent = url, on_disk, dict[str, float]()
        if on_disk:
            self._do(lambda: self._there.makedirs(self._at("claims"), exist_ok=True))

    def _do(self, action: Callable[[], Any]) -> Any:
        """What others have made is not lost by a store that is away, but nothing goes on without it."""
        try:
            return action()
        except FileNotFoundError:
            raise
        except Exception as error:
            said = (str(error).splitlines() or [type(error).__name__])[0]
            hint = "is it there, and may you write to it? AWS_ENDPOINT_URL, AWS_ACCESS_KEY_ID and so on say where"
            raise DeviceError(f"{VARIABLE}={self._url}: {said}", hint) from error

    def _at(self, *names: str) -> str:
        return "/".join((self._root, *names))

    def memo(self, key: str, *, now: bool = False) -> bytes | None:
        """What is noted under a key; ``now``: ask again."""
        if not now and time.monotonic() - self._absent.get(key, -ABSENT_S) < ABSENT_S:
            return None
        try:
            told: bytes = self._do(lambda: self._there.cat_file(self._at("memo", f"{key}.json")))
        except FileNotFoundError:
            self._absent[key] = time.monotonic()
            return None
        return told

    def note(self, key: str, memo: bytes) -> None:
        """Note what a key gives; its object is here already."""
        self._do(lambda: self._there.pipe_file(self._at("memo", f"{key}.json"), memo))
        self._absent.pop(key, None)

    def put(self, kind: str, folder: Path, files: Iterable[Path], *, again: bool = False) -> None:
        """Upload files of a folder as ``kind/NAME.tar``; ``again``: also where one is there."""
        place = self._at(kind, f"{folder.name}.tar")
        if not again and self._do(lambda: self._there.exists(place)):
            return
        with tempfile.NamedTemporaryFile(suffix=".tar") as packed:
            with tarfile.open(packed.name, "w") as tar:
                for file in sorted(files):
                    tar.add(file, str(file.relative_to(folder)), recursive=False)
            self._do(lambda: self._there.put_file(packed.name, place))

    def get(self, kind: str, name: str, folder: Path) -> bool:
        """Download ``kind/NAME.tar`` into ``folder``; False: it is not there, or no archive."""
        with tempfile.NamedTemporaryFile(suffix=".tar") as packed:
            try:
                self._do(lambda: self._there.get_file(self._at(kind, f"{name}.tar"), packed.name))
                with tarfile.open(packed.name) as tar:
                    tar.extractall(folder, filter="data")
            except FileNotFoundError:
                return False
            except tarfile.TarError:
                self.drop(kind, name)
                return False
        return True

    def drop(self, kind: str, name: str) -> None:
        """Remove what is damaged: who makes it anew uploads it."""
        self._do(lambda: self._there.rm_file(self._at(kind, f"{name}.tar")))

    @contextmanager
    def claimed(self, key: str) -> Iterator[None]:
        """Other machines wait while this one is at a stage, and go on when its result is here, or it is gone.

        Two that find the same one gone may both begin: then the work is done twice, and comes to the same.
        """
        place, mine = self._at("claims", key), uuid.uuid4().hex
        self._wait(key, place, mine)
        over = threading.Event()

        def renew() -> None:
            beat = 0
            while not over.wait(LEASE_S / 4):
                beat += 1
                self._there.pipe_file(place, f"{mine} {beat}".encode())

        thread = threading.Thread(target=renew, daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()
            self._do(lambda: self._there.rm_file(place))

    def _wait(self, key: str, place: str, mine: str) -> None:
        """Until the claim is this process's."""
        last, since = b"", time.monotonic()
        while True:
            try:
                self._do(lambda: self._create(place, mine.encode()))
            except _Taken:
                pass
            else:
                return
            try:
                seen: bytes = self._do(lambda: self._there.cat_file(place))
            except FileNotFoundError:
                continue
            if not last:
                console.say("    another machine is at this stage already: waiting for it")
            if seen != last:
                last, since = seen, time.monotonic()
            elif time.monotonic() - since > LEASE_S:
                console.say(f"    it has not been heard of for {LEASE_S:.0f} s: begun here")
                self._do(lambda: self._there.pipe_file(place, mine.encode()))
                return
            time.sleep(POLL_S)

    def _create(self, place: str, content: bytes) -> None:
        try:
            if self._on_disk:  # fsspec looks first and writes then, and two may look at once
                with Path(place).open("xb") as file:
                    file.write(content)
            else:
                self._there.pipe_file(place, content, mode="create")
        except FileExistsError:
            raise _Taken from None


class _Taken(FileNotFoundError):
    """Somebody else has claimed it."""


@cache
def _of(url: str) -> Shared:
    return Shared(url)


def shared() -> Shared | None:
    """The one that ``$JETPRESS_STORE`` names; None: machines share a folder, or nothing."""
    url = os.environ.get(VARIABLE)
    return _of(url) if url else None
