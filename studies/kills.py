"""Kill a run at every write, and start it again: is the result the same?

    python -m studies.kills [--points N]

A child process runs the digits recipe with tiny settings up to the bundle, and dies before its n-th call that
changes the disk: a file opened for writing, a flush to the disk, a rename, a removal, a folder made. A second
child starts the same command again. Its artifacts must have the digests of a run that was never killed, each
must be whole with no stray file, and after `gc` neither drafts nor locks may be left.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from contextlib import redirect_stderr
from pathlib import Path
from typing import Any

from pipeline.artifact import Artifact, verify
from pipeline.collect import collect
from pipeline.store import Store

KILLED = 137
"""The exit code of a process that was killed with -9, as a shell tells it."""
TINY = (
    "train.epochs=2",
    "prune.rounds=1",
    "finetune.epochs=1",
    "data.calibration_images=8",
    "data.sample_images=8",
)
CHANGES = {
    "os.rename",
    "os.remove",
    "os.mkdir",
    "os.rmdir",
    "os.link",
    "os.symlink",
    "os.truncate",
    "os.chmod",
}


def child(root: Path, work: Callable[[], None], point: int | None = None) -> tuple[int, list[str]]:
    """Run ``work`` in a forked process.

    Args:
        root: changes below this folder count.
        work: what is done; what it says goes nowhere.
        point: the number of the change before which the process dies, counted from 0; None: it lives.

    Returns:
        the exit code, and the path of every change, in order; of a flush the path of the change before it
    """
    reading, writing = os.pipe()
    if (process := os.fork()) == 0:
        code = 1
        try:
            os.close(reading)
            _watch(root, writing, point)
            with redirect_stderr(Path(os.devnull).open("w")):
                work()
            code = 0
        except BaseException as error:  # noqa: BLE001 - this process ends here, whatever happened
            os.write(writing, f"! {type(error).__name__}: {error}\n".encode())
        finally:
            os._exit(code)
    os.close(writing)
    with os.fdopen(reading) as file:
        changes = file.read().splitlines()
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]), changes


def _watch(root: Path, writing: int, point: int | None) -> None:
    """Count every change from here on, in this process and for good."""
    seen, flush = [str(root)], os.fsync

    def change(path: str) -> None:
        if len(seen) - 1 == point:
            os._exit(KILLED)
        seen.append(path)
        os.write(writing, f"{path}\n".encode())

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open":
            path, _, flags = arguments
            if flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT) and _below(path):
                change(os.fsdecode(path))
        elif event in CHANGES:
            path = seen[-1] if isinstance(arguments[0], int) else os.fsdecode(arguments[0])
            if not path.startswith("/"):  # shutil removes by names relative to an open folder
                change(seen[-1])
            elif _below(path):
                change(path)

    def _below(path: Any) -> bool:
        return isinstance(path, str | bytes | os.PathLike) and os.fsdecode(path).startswith(str(root))

    def flushed(handle: int) -> None:
        change(seen[-1])
        flush(handle)

    sys.addaudithook(hook)
    os.fsync = flushed


def faults(store: Store) -> list[str]:
    """What is wrong with a store, after `gc`."""
    collect(store)
    found = [f"left: {path}" for folder in (store.drafts, store.locks) for path in folder.glob("*")]
    found += [f"left: {path}" for path in store.root.parent.rglob("*.tmp")]
    for path in store.objects.iterdir():
        try:
            verify(Artifact(path))
        except Exception as error:  # noqa: BLE001 - whatever it is, it is a fault
            found.append(str(error))
    return found


def digests(store: Store) -> dict[str, str]:
    """``{key: digest}`` of everything that was made."""
    return {key: memo.digest for key, memo in store.known().items()}


def stage_of(change: str, store: Store) -> str:
    """The stage that a change belongs to: by the key of its draft or memo."""
    path = Path(change)
    if not path.is_relative_to(store.root):
        return "the run's folder"
    parts = path.relative_to(store.root).parts
    memo = store.known().get(parts[1].partition(".")[0].removeprefix("gone-")) if len(parts) > 1 else None
    return memo.stage if memo is not None else "the store"


def main() -> int:
    """Print a table: points of each stage, how many were tried, how many gave the same digests."""
    options = argparse.ArgumentParser(prog="studies.kills", description=__doc__.partition("\n")[0])
    options.add_argument("--points", type=int, default=50, metavar="N", help="how many kills, spread evenly")
    points: int = options.parse_args().points
    import torch.onnx  # noqa: F401 - imported before the first fork, and by none of the children

    from pipeline import (  # noqa: F401
        Recipe,
        assess,
        baseline,
        equivalence,
        export,
        finetune,
        fold,
        prune,
        run,
        summary,
        train,
    )

    recipe = Recipe.load(Path(__file__).resolve().parent.parent / "recipes" / "digits.toml", TINY)
    with tempfile.TemporaryDirectory() as folder:
        whole = Path(folder, "whole")
        code, changes = child(whole, lambda: run(recipe, "nano", home=whole) and None)
        assert code == 0, changes[-1]
        store = Store(whole / ".store")
        stages = [stage_of(change, store) for change in changes]
        tried: Counter[str] = Counter()
        equal: Counter[str] = Counter()
        for point in sorted({len(changes) * n // points for n in range(points)}):
            home = Path(folder, str(point))
            again = lambda: run(recipe, "nano", home=home) and None  # noqa: B023, E731 - used before the next one
            killed = child(home, again, point)[0] == KILLED
            code, said = child(home, again)
            wrong = [said[-1]] if code else faults(Store(home / ".store"))
            same = killed and not wrong and digests(Store(home / ".store")) == digests(store)
            tried[stages[point]] += 1
            equal[stages[point]] += same
            if not same:
                print(f"point {point}, {changes[point]}: {wrong}", file=sys.stderr)
    print(f"{'stage':<18} {'points':>6} {'killed':>6} {'equal':>6}")
    for stage, count in Counter(stages).items():
        print(f"{stage:<18} {count:>6} {tried[stage]:>6} {equal[stage]:>6}")
    print(f"{'all':<18} {len(changes):>6} {tried.total():>6} {equal.total():>6}")
    return 0 if tried == equal else 1


if __name__ == "__main__":
    sys.exit(main())
