"""The content-addressed store: what a stage made once is never made again.

::

    runs/                          $JETPRESS_RUNS
      digits-host-1a2b3c4d/        what a person looks at: report, bundle, engine (written by `jetpress.pipeline.run`)
        needs.json                 the keys of all that this run needs: see `jetpress.pipeline.store.needs`
      .store/
        objects/<digest>/          artifacts, immutable
        memo/<key>.json            key of a stage's inputs -> digest of what it made, and how long it took
        drafts/<key>/              work in progress; training keeps its last epoch here
        durations/<alike>.json     how long a step took that is like another: see `jetpress.pipeline.store.durations`
        given/<digest>.safetensors weights that a program gave in memory: see `jetpress.pipeline.functions.memory`
        locks/<key>.lock

The key is made of the stage's name, its code, its configuration, the digests of its inputs and the versions
of the libraries that it uses. Resume is therefore the absence of work. An object appears by one rename after
everything in it has reached the disk, so a killed process leaves a draft or a whole object, never half of one.

A disk may lie all the same. An object is opened only if its description is the one that it is named by, and
each that a stage really works on is read in full first. What is damaged is removed and made anew.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TypeVar, TypeVarTuple

from filelock import FileLock, Timeout

from jetpress.deploy import console
from jetpress.deploy.errors import TrustError, from_os_error
from jetpress.pipeline.recipe.sections.fields import as_table
from jetpress.pipeline.store.artifact import DESCRIPTION, Artifact, canonical, describe, verify
from jetpress.pipeline.store.fingerprint import fingerprint
from jetpress.pipeline.store.lazy import kind_of
from jetpress.pipeline.store.measuring import exclusive
from jetpress.pipeline.store.shared import shared

Config = TypeVar("Config")
Inputs = TypeVarTuple("Inputs")
Made = TypeVar("Made", bound=Artifact[object])
Result = TypeVar("Result")

STATE = "state"
"""The folder of a draft that outlives its process: how far a training had come."""
DIGEST = re.compile("[0-9a-f]{64}")
LATEST = 1e12
"""Seconds since 1970 that no clock of ours will show."""


class Damaged(TrustError):
    """An object was not what it was when it was made. It is gone: who walks again makes it anew."""


@dataclass(frozen=True)
class Memo:
    """What is known about a stage that ran: its result's digest, how long it took, and when that was."""

    digest: str
    seconds: float
    stage: str
    made: float


class Store:
    """One store on one disk. Any number of processes may use it at once."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.objects, self.memos = root / "objects", root / "memo"
        self.drafts, self.locks = root / "drafts", root / "locks"
        self.durations, self.given = root / "durations", root / "given"
        self.shared = shared()
        self._whole: set[str] = set()
        """Read in full by this process, or made by it."""
        self._mended: set[str] = set()

    def key(self, stage: Callable[..., object], config: object, inputs: tuple[Artifact[object], ...]) -> str:
        """The memo key: everything that the result depends on."""
        code, toolchain = fingerprint(stage.__module__, stage.__name__)
        parts = {
            "stage": f"{stage.__module__}.{stage.__name__}",
            "code": code,
            "toolchain": toolchain,
            "config": as_table(config),
            "inputs": [artifact.digest for artifact in inputs],
        }
        return hashlib.sha256(canonical(parts).encode()).hexdigest()

    def memo(self, key: str) -> Memo | None:
        """What is noted under a key; a note that is damaged is said, and removed."""
        path = self.memos / f"{key}.json"
        try:
            told = path.read_bytes()
        except FileNotFoundError:
            return None
        if (memo := _memo_of(told)) is not None:
            return memo
        console.say(f"  {path} is damaged: what it stood for is made anew")
        path.unlink(missing_ok=True)
        return None

    def known(self) -> dict[str, Memo]:
        """All memos by their key."""
        found = ((path.stem, self.memo(path.stem)) for path in sorted(self.memos.glob("*.json")))
        return {key: memo for key, memo in found if memo is not None}

    def find(self, kind: type[Made], key: str) -> tuple[Made, Memo] | None:
        """What this key gave before, if it is still there and its description is the one that was written."""
        memo = self.memo(key)
        if memo is None or not (self.objects / memo.digest).is_dir():
            memo = self._fetched(kind, key)
        if memo is None:
            return None
        try:
            return kind.open(self.objects / memo.digest), memo
        except TrustError as error:
            self._remove(memo.digest, error.what)
            return None

    def make(
        self, stage: Callable[[Config, *Inputs, Path], Made], config: Config, *inputs: *Inputs
    ) -> tuple[Made, Memo, bool]:
        """The artifact that ``stage`` makes of ``inputs``; made now, or found (then the last value is True).

        Raises:
            Damaged: an input is damaged, and removed.
        """
        kind: type[Made] = kind_of(stage)
        key = self.key(stage, config, inputs)  # type: ignore[arg-type]
        if found := self.find(kind, key):
            return *found, True
        with self.locked(key, "another process is at this stage already"):
            if found := self.find(kind, key):  # another process made it while we waited
                return *found, True
            with self.shared.claimed(key) if self.shared else nullcontext():
                if memo := self._fetched(kind, key, now=True):  # so did another machine
                    return kind.open(self.objects / memo.digest), memo, True
                self.verify(*inputs)  # type: ignore[arg-type]
                draft = self._emptied(key)
                with exclusive(config, self.locked):
                    start = time.monotonic()
                    made = stage(config, *inputs, draft)
                    took = time.monotonic() - start
                memo = self._publish(made, key, stage.__name__, took)
                return replace(made, path=self.objects / memo.digest), memo, False

    def _fetched(self, kind: type[Made], key: str, *, now: bool = False) -> Memo | None:
        """What a key gave on another machine, fetched from the shared store; None: nothing, or not whole."""
        told = self.shared.memo(key, now=now) if self.shared else None
        if self.shared is None or told is None or (memo := _memo_of(told)) is None:
            return None
        draft = self.drafts / f"fetched-{os.getpid()}" / memo.digest
        shutil.rmtree(draft, ignore_errors=True)
        try:
            if not (self.objects / memo.digest).is_dir():
                if not self.shared.get("objects", memo.digest, draft):
                    return None
                verify(kind.open(draft))
                sync_tree(draft)
            self._take_in(draft, memo, key)
        except TrustError as error:
            console.say(f"  what the shared store has is damaged, and made anew: {error.what}")
            self.shared.drop("objects", memo.digest)
            return None
        finally:
            shutil.rmtree(draft.parent, ignore_errors=True)
        return memo

    def verify(self, *artifacts: Artifact[object]) -> None:
        """Read artifacts of this store in full, once in the life of this process.

        Raises:
            Damaged: one is not what was made, and was removed.
            TrustError: it was so before, and was made anew in between.
        """
        for one in artifacts:
            if one.path.parent == self.objects and one.digest not in self._whole:
                try:
                    verify(one)
                except TrustError as error:
                    self._remove(one.digest, error.what)
                    raise Damaged(error.what, "run the same command again: it is made anew") from error
                self._whole.add(one.digest)

    def _remove(self, digest: str, why: str) -> None:
        if digest in self._mended:
            raise TrustError(
                f"{why}: the second time in this run", "the disk or the memory may be failing: check both"
            )
        self._mended.add(digest)
        console.say(f"  damaged, and made anew: {why}")
        with self.alone():
            for key, memo in self.known().items():
                if memo.digest == digest:
                    (self.memos / f"{key}.json").unlink(missing_ok=True)
            self.discard(self.objects / digest)

    def _emptied(self, key: str) -> Path:
        """The draft of a key, with nothing in it but how far a training had come."""
        draft = self.drafts / key
        draft.mkdir(parents=True, exist_ok=True)
        for path in draft.iterdir():
            if path.is_dir() and not path.is_symlink():
                if path.name != STATE:
                    shutil.rmtree(path)
            else:
                path.unlink()
        return draft

    def _publish(self, made: Artifact[object], key: str, name: str, seconds: float) -> Memo:
        text, digest = describe(made)
        (made.path / DESCRIPTION).write_text(text)
        sync_tree(made.path)
        memo = Memo(digest, round(seconds, 3), name, time.time())
        final = replace(made, path=self.objects / digest)
        with self.alone():
            if final.path.exists() and not _is_whole(final):
                self.discard(final.path)
        self._take_in(made.path, memo, key)
        if self.shared:
            self.shared.put("objects", final.path, (one for one in final.path.rglob("*") if one.is_file()))
            self.shared.note(key, canonical(asdict(memo)).encode())
        return memo

    def _take_in(self, draft: Path, memo: Memo, key: str) -> None:
        """A draft becomes the object that its description names, and a key leads to it."""
        with self.alone():
            self.objects.mkdir(parents=True, exist_ok=True)
            if (self.objects / memo.digest).exists():  # another configuration made the same bytes
                self.discard(draft)
            else:
                draft.rename(self.objects / memo.digest)
                _sync(self.objects)
            write_atomically(self.memos / f"{key}.json", canonical(asdict(memo)))
        self._whole.add(memo.digest)

    def discard(self, folder: Path) -> None:
        """Remove a folder of the store; nobody ever finds half of it where it was."""
        if folder.exists():
            gone = self.drafts / f"gone-{folder.name}"
            self.drafts.mkdir(parents=True, exist_ok=True)
            shutil.rmtree(gone, ignore_errors=True)
            folder.rename(gone)
            shutil.rmtree(gone)

    @contextmanager
    def alone(self) -> Iterator[None]:
        """For a moment no other process publishes, removes, or notes what it needs."""
        self.root.mkdir(parents=True, exist_ok=True)
        with FileLock(self.root / "store.lock"):
            yield

    @contextmanager
    def locked(self, name: str, told: str) -> Iterator[None]:
        """Only one process has this name; another waits, and ``told`` says why.

        The lock is the kernel's: it goes when its holder is killed.
        """
        self.locks.mkdir(parents=True, exist_ok=True)
        lock = FileLock(self.locks / f"{name}.lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            console.say(f"    {told}: waiting for it")
            lock.acquire(poll_interval=0.2)
        try:
            yield
        finally:
            lock.release()


def _memo_of(text: bytes) -> Memo | None:
    """A note as it was written; None: it is damaged."""
    try:
        told = json.loads(text)
    except (ValueError, RecursionError):
        return None
    match told:
        case {"digest": str(), "seconds": float() | int(), "stage": str(), "made": float() | int()}:
            memo = Memo(*(told[name] for name in ("digest", "seconds", "stage", "made")))
            if DIGEST.fullmatch(memo.digest) and 0 <= memo.seconds < LATEST and 0 <= memo.made < LATEST:
                return memo
    return None


def until_whole(walk: Callable[[], Result]) -> Result:
    """Walk again from the start whenever something damaged was met: all else is found, that is made anew."""
    while True:
        try:
            return walk()
        except Damaged:
            console.say("  starting again with what is whole")


def _is_whole(artifact: Artifact[object]) -> bool:
    try:
        verify(artifact)
    except TrustError:
        return False
    return True


def write_atomically(path: Path, content: str | bytes) -> None:
    """The file appears whole or not at all: temporary file, fsync, rename, fsync of the folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise from_os_error(error) from error
    _sync(path.parent)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sync_tree(folder: Path) -> None:
    """Everything in a folder reaches the disk."""
    for path in folder.rglob("*"):
        _sync(path)
    _sync(folder)
