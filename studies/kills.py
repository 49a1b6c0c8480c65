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
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import redirect_stderr
from functools import partial
from pathlib import Path
from typing import Any

from jetpress import Recipe, run
from jetpress.pipeline.store.artifact import Artifact, verify
from jetpress.pipeline.store.collect import collect
from jetpress.pipeline.store.store import Store

KILLED = 137
"""The exit code of a process that was killed with -9, as a shell tells it."""
NETWORK = """
from torch import nn

def build():
    return nn.Sequential(
        nn.Conv2d(3, 32, 3, stride=2, bias=False), nn.BatchNorm2d(32), nn.ReLU(),
        nn.Conv2d(32, 64, 3, stride=2, bias=False), nn.BatchNorm2d(64), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10),
    )
"""
TINY = (
    "data.size=8",
    "data.batch_size=512",
    "data.sample_images=8",
    "data.calibration_images=8",
    "train.epochs=2",
    "finetune.epochs=1",
    "prune.rounds=1",
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

    def flushed(handle: Any) -> None:
        change(seen[-1])
        flush(handle)

    sys.addaudithook(hook)
    os.fsync = flushed  # type: ignore[assignment]


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
    memo = (
        store.known().get(parts[1].strip(".").partition(".")[0].removeprefix("gone-"))
        if len(parts) > 1
        else None
    )
    return memo.stage if memo is not None else "the store"


def main() -> int:
    """Print a table: points of each stage, how many were tried, how many gave the same digests."""
    options = argparse.ArgumentParser(prog="studies.kills", description=__doc__.partition("\n")[0])
    options.add_argument("--points", type=int, default=50, metavar="N", help="how many kills, spread evenly")
    with tempfile.TemporaryDirectory() as folder:
        return table(Path(folder), options.parse_args().points)


def table(folder: Path, points: int) -> int:
    """The study itself.

    Returns:
        0: every run that was killed ended as the one that was not
    """
    (folder / "net.py").write_text(NETWORK)
    source = Path(__file__).resolve().parent.parent / "recipes" / "digits.toml"
    recipe = Recipe.load(source, (*TINY, f"model.builder={folder / 'net.py'}:build", "model.arguments={}"))

    def work(home: Path) -> None:
        run(recipe, "nano", home=home)

    work(folder / "warm")  # what is computed once in a process is not computed in every child
    whole = folder / "whole"
    code, changes = child(whole, partial(work, whole))
    if code:
        raise SystemExit(f"the run that is not killed fails: {changes[-1]}")
    expected = Store(whole / ".store")
    stages = [stage_of(change, expected) for change in changes]
    tried: Counter[str] = Counter()
    equal: Counter[str] = Counter()
    for point in sorted({len(changes) * number // points for number in range(points)}):
        home = folder / str(point)
        wrong = trial(home, partial(work, home), point, digests(expected))
        tried[stages[point]] += 1
        equal[stages[point]] += not wrong
        if wrong:
            print(f"killed before {point}, {changes[point]}: {wrong}", file=sys.stderr)
        shutil.rmtree(home)
    print(f"{'stage':<18} {'points':>6} {'killed':>6} {'equal':>6}")
    for stage, count in Counter(stages).items():
        print(f"{stage:<18} {count:>6} {tried[stage]:>6} {equal[stage]:>6}")
    print(f"{'all':<18} {len(changes):>6} {tried.total():>6} {equal.total():>6}")
    return 0 if tried == equal else 1


def trial(home: Path, work: Callable[[], None], point: int, expected: Mapping[str, str]) -> list[str]:
    """Kill, start again; what is then not as it should be."""
    if (code := child(home, work, point)[0]) != KILLED:
        return [f"not killed, but ended with {code}"]
    store = Store(home / ".store")
    code, said = child(home, work)
    if code:
        return said[-1:]
    return faults(store) + ([] if digests(store) == expected else ["other digests"])


if __name__ == "__main__":
    sys.exit(main())
