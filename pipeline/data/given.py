"""What an ONNX file in hand brings along, by digest: the file, the weights beside it, and samples of its inputs.

This module imports no torch: a run whose every stage is cached must not pay for it.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jetpress.deploy.errors import RecipeError
from jetpress.deploy.onnx_file import guard
from jetpress.pipeline.data.formats.folders import files_below
from jetpress.pipeline.network import user_code
from jetpress.pipeline.recipe.given import Calibration, Pixels
from jetpress.pipeline.recipe.sections.fields import is_file_reference
from jetpress.pipeline.store.artifact import sha256

Array = NDArray[Any]
Given = str | Path | Iterable[Mapping[str, Array] | Array | Sequence[Any]] | None
ONLY = "input"
"""What the only input is called in memory, where samples are arrays."""


def file_digest(path: Path) -> str:
    """Of a file and of the weights beside it.

    Raises:
        RecipeError: there is no such file.
        TrustError: it is hostile or damaged.
    """
    if not path.is_file():
        raise RecipeError(f"there is no file {path}", "give the path of an ONNX file")
    looked_over = guard.check_onnx(path.resolve())
    digests = [sha256(path), *(sha256(one) for one in sorted(looked_over.external))]
    return hashlib.sha256("".join(digests).encode()).hexdigest()


def given_samples(given: Given, pixels: Pixels, root: Path) -> Calibration:
    """Where samples come from.

    Args:
        given: a folder, an ``.npz``, ``file.py:function``, or the samples themselves, which are kept below ``root``.
        pixels: how images become inputs.
        root: folder of runs and store.

    Raises:
        RecipeError: there is no such file or folder.
    """
    if given is None:
        return Calibration(pixels=pixels)
    if not isinstance(given, str | Path):
        path = _kept(given, root)
        return Calibration(str(path), sha256(path), pixels)
    text = str(given)
    if is_file_reference(text):
        file, _, function = text.rpartition(":")
        whole = f"{Path(file).resolve()}:{function}"
        return Calibration(whole, user_code.digest(whole), pixels)
    path = Path(text).resolve()
    if path.is_dir():
        return Calibration(str(path), _folder(path), pixels)
    if not path.is_file():
        raise RecipeError(
            f"there is no {text} to calibrate with",
            "give a folder of images, an .npz with arrays by the names of inputs, or FILE.py:FUNCTION",
        )
    return Calibration(str(path), sha256(path), pixels)


def _folder(root: Path) -> str:
    """By path, size and time of each file: reading them all would cost as much as using them."""
    digest = hashlib.sha256()
    for path in files_below(root):
        stat = path.stat() if path.exists() else path.lstat()
        digest.update(f"{path}\0{stat.st_size}\0{stat.st_mtime_ns}\n".encode())
    return digest.hexdigest()


def _kept(samples: Iterable[Mapping[str, Array] | Array | Sequence[Any]], root: Path) -> Path:
    """Samples in memory as an ``.npz`` of that name: then they are found again."""
    columns: dict[str, list[Array]] = {}
    batches = False
    for one in samples:
        if isinstance(one, tuple | list) and one:  # as a loader gives them: inputs first
            batches, one = True, one[0]
        row = one if isinstance(one, Mapping) else {ONLY: one}
        for name, array in row.items():
            columns.setdefault(name, []).append(_plain(array))
    if not columns or len({len(column) for column in columns.values()}) != 1:
        raise RecipeError(
            "calibration has no samples, or not each input in each", "give mappings of name to array"
        )
    arrays = {name: _joined(column, batches) for name, column in columns.items()}
    content = io.BytesIO()
    np.savez(content, **arrays)  # type: ignore[arg-type]
    folder = root / ".store" / "calibration"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{hashlib.sha256(content.getvalue()).hexdigest()}.npz"
    path.write_bytes(content.getvalue())
    return path.resolve()


def _plain(array: Any) -> Array:
    """An array, or a tensor wherever it is."""
    try:
        return np.asarray(array.detach().cpu() if hasattr(array, "detach") else array)
    except (TypeError, ValueError) as error:
        raise RecipeError(
            f"a sample of calibration is a {type(array).__name__}",
            "give arrays, or mappings of name to array",
        ) from error


def _joined(column: list[Array], batches: bool) -> Array:
    """``[samples, *shape]``; batches, the last of which may be smaller, along their first axis."""
    shapes = {one.shape for one in column}
    if not batches and len(shapes) == 1:
        return np.stack(column)
    if () in shapes or len({shape[1:] for shape in shapes}) > 1:
        raise RecipeError("the samples of calibration have different shapes", "give all in one shape")
    return np.concatenate(column)
