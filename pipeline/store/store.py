"""The content-addressed store: what a stage made once is never made again.

::

    runs/                          $JETPRESS_RUNS
      digits-host-1a2b3c4d/        what a person looks at: report, bundle, engine (written by `jetpress.pipeline.run`)
      .store/
        objects/<digest>/          artifacts, immutable
        memo/<key>.json            key of a stage's inputs -> digest of what it made, and how long it took
        drafts/<key>/              work in progress; training keeps its last epoch here
        locks/<key>.lock

The key is made of the stage's name, its code, its configuration, the digests of its inputs and the versions
of the libraries that it uses. Resume is therefore the absence of work. An object appears by one rename after
everything in it has reached the disk, so a killed process leaves a draft or a whole object, never half of one.
"""

from __future__ import annotations

import ast
import hashlib
import importlib.metadata
import importlib.util
import json
import os
import platform
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import TypeVar, TypeVarTuple

from filelock import FileLock, Timeout

from jetpress.deploy import console
from jetpress.deploy.errors import StageError, from_os_error
from jetpress.pipeline.recipe.sections import as_table
from jetpress.pipeline.store.artifact import DESCRIPTION, Artifact, canonical, describe
from jetpress.pipeline.store.late import kind_of

Config = TypeVar("Config")
Inputs = TypeVarTuple("Inputs")
Made = TypeVar("Made", bound=Artifact[object])

OURS = ("jetpress",)
# A stage is its own code; these only carry it, and what they decide is in the key already.
CARRIERS = (
    "jetpress",
    "jetpress.pipeline",
    "jetpress.deploy",
    "jetpress.benchmarks",
    "jetpress.pipeline.store.store",
    "jetpress.pipeline.store.artifact",
    "jetpress.pipeline.store.late",
    "jetpress.pipeline.recipe.reading",
    "jetpress.pipeline.recipe.sections",
    "jetpress.deploy.errors",
    "jetpress.deploy.console",
)


@dataclass(frozen=True)
class Memo:
    """What is known about a stage that ran: its result's digest and how long it took."""

    digest: str
    seconds: float


class Store:
    """One store on one disk. object number of processes may use it at once."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.objects, self.memos = root / "objects", root / "memo"
        self.drafts, self.locks = root / "drafts", root / "locks"

    def key(self, stage: Callable[..., object], config: object, inputs: tuple[Artifact[object], ...]) -> str:
        """The memo key: everything that the result depends on."""
        code, toolchain = fingerprint(stage.__module__)
        parts = {
            "stage": f"{stage.__module__}.{stage.__name__}",
            "code": code,
            "toolchain": toolchain,
            "config": as_table(config),
            "inputs": [artifact.digest for artifact in inputs],
        }
        return hashlib.sha256(canonical(parts).encode()).hexdigest()

    def look_up(self, key: str) -> Memo | None:
        """What this key gave before, if its object is still whole."""
        try:
            memo = json.loads((self.memos / f"{key}.json").read_text())
        except (FileNotFoundError, json.JSONDecodeError):
            return None
        return (
            Memo(memo["digest"], memo["seconds"])
            if (self.objects / memo["digest"] / DESCRIPTION).exists()
            else None
        )

    def last_duration(self, stage: Callable[..., object]) -> float | None:
        """Seconds that ``stage`` took when it last ran, on whatever input; None if it never did."""
        memos = (json.loads(path.read_text()) for path in self.memos.glob("*.json"))
        own = [memo for memo in memos if memo["stage"] == stage.__name__]
        return float(max(own, key=lambda memo: memo["made"])["seconds"]) if own else None

    def make(
        self, stage: Callable[[Config, *Inputs, Path], Made], config: Config, *inputs: *Inputs
    ) -> tuple[Made, Memo, bool]:
        """The artifact that ``stage`` makes of ``inputs``; made now, or found (then the last value is True)."""
        kind: type[Made] = kind_of(stage)
        key = self.key(stage, config, inputs)  # type: ignore[arg-type]
        if memo := self.look_up(key):
            return kind.open(self.objects / memo.digest), memo, True
        with self._locked(key):
            if memo := self.look_up(key):  # another process made it while we waited
                return kind.open(self.objects / memo.digest), memo, True
            draft = self.drafts / key
            draft.mkdir(parents=True, exist_ok=True)
            start = time.monotonic()
            made = stage(config, *inputs, draft)
            memo = self._publish(made, key, stage.__name__, time.monotonic() - start)
            return replace(made, path=self.objects / memo.digest), memo, False

    def _publish(self, made: Artifact[object], key: str, name: str, seconds: float) -> Memo:
        text, digest = describe(made)
        (made.path / DESCRIPTION).write_text(text)
        _sync_tree(made.path)
        self.objects.mkdir(parents=True, exist_ok=True)
        final = self.objects / digest
        if final.exists():  # another configuration made the same bytes
            shutil.rmtree(made.path)
        else:
            made.path.rename(final)
            _sync(self.objects)
        write_atomically(
            self.memos / f"{key}.json",
            canonical({"digest": digest, "seconds": round(seconds, 3), "stage": name, "made": time.time()}),
        )
        return Memo(digest, seconds)

    @contextmanager
    def _locked(self, key: str) -> Iterator[None]:
        """Only one process works on a key. The lock is the kernel's: it goes when its holder is killed."""
        self.locks.mkdir(parents=True, exist_ok=True)
        lock = FileLock(self.locks / f"{key}.lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            console.say("    another process is at this stage already: waiting for it")
            lock.acquire(poll_interval=0.2)
        try:
            yield
        finally:
            lock.release()

    def collect(self, keep: set[str], everything: bool = False) -> tuple[int, int]:
        """Remove what no run needs: memos whose digest is not in ``keep``, their objects, idle drafts.

        Returns:
            number of folders removed, bytes freed
        """
        keep = set() if everything else keep
        removed = freed = 0
        for memo in self.memos.glob("*.json"):
            if json.loads(memo.read_text())["digest"] not in keep:
                memo.unlink()
        for folder in (
            *self.objects.glob("*"),
            *(d for d in self.drafts.glob("*") if not self._busy(d.name)),
        ):
            if folder.name in keep and folder.parent == self.objects:
                continue
            freed += sum(f.stat().st_size for f in folder.rglob("*") if f.is_file())
            shutil.rmtree(folder)
            removed += 1
        for lock in self.locks.glob("*.lock"):
            if not self._busy(lock.stem):
                lock.unlink(missing_ok=True)
        return removed, freed

    def _busy(self, key: str) -> bool:
        lock = FileLock(self.locks / f"{key}.lock")
        self.locks.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            return True
        lock.release()
        return False


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


def _sync_tree(folder: Path) -> None:
    for path in folder.rglob("*"):
        _sync(path)
    _sync(folder)


@cache
def fingerprint(module: str) -> tuple[str, dict[str, str]]:
    """What a stage's result depends on besides its inputs.

    Returns:
        a digest of the code of ``module`` and of all our modules that it imports, directly or not (comments
        and layout do not count), and the versions of the libraries that any of them imports.
    """
    trees: dict[str, str] = {}
    libraries: set[str] = set()
    todo = [module]
    while todo:
        name = todo.pop()
        if name in trees:
            continue
        source = _source(name)
        if source is None:
            continue
        tree = ast.parse(source.read_bytes())
        trees[name] = "" if name in CARRIERS else hashlib.sha256(ast.dump(tree).encode()).hexdigest()
        if name in CARRIERS:
            continue
        for imported in _imports(tree):
            if imported.split(".")[0] in OURS:
                todo.append(imported)
            else:
                libraries.add(imported.split(".")[0])
    return hashlib.sha256(canonical(trees).encode()).hexdigest(), versions(libraries)


def _source(module: str) -> Path | None:
    """The file of one of our modules, found without importing it."""
    root = Path(__file__).resolve().parents[2]
    path = root.joinpath(*module.split(".")[1:])
    return next((p for p in (path.with_suffix(".py"), path / "__init__.py") if p.is_file()), None)


def _imports(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@cache
def _distributions() -> Mapping[str, list[str]]:
    return importlib.metadata.packages_distributions()


def versions(libraries: set[str]) -> dict[str, str]:
    """``{distribution: version}`` of imported top-level modules, and of Python itself."""
    found = {"python": platform.python_version()}
    for library in libraries - set(sys.stdlib_module_names):
        for distribution in _distributions().get(library, []):
            found[distribution] = importlib.metadata.version(distribution)
    return dict(sorted(found.items()))


def promise(kept: bool, what: str, hint: str) -> None:
    """The last line of a stage.

    Raises:
        StageError: the promise was not kept.
    """
    if not kept:
        raise StageError(what, hint)
