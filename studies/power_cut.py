"""Cut the power of a disk while releases are deployed to it: does it come back with the old or the new, whole?

    python -m studies.power_cut --python python3.6 [--points 200] [--deployments 40]

Linux's own ext4 lies on a loop device, whose disk is a file of a file system in user space (FUSE), which writes down
every write and every flush that the kernel sends. Releases are deployed there by `runner.pyz` under that Python. Then
the disk is made again as it was at a random write: all that was flushed, of what came since any part (as a disk with
a cache loses it), the last one torn at a sector. The kernel mounts that, and the guest says what serves, whether it is
whole, and what `boot` makes of it.

Needs root, loop devices, /dev/fuse, `pip install mfusepy` and libfuse (FUSE_LIBRARY_PATH names it where it is not
installed). No virtual machine: a cut takes a second, and the kernel that writes is a real one.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import shutil
import struct
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jetpress.deploy.pack import pack

GUEST = Path(__file__).with_name("power_guest.py")
SIZE, SECTOR = 64 * 2**20, 512
HEAD = struct.Struct("<QI")
"""Of a write: where, how many bytes. A flush has none."""


@dataclass(frozen=True)
class Write:
    """One of the kernel's; a flush is one of no bytes."""

    at: int
    data: bytes


def serve(mount: Path, log: Path) -> None:
    """The file system: one file, `disk`, kept in memory, and the log of what became of it. Ends when unmounted."""
    import mfusepy

    held, written = bytearray(SIZE), os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    class Disk(mfusepy.Operations):  # type: ignore[misc]  # it has no types
        use_ns = True

        def getattr(self, path: str, fh: Any = None) -> dict[str, int]:
            kind = (
                {"st_mode": 0o40755, "st_nlink": 2} if path == "/" else {"st_mode": 0o100644, "st_nlink": 1}
            )
            return {**kind, "st_size": SIZE}

        def read(self, path: str, size: int, offset: int, fh: Any) -> bytes:
            return bytes(held[offset : offset + size])

        def write(self, path: str, data: bytes, offset: int, fh: Any) -> int:
            held[offset : offset + len(data)] = data
            os.write(written, HEAD.pack(offset, len(data)) + data)
            return len(data)

        def fsync(self, path: str, datasync: Any, fh: Any) -> int:
            os.write(written, HEAD.pack(0, 0))
            return 0

    mfusepy.FUSE(Disk(), str(mount), foreground=True, nothreads=True)


@contextmanager
def recorded(folder: Path) -> Iterator[Path]:
    """A loop device whose writes go into ``folder/log``."""
    mount = folder / "fuse"
    mount.mkdir()
    words = [sys.executable, "-m", "studies.power_cut", "--serve", str(mount), "--log", str(folder / "log")]
    server = subprocess.Popen(words)
    while not (mount / "disk").exists():
        time.sleep(0.05)
    device = Path(_run("losetup", "--show", "-f", mount / "disk").strip())
    try:
        yield device
    finally:
        _run("losetup", "-d", device)
        _run("umount", mount)
        server.wait()


@contextmanager
def mounted(what: Path, folder: Path) -> Iterator[Path]:
    """An ext4 on a device, or in a file."""
    folder.mkdir(exist_ok=True)
    _run("mount", *(() if what.is_block_device() else ("-o", "loop")), "-t", "ext4", what, folder)
    try:
        yield folder
    finally:
        _run("umount", folder)


def deployed(folder: Path, python: str, count: int) -> tuple[list[Write], list[tuple[int, int]]]:
    """What the kernel wrote while releases were deployed, and after which write each was done (at the latest)."""
    log, done = folder / "log", list[tuple[int, int]]()
    with recorded(folder) as device:
        _run("mkfs.ext4", "-q", device)
        with mounted(device, folder / "mounted") as data:
            guest = subprocess.Popen(_guest(folder, python, data, count), stdout=subprocess.PIPE, text=True)
            assert guest.stdout is not None
            said = (re.match(r"(BEGIN|DONE) (\d+)", line) for line in guest.stdout)
            done += [(log.stat().st_size, int(one[2]) * (one[1] == "DONE")) for one in said if one]
            if guest.wait():
                raise SystemExit("the guest failed")
    writes, ends, at, content = list[Write](), list[int](), 0, log.read_bytes()
    while at < len(content):
        where, size = HEAD.unpack_from(content, at)
        writes.append(Write(where, content[at + HEAD.size : at + HEAD.size + size]))
        at += HEAD.size + size
        ends.append(at)
    number = {end: index + 1 for index, end in enumerate(ends)}
    return writes, [(number[size], which) for size, which in done]


def _guest(folder: Path, python: str, data: Path, count: int) -> list[str]:
    return [
        python,
        str(GUEST),
        str(folder / "runner.pyz"),
        str(data / "root"),
        str(folder / "releases"),
        str(count),
    ]


def disk(writes: list[Write], at: int, chance: random.Random) -> bytes:
    """The disk as a cut after write number ``at`` leaves it."""
    held = bytearray(SIZE)
    flushed = max((number for number in range(at) if not writes[number].data), default=0)
    lossy = chance.random() < 0.7
    for number, write in enumerate(writes[:at]):
        data = write.data
        if number > flushed and lossy:
            if chance.random() < 0.5:
                continue
            if number == at - 1:
                data = data[: SECTOR * chance.randrange(len(data) // SECTOR + 1)]
        held[write.at : write.at + len(data)] = data
    return bytes(held)


def judged(result: dict[str, object], finished: int) -> str:
    """Old or new, by what was done and under way when the power was cut."""
    if result.get("before") not in ("whole", "none") or result.get("left"):
        return f"damaged: {result}"
    serves = int(str(result["serves"]))
    return "old" if serves == finished else "new" if serves == finished + 1 else f"{serves} after {finished}"


def cuts(folder: Path, python: str, points: int, deployments: int) -> dict[str, int]:
    """How often it came back with what."""
    pack(folder / "runner.pyz")
    writes, done = deployed(folder, python, deployments)
    begun = done[0][0]
    print(f"{len(writes)} writes and flushes by {deployments} deployments", file=sys.stderr)
    chance, found = random.Random(1), Counter[str]()  # noqa: S311
    for number in range(points):
        at = chance.randrange(begun, len(writes))
        finished = max(which for size, which in done if size <= at)
        (folder / "image").write_bytes(disk(writes, at, chance))
        with mounted(folder / "image", folder / "mounted") as data:
            said = subprocess.run(
                _guest(folder, python, data, 0), capture_output=True, text=True, check=True
            ).stdout
        found[judged(json.loads(said.split("CUT ", 1)[1]), finished)] += 1
        if not (number + 1) % 20:
            print(f"{number + 1}: {dict(found)}", file=sys.stderr, flush=True)
    return {"points": points, "deployments": deployments, "writes": len(writes), **found}


def _run(*words: object) -> str:
    return subprocess.run(list(map(str, words)), capture_output=True, text=True, check=True).stdout


def main() -> int:
    """Record, cut, look."""
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("--python", default="python3.6")
    options.add_argument("--points", type=int, default=200)
    options.add_argument("--deployments", type=int, default=40)
    options.add_argument("--serve", type=Path, help=argparse.SUPPRESS)
    options.add_argument("--log", type=Path, help=argparse.SUPPRESS)
    given = options.parse_args()
    if given.serve:
        serve(given.serve, given.log)
        return 0
    with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as name:  # noqa: S108
        told = cuts(Path(name), shutil.which(given.python) or given.python, given.points, given.deployments)
    print(json.dumps(told))
    return 0 if set(told) <= {"points", "deployments", "writes", "old", "new"} else 1


if __name__ == "__main__":
    sys.exit(main())
