"""`jetpress gc`: what no run needs goes. A running one loses nothing, whatever is asked for."""

from __future__ import annotations

import fcntl
import time
from dataclasses import dataclass, field
from pathlib import Path

from jetpress.pipeline.store.needs import FILE, is_running, kept
from jetpress.pipeline.store.store import Store

DAY_S = 86400.0


@dataclass(frozen=True)
class Folder:
    """An object or a draft of the store."""

    path: Path
    stage: str
    """That made it; empty where nobody knows."""
    size: int
    """Bytes."""


@dataclass
class Collected:
    """What went, or would go, and what stays."""

    gone: list[Folder] = field(default_factory=list)
    stays: list[Folder] = field(default_factory=list)


def collect(
    store: Store, *, everything: bool = False, older_than: float | None = None, dry_run: bool = False
) -> Collected:
    """Remove what no run needs: memos, objects, drafts, locks of processes that are gone.

    Args:
        store: its runs are the folders that it lies among.
        everything: what runs need, too, unless they are running now.
        older_than: days; what a run needs that was last used before that counts no more.
        dry_run: remove nothing.

    Returns:
        the objects and drafts that went (or would go), and those that stay
    """
    found = Collected()
    if not store.root.is_dir():
        return found
    with store.alone():
        keys, memos = _needed(store, everything, older_than), store.known()
        needed = {memos[key].digest for key in keys & memos.keys()}
        makers = {memo.digest: memo.stage for memo in memos.values()}
        for path in sorted(store.objects.glob("*")):
            (found.stays if path.name in needed else found.gone).append(_folder(path, makers))
        for path in sorted(store.drafts.glob("*")):
            unfinished = path.name in keys - memos.keys() or _held(store.locks / f"{path.name}.lock")
            (found.stays if unfinished else found.gone).append(_folder(path, makers))
        if not dry_run:
            for key in memos.keys() - keys:
                (store.memos / f"{key}.json").unlink()
            _remove(store, found)
    return found


def _needed(store: Store, everything: bool, older_than: float | None) -> set[str]:
    keys: set[str] = set()
    for folder in store.root.parent.glob("*/"):
        if (folder / FILE).is_file() or (folder / "report.json").is_file():
            noted = kept(store, folder)
            old = older_than is not None and time.time() - noted.used > older_than * DAY_S
            if is_running(store, folder) or not (everything or old):
                keys |= noted.keys
    return keys


def _remove(store: Store, found: Collected) -> None:
    for folder in found.gone:
        store.discard(folder.path)
    if not any(is_running(store, folder) for folder in store.root.parent.glob("*/")):
        for weights in store.given.glob("*"):  # whoever gives them again writes them again
            weights.unlink()
    for lock in store.locks.glob("*"):
        if not _held(lock):
            lock.unlink()
    # Only who is alone in the store writes these, and now that is this process: whoever began them was killed.
    for left in (*store.memos.glob(".*.tmp"), *store.root.parent.glob(f"*/.{FILE}.*.tmp")):
        left.unlink()


def _held(lock: Path) -> bool:
    """Whether a process holds the lock; the kernel lets go of those of dead ones."""
    try:
        with lock.open() as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False


def _folder(path: Path, makers: dict[str, str]) -> Folder:
    size = sum(file.lstat().st_size for file in path.rglob("*") if not file.is_dir())
    return Folder(path, makers.get(path.name, ""), size)
