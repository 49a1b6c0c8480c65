"""Weights in files beside a model: plain files below its folder that hold what the model says."""

from __future__ import annotations

import stat
from pathlib import Path, PurePosixPath

from jetpress.deploy.errors import TrustError

HINT = "do not use this file: export the network again, or fetch the file again from where it was made"


def check_external(model: Path, entries: dict[str, str], need: int | None = None) -> Path:
    """The file of one tensor's external data.

    Args:
        need: bytes that the tensor has, where they are known.

    Raises:
        TrustError: the location leads elsewhere, or is a link, a device, or does not hold these bytes.
    """
    location = entries.get("location", "")
    place = PurePosixPath(location)
    parts = place.parts  # of `//x` the first is `//`: POSIX leaves its meaning to the system
    strange = place.is_absolute() or ".." in parts or "\\" in location or "\0" in location or ":" in location
    if not parts or strange or not location.strip():
        raise TrustError(f"{model} keeps weights at {location!r}, outside of its folder", HINT)
    file = model.parent
    for part in parts:
        file = file / part
        if file.is_symlink():
            raise TrustError(f"{model} keeps weights behind the link {file}", HINT)
    plain_file(file)
    if model.exists() and file.samefile(model):
        raise TrustError(f"{model} keeps weights in itself", HINT)
    size = file.stat().st_size
    offset = _number(model, entries.get("offset", "0"))
    length = _number(model, entries.get("length", str(need or 0)))
    if offset + max(length, need or 0) > size:
        raise TrustError(f"{model} names bytes {offset} to {offset + length} of {file}, behind its end", HINT)
    if need is not None and length != need:
        raise TrustError(f"{model} has a tensor of {need} bytes and names {length} bytes of {file}", HINT)
    return file


def plain_file(path: Path) -> None:
    """A regular file, no link of any kind: a second name would let somebody else change it.

    Raises:
        TrustError: it is something else, or not there.
    """
    try:
        status = path.lstat()
    except (OSError, ValueError) as error:
        raise TrustError(f"{path} cannot be looked at: {error}", HINT) from None
    if not stat.S_ISREG(status.st_mode):
        raise TrustError(f"{path} is not a plain file", HINT)
    if status.st_nlink > 1:
        raise TrustError(f"{path} has {status.st_nlink} names (hard links)", HINT)


def _number(model: Path, text: str) -> int:
    """As ONNX writes numbers; readers differ on anything else."""
    if not (text.isascii() and text.isdigit() and len(text) < 20):
        raise TrustError(f"{model} names weights at {text[:30]!r}, which is no number", HINT)
    return int(text)
