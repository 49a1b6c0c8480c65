"""Directories to a device and back: only what is missing travels, cuts are survived, nothing lands half.

A file is named by its SHA-256 on the way and the directory by the digest of its list, so what has arrived is
seen by looking: every attempt starts from what the device really has, and a lost connection costs what was in
flight (ssh keeps at most 2 MiB on its way). Names travel as JSON on stdin and never through a shell. What
comes *from* a device, names, sizes and digests, is a claim, checked before a file is made of it.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath

from jetpress.deploy.device.protocol import Channel
from jetpress.deploy.device.retry import Attempts
from jetpress.deploy.device.ssh import ConnectionLost
from jetpress.deploy.errors import DeviceError, TrustError
from jetpress.deploy.process import Terms, plain

OnBytes = Callable[[int, int], None]
"""Is told how many bytes of how many have arrived."""

CHUNK = 2**16
QUIET_S = 120.0
"""A slow card may take that long to write what it buffered; a dead connection is noticed by ssh in 15 s."""
HEADROOM = 1.2
MOST_FILES = 10_000
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Entry:
    """What makes a file the one that was meant."""

    size: int
    sha256: str


def put(device: Channel, directory: Path, name: str, progress: OnBytes | None = None) -> str:
    """Send ``directory`` to the device, where it appears whole and is never changed.

    Args:
        device: where to.
        directory: holds regular files only.
        name: what its name on the device begins with; the digest of its content follows.
        progress: is told how many bytes of how many have arrived.

    Returns:
        its path on the device.

    Raises:
        DeviceError: no byte for five minutes, disk full, a name that cannot be a folder.
        TrustError: a file changed while it was sent.
    """
    if not _NAME.fullmatch(name):
        raise DeviceError(
            f"{plain(name)[:80]!r} cannot be a folder on {device.name}", "use letters, digits, . _ -"
        )
    files = contents(directory)
    listed = {relative: asdict(entry) for relative, entry in files.items()}
    digest = hashlib.sha256(json.dumps(listed, sort_keys=True).encode()).hexdigest()
    path = f"{device.folder}/{name}-{digest[:16]}"
    attempts = Attempts(device.name)
    while True:
        try:
            stock = device.ask("have", folder=device.folder, path=path, files=listed)
            if stock.get("landed") is not True:
                wanted = {entry.sha256: (entry, directory / name) for name, entry in files.items()}
                _send_missing(device, wanted, stock, attempts, progress)
                device.ask("land", folder=device.folder, path=path, files=listed)
            return path
        except ConnectionLost as lost:
            attempts.pause(lost)


def contents(directory: Path) -> dict[str, Entry]:
    """Size and digest of every file below ``directory``, by its relative path."""
    files = {}
    for path in sorted(directory.rglob("*")):
        if path.is_symlink() or not (path.is_file() or path.is_dir()):
            raise DeviceError(
                f"{path} is neither a file nor a folder", "put plain files only: a link is not followed"
            )
        if path.is_file():
            files[path.relative_to(directory).as_posix()] = Entry(path.stat().st_size, _sha256(path))
    if not files:
        raise DeviceError(f"{directory} holds no files", "check its path")
    return files


def _send_missing(
    device: Channel,
    wanted: Mapping[str, tuple[Entry, Path]],
    stock: Mapping[str, object],
    attempts: Attempts,
    progress: OnBytes | None,
) -> None:
    """All that is missing, in one stream: a file is one more round trip only where a line was cut."""
    there, whole, free = _checked(stock, {sha: entry.size for sha, (entry, _) in wanted.items()})
    total, arrived = sum(entry.size for entry, _ in wanted.values()), sum(there.values())
    attempts.reached(arrived)
    if (total - arrived) * HEADROOM > free:
        need = (total - arrived) * HEADROOM / 2**20
        raise DeviceError(
            f"the disk of {device.name}: {need:.0f} MiB are needed, {free / 2**20:.0f} MiB are free",
            "free some there (`jetpress device clean` empties the working folder), then run it again",
        )
    missing = [sha for sha in wanted if sha not in whole]

    def feed() -> Iterator[bytes]:
        done = arrived
        for sha in missing:
            for chunk in _pieces(wanted[sha][1], there[sha], wanted[sha][0].size):
                yield chunk
                done += len(chunk)
                if progress:
                    progress(done, total)

    files = [{"offset": there[sha], **asdict(wanted[sha][0])} for sha in missing]
    request = {"do": "append", "folder": device.folder, "files": files}
    answer = device.talk("files", request, Terms(feed=feed(), quiet=QUIET_S))
    if answer.get("moved"):
        raise ConnectionLost(f"{device.name} is still busy with an earlier attempt", "wait a little")
    if answer.get("complete") is not True:
        sha = str(answer.get("sha256"))
        name = wanted[sha][1].name if sha in wanted else "a file"
        raise TrustError(
            f"{name} is another file on {device.name}: {plain(sha):.64} expected, "
            f"{plain(str(answer.get('found'))):.64} found",
            "leave the files alone while they are sent, then run the command again",
        )


def _checked(stock: Mapping[str, object], sizes: Mapping[str, int]) -> tuple[dict[str, int], set[str], int]:
    """How many bytes of each file the device says it has, which it says are whole, and its free disk."""
    whole, parts, free = stock.get("whole"), stock.get("parts"), stock.get("free")
    if not isinstance(whole, list) or not isinstance(parts, dict) or not isinstance(free, int):
        raise DeviceError("the device does not say what it has", "see what its python3 is")
    there = {sha: size if sha in whole else parts.get(sha) for sha, size in sizes.items()}
    sound = {sha: n if isinstance(n, int) and 0 <= n <= sizes[sha] else 0 for sha, n in there.items()}
    return sound, {sha for sha in sizes if sha in whole}, free


def _pieces(path: Path, offset: int, end: int) -> Iterator[bytes]:
    """The bytes of a file that were promised, never more: the next file follows in the same stream."""
    with path.open("rb") as file:
        file.seek(offset)
        while chunk := file.read(min(CHUNK, end - file.tell())):
            yield chunk


def get(device: Channel, remote: str, local: Path, progress: OnBytes | None = None) -> None:
    """Bring the files below ``remote`` into ``local``. Each appears whole and verified, or not at all.

    Raises:
        DeviceError: no byte for five minutes, no such directory, this disk full.
        TrustError: what came is not what was announced, or a name that leads out of ``local``.
    """
    attempts = Attempts(device.name)
    while True:
        try:
            files = _claims(device, device.ask("listing", path=remote), local)
            total, done = sum(entry.size for entry in files.values()), 0
            for relative, entry in files.items():
                _fetch(device, f"{remote}/{relative}", entry, local / relative, attempts)
                done += entry.size
                if progress:
                    progress(done, total)
            return
        except ConnectionLost as lost:
            attempts.pause(lost)


def _claims(device: Channel, listing: Mapping[str, object], local: Path) -> dict[str, Entry]:
    """The listing, if a file can safely be made of every entry."""
    files, listed = {}, listing.get("files")
    if not isinstance(listed, dict) or len(listed) > MOST_FILES:
        raise TrustError(
            f"{device.name} sent no usable list of files", "do not use this device until it is understood"
        )
    for name, entry in listed.items():
        sound = (
            isinstance(entry, dict)
            and type(entry.get("size")) is int
            and entry["size"] >= 0
            and _SHA256.fullmatch(str(entry.get("sha256")))
        )
        if not sound or not _is_contained(name):
            raise TrustError(
                f"{device.name} names a file that cannot be taken: {plain(name)[:120]!r}",
                "do not use this device until it is understood",
            )
        files[name] = Entry(entry["size"], entry["sha256"])
    local.mkdir(parents=True, exist_ok=True)
    need, free = sum(entry.size for entry in files.values()) / 2**20, shutil.disk_usage(local).free / 2**20
    if need > free:
        raise DeviceError(
            f"{need:.0f} MiB are to come, {free:.0f} MiB are free below {local}", "free some disk here"
        )
    return files


def _is_contained(name: str) -> bool:
    parts = name.split("/")
    return (
        plain(name) == name
        and "\n" not in name
        and "\\" not in name
        and name.isprintable()
        and not any(part in ("", ".", "..") or len(part.encode()) > 255 for part in parts)
        and not PurePosixPath(name).is_absolute()
        and len(name) < 1024
    )


def _fetch(device: Channel, remote: str, entry: Entry, local: Path, attempts: Attempts) -> None:
    if local.is_file() and local.stat().st_size == entry.size and _sha256(local) == entry.sha256:
        return
    local.parent.mkdir(parents=True, exist_ok=True)
    part = local.with_name(f".{entry.sha256}.part")
    with part.open("ab") as file:
        if file.tell() > entry.size:
            file.truncate(0)
        offset = file.tell()

        def keep(chunk: bytes) -> None:
            if file.tell() + len(chunk) > entry.size:
                raise TrustError(
                    f"{device.name} sent more of {local.name} than it announced", "run the command again"
                )
            file.write(chunk)
            attempts.moved()

        request = {"do": "send", "path": remote, "offset": offset, "limit": entry.size - offset}
        device.succeeded(device.call("files", request, Terms(quiet=QUIET_S, sink=keep)))
        file.flush()
        os.fsync(file.fileno())
    came = _sha256(part)
    if came != entry.sha256:
        part.unlink()
        raise TrustError(
            f"{local.name} came from {device.name} as another file: expected {entry.sha256}, found {came}",
            "see that nothing writes to it there, then run the command again",
        )
    part.replace(local)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
