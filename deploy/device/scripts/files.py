"""Runs on the device: files in and out of the working folder.

    FOLDER/objects/SHA256        a whole file, verified; the directories that were put are hard links to them
    FOLDER/objects/SHA256.part   a file still on its way; the next attempt goes on at its end
    FOLDER/NAME/                 a directory that landed: it appears by one rename, or not at all

Request: {"do": NAME OF A FUNCTION BELOW, and its arguments}. Answer: one line of JSON (`send`: the bytes themselves).
Failure: one line of JSON on stderr and exit status 1.
Paths are bytes, because Python 3.6 under LANG=C knows only ASCII names.
"""

import errno
import fcntl
import hashlib
import json
import os
import shutil
import signal
import stat
import sys
import time
from io import BufferedReader
from typing import IO, Callable, Dict, List, NamedTuple, Optional, Set, Tuple, Union, cast

CHUNK = 1 << 16
IDLE_S = 20  # a sender that is silent for so long is gone: its connection died without a word
LOCK_S = 25  # longer than IDLE_S, so that a dead sender's lock is always freed first
FORGOTTEN_S = 24 * 3600
MOST_FILES = 10000
Answer = Dict[str, object]
Record = Dict[str, Union[int, str]]  # of a file, as JSON has it


class Entry(NamedTuple):
    """A file that is meant, and how much of it is here already."""

    sha256: str
    size: int
    offset: int = 0


def entry_of(record: Record) -> Entry:
    return Entry(str(record["sha256"]), int(record["size"]), int(record.get("offset", 0)))


def raw(path: str) -> bytes:
    return path.encode("utf-8", "surrogateescape")


def have(folder: str, path: str, files: Dict[str, Record]) -> Answer:
    """Whether a directory is here; if not, how many bytes of each of its files are, and what would fit."""
    entries = {name: entry_of(record) for name, record in files.items()}
    if all(is_whole(os.path.join(raw(path), raw(name)), entry) for name, entry in entries.items()):
        return {"landed": True}
    wanted = {entry.sha256: entry.size for entry in entries.values()}
    objects = os.path.join(raw(folder), b"objects")
    os.makedirs(objects, exist_ok=True)
    tidy(objects, {raw(sha) for sha in wanted})
    whole: List[str] = []
    parts: Dict[str, int] = {}
    for sha, size in wanted.items():
        file, part = os.path.join(objects, raw(sha)), os.path.join(objects, raw(sha) + b".part")
        if size_of(part) is not None:
            with open(part, "ab") as held:
                lock(held)  # until the last attempt has written all that reached the device
        if is_whole(file, Entry(sha, size)):
            whole.append(sha)
            continue
        if size_of(file) is not None:
            os.unlink(file)
        if (size_of(part) or 0) > size:
            os.unlink(part)
        parts[sha] = size_of(part) or 0
    space = os.statvfs(raw(folder))
    return {"landed": False, "whole": whole, "parts": parts, "free": space.f_bavail * space.f_frsize}


def tidy(objects: bytes, wanted: Set[bytes]) -> None:
    """Remove what other transfers left: files on their way, and whole ones that nothing used for a day."""
    for name in os.listdir(objects):
        path, sha = os.path.join(objects, name), name.split(b".")[0]
        if sha in wanted:
            continue
        try:
            if name.endswith(b".part"):
                with open(path, "ab") as part:
                    fcntl.flock(part, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    os.unlink(path)
            elif os.stat(path).st_nlink == 1 and time.time() - os.stat(path).st_mtime > FORGOTTEN_S:
                os.unlink(path)  # no directory that landed uses it any more
        except OSError:
            pass  # another transfer holds it


def append(folder: str, files: List[Record]) -> Answer:
    """Add stdin to the ends of files on their way, one after another, until one does not end as it should."""
    for entry in map(entry_of, files):
        failure = receive(os.path.join(raw(folder), b"objects", raw(entry.sha256)), entry)
        if failure:
            return dict(failure, sha256=entry.sha256)
    return {"complete": True}


def receive(whole: bytes, entry: Entry) -> Answer:
    """The rest of one file. Once whole it is verified and gets its name; otherwise say what is wrong."""
    incoming = cast(BufferedReader, sys.stdin.buffer)
    with open(whole + b".part", "ab") as part:
        lock(part)
        if part.tell() != entry.offset or size_of(whole + b".part") != part.tell():
            return {"moved": True}
        left = entry.size - part.tell()
        try:
            while left:
                signal.alarm(IDLE_S)
                chunk = incoming.read1(min(CHUNK, left))
                if not chunk:
                    break
                part.write(chunk)
                left -= len(chunk)
        finally:
            signal.alarm(0)
            part.flush()
            os.fsync(part.fileno())
        if left:
            return {"found": "%d bytes less" % left}
        sha256 = digest(whole + b".part")
        if sha256 != entry.sha256:
            os.unlink(whole + b".part")
            return {"found": sha256}
        os.rename(whole + b".part", whole)
        settle(os.path.dirname(whole))
    return {}


def land(folder: str, path: str, files: Dict[str, Record]) -> Answer:
    """Make a directory out of whole files, and give it its name in one step."""
    place, final = raw(folder), raw(path)
    draft = final + b".draft"
    with open(os.path.join(place, b"lock"), "ab") as gate:
        lock(gate)
        shutil.rmtree(draft, ignore_errors=True)
        os.makedirs(draft)
        for name, record in files.items():
            file = os.path.join(draft, raw(name))
            os.makedirs(os.path.dirname(file), exist_ok=True)
            link(os.path.join(place, b"objects", raw(entry_of(record).sha256)), file)
        for parent, _, _ in os.walk(draft):
            settle(parent)
        if os.path.isdir(final):
            shutil.rmtree(final)
        os.rename(draft, final)
        settle(os.path.dirname(final))
    return {}


def link(whole: bytes, path: bytes) -> None:
    try:
        os.link(whole, path)
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.EMLINK, errno.ENOTSUP):
            raise
        shutil.copyfile(whole, path)  # a file system without hard links (an SD card's FAT)


def listing(path: str) -> Answer:
    """Size and SHA-256 of every regular file under a directory; links are not followed."""
    root = raw(path)
    files: Dict[str, Record] = {}
    if not os.path.isdir(root):
        raise OSError(errno.ENOENT, "there is no such directory", path)
    for parent, _, names in os.walk(root):
        for name in names:
            file = os.path.join(parent, name)
            status = os.lstat(file)
            if stat.S_ISREG(status.st_mode):
                relative = os.path.relpath(file, root).decode("utf-8", "surrogateescape")
                files[relative] = {"size": status.st_size, "sha256": digest(file)}
            if len(files) > MOST_FILES:
                raise OSError(errno.E2BIG, "more than %d files" % MOST_FILES, path)
    return {"files": files}


def send(path: str, offset: int, limit: int) -> None:
    """The bytes of a file from an offset on, at most `limit` of them."""
    left = limit
    with open(raw(path), "rb") as source:
        source.seek(offset)
        while left:
            chunk = source.read(min(CHUNK, left))
            if not chunk:
                break
            sys.stdout.buffer.write(chunk)
            left -= len(chunk)
    sys.stdout.buffer.flush()


def write(path: str, size: int) -> Answer:
    """Stdin as a file: whole or not at all."""
    file = raw(path)
    os.makedirs(os.path.dirname(file), exist_ok=True)
    draft = file + b".%d.tmp" % os.getpid()
    try:
        with open(draft, "wb") as target:
            left = size
            while left:
                chunk = sys.stdin.buffer.read(min(CHUNK, left))
                if not chunk:
                    raise OSError(errno.EPIPE, "the connection ended early", path)
                target.write(chunk)
                left -= len(chunk)
            target.flush()
            os.fsync(target.fileno())
        os.rename(draft, file)
        settle(os.path.dirname(file))
    finally:
        if os.path.exists(draft):
            os.unlink(draft)
    return {}


def remove(folder: str) -> Answer:
    """The working folder and all in it; how much that was. A link is removed, never what it points to."""
    held, place = usage(folder), raw(folder)
    if os.path.exists(
        os.path.join(place, b"clocks.json")
    ):  # of deploy/runner/board/clocks.py: to be restored
        raise OSError(errno.EBUSY, "a benchmark has locked the clocks of this board", folder)
    if os.path.islink(place):
        os.unlink(place)
    elif os.path.isdir(place):
        shutil.rmtree(place)
    return held


def usage(folder: str) -> Answer:
    """Files below the working folder and the bytes that they take; what is linked counts once."""
    sizes: Dict[Tuple[int, int], int] = {}
    for parent, _, names in os.walk(raw(folder)):
        for name in names:
            status = os.lstat(os.path.join(parent, name))
            sizes[(status.st_dev, status.st_ino)] = status.st_size
    return {"files": len(sizes), "bytes": sum(sizes.values())}


def lock(file: IO[bytes]) -> None:
    until = time.time() + LOCK_S
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except OSError:
            if time.time() > until:
                raise OSError(errno.EBUSY, "another transfer is at work on it", file.name)
            time.sleep(0.05)


def size_of(path: bytes) -> Optional[int]:
    try:
        return os.stat(path).st_size
    except OSError:
        return None


def is_whole(path: bytes, entry: Entry) -> bool:
    """Whether these are the bytes that are meant: a card or a user may have changed them since."""
    return size_of(path) == entry.size and not os.path.islink(path) and digest(path) == entry.sha256


def digest(path: bytes) -> str:
    sha = hashlib.sha256()
    with open(path, "rb") as source:
        for chunk in iter(lambda: source.read(1 << 20), b""):
            sha.update(chunk)
    return sha.hexdigest()


def settle(folder: bytes) -> None:
    """Make the renames in a folder survive a power cut."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


DO: Dict[str, Callable[..., Optional[Answer]]] = {
    function.__name__: function for function in (have, append, land, listing, send, write, remove, usage)
}


def main() -> None:
    request = json.loads(sys.stdin.buffer.readline().decode("ascii"))
    try:
        answer = DO[request.pop("do")](**request)
    except OSError as error:
        where = error.filename
        where = where.decode("utf-8", "replace") if isinstance(where, bytes) else where
        report = {"error": error.strerror or str(error), "errno": error.errno, "path": where}
        sys.stderr.write(json.dumps(report) + "\n")
        sys.exit(1)
    if answer is not None:
        sys.stdout.write(json.dumps(answer) + "\n")


if __name__ == "__main__":
    main()
