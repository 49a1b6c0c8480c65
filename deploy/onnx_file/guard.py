"""Guard before parse: an ONNX file is looked over before any library opens it.

In this order: size, digest, structure, external data. The structure is read from the protobuf wire format
itself (:mod:`jetpress.deploy.onnx_file.wire`) with nothing but the standard library, so that a hostile file meets no
parser: it only meets counters (:mod:`jetpress.deploy.onnx_file.skeleton`). Weights outside the file must be plain
files below its own folder (:mod:`jetpress.deploy.onnx_file.external`).

What it does not do: say whether the graph makes sense (that is :mod:`jetpress.deploy.preflight`), or keep others
from changing the folder afterwards. Folders of models belong to whoever runs jetpress.
"""

from __future__ import annotations

import hashlib
import mmap
from pathlib import Path

from jetpress.deploy.errors import TrustError
from jetpress.deploy.onnx_file.external import HINT, check_external, plain_file
from jetpress.deploy.onnx_file.skeleton import Limits, Skeleton, walk
from jetpress.deploy.onnx_file.wire import WireError

ORDINARY = Limits()
__all__ = ["Limits", "Skeleton", "check_bytes", "check_external", "check_onnx"]


def check_onnx(path: Path, digest: str = "", limits: Limits = ORDINARY) -> Skeleton:
    """Look over an ONNX file and the files that it names; its skeleton may be opened.

    Args:
        digest: SHA-256 as hex that the file must have; empty where none is known.

    Raises:
        TrustError: too large, another file than expected, damaged, a bomb, or data outside its folder.
    """
    plain_file(path)
    size = path.stat().st_size
    if not 0 < size <= limits.size:
        raise TrustError(f"{path} has {size} bytes, allowed are 1 to {limits.size}", HINT)
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        if digest and (found := hashlib.sha256(content).hexdigest()) != digest:
            raise TrustError(f"{path} has SHA-256 {found}, expected {digest}", HINT)
        try:
            return walk(content, path, limits)
        except (WireError, UnicodeDecodeError) as error:
            raise TrustError(f"{path} is damaged or no ONNX file: {error}", HINT) from None


def check_bytes(content: bytes, limits: Limits = ORDINARY) -> Skeleton:
    """As :func:`check_onnx`, for a model in memory: it has no folder, so it may not name files.

    Raises:
        TrustError: as there.
    """
    if not 0 < len(content) <= limits.size:
        raise TrustError(f"the model has {len(content)} bytes, allowed are 1 to {limits.size}", HINT)
    try:
        return walk(content, None, limits)
    except (WireError, UnicodeDecodeError) as error:
        raise TrustError(f"the model is damaged or no ONNX file: {error}", HINT) from None
