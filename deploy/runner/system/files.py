"""Files that cross the boundary: hashed before anything parses them, landed whole or not at all."""

import fcntl
import hashlib
import json
import os
import re
import stat
from contextlib import contextmanager
from typing import Dict, Iterator, Tuple, Union

from .events import tell
from .failures import BundleError, DeviceError, DigestMismatch

JSON_LIMIT = 16 * 1024 * 1024  # a plan or a manifest is kilobytes; more than this is an attack or an accident
CHUNK = 1024 * 1024


def digest(path: str) -> Tuple[str, int]:
    """The SHA-256 and the size of a regular file. A fifo or a device would make the reader wait for ever."""
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise DigestMismatch("%s is not a regular file" % path)
        sha, size = hashlib.sha256(), 0
        with open(path, "rb") as source:
            for chunk in iter(lambda: source.read(CHUNK), b""):
                sha.update(chunk)
                size += len(chunk)
    except OSError as error:
        raise DigestMismatch("%s cannot be read: %s" % (path, error.strerror), "send the bundle again")
    return sha.hexdigest(), size


def verify(path: str, sha256: str, size: int) -> None:
    """Refuse a file that is not the promised one. The size goes first: it is free, and tells of a cut."""
    hint = "send the bundle again; if it happens twice, somebody changed the file"
    try:
        actual = os.stat(path).st_size
    except OSError as error:
        raise DigestMismatch(
            "%s: expected %d bytes, sha256 %s; found nothing (%s)" % (path, size, sha256, error.strerror),
            hint,
        )
    computed = digest(path)[0] if actual == size else "not computed, the size differs"
    if computed != sha256:
        raise DigestMismatch(
            "%s: expected %d bytes, sha256 %s; found %d bytes, sha256 %s"
            % (path, size, sha256, actual, computed),
            hint,
        )


def contained(root: str, relative: str) -> str:
    """The path of a file inside `root`; links and `..` that lead out of it are refused."""
    base = os.path.realpath(root)
    try:
        full = os.path.realpath(os.path.join(base, relative))
    except ValueError:  # NUL, or half a character: no system call takes it
        full = ""
    if os.path.isabs(relative) or not full.startswith(base + os.sep):
        raise DigestMismatch("%r leads out of the bundle" % relative, "do not use this bundle")
    return full


def read_json(path: str) -> object:
    """A JSON file of bounded size."""
    try:
        if os.path.getsize(path) > JSON_LIMIT:
            raise BundleError("%s is larger than %d bytes" % (path, JSON_LIMIT))
        with open(path, encoding="utf-8") as source:
            value: object = json.load(source)
            return value
    except OSError as error:
        raise BundleError("%s cannot be read: %s" % (path, error.strerror))
    except (ValueError, RecursionError) as error:
        raise BundleError("%s is not JSON: %s" % (path, error))


def safe_name(name: str) -> str:
    """A tensor's or model's name as a file name: `images:0` -> `images_0`. The bundle's writer uses it."""
    return re.sub(r"^\.|[^A-Za-z0-9._-]", "_", name) or "_"


def write(path: str, data: Union[bytes, memoryview]) -> None:
    """Bytes (or a buffer) to a file: temporary file, fsync, rename, fsync of the folder."""
    draft = "%s.%d.tmp" % (path, os.getpid())
    try:
        try:
            with open(draft, "wb") as target:
                target.write(data)
                target.flush()
                os.fsync(target.fileno())
            land(draft, path)
        except BaseException:
            if os.path.exists(draft):
                os.unlink(draft)
            raise
    except OSError as error:
        raise DeviceError("%s cannot be written: %s" % (path, error.strerror), "free some disk space")


def land(draft: str, path: str) -> None:
    """Rename a finished draft to its name and make the rename survive a power cut."""
    os.replace(draft, path)
    settle(os.path.dirname(os.path.abspath(path)))


def settle(path: str) -> None:
    """Make what was written into a file, or the names in a folder, survive a power cut."""
    held = os.open(path, os.O_RDONLY)
    try:
        os.fsync(held)
    finally:
        os.close(held)


def settle_all(folder: str) -> None:
    """The same for all below a folder, and for itself at the end."""
    for parent, _, names in os.walk(folder, topdown=False):
        for name in names:
            settle(os.path.join(parent, name))
        settle(parent)


@contextmanager
def alone(folder: str, work: str = "build") -> Iterator[None]:
    """One writer at a time in a folder: the folder itself is locked, and a process that dies lets go."""
    held = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            tell("another %s is running in %s; waiting for it ..." % (work, folder))
            fcntl.flock(held, fcntl.LOCK_EX)
        yield
    finally:
        os.close(held)


def write_json(path: str, value: object) -> None:
    """A JSON file with sorted keys, landed whole."""
    write(path, (json.dumps(value, indent=1, sort_keys=True, allow_nan=False) + "\n").encode("utf-8"))


def make_folder(path: str) -> str:
    """The folder, made where it is missing."""
    try:
        os.makedirs(path, exist_ok=True)
    except OSError as error:
        raise DeviceError("%s cannot be made: %s" % (path, error.strerror), "name another folder with --out")
    return path


def canonical(value: Dict[str, object]) -> str:
    """The SHA-256 of a JSON value, however its keys were ordered."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode("utf-8")).hexdigest()
