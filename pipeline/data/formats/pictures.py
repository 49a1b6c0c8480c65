"""Image files of any number of channels, upright."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps
from torch import Tensor

from jetpress.deploy.console import progress
from jetpress.deploy.errors import JetpressError, RecipeError
from jetpress.pipeline.data.formats.folders import files_below

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".ppm", ".pgm", ".npy")
FORMATS = ("JPEG", "PNG", "BMP", "WEBP", "TIFF", "PPM", "GIF")
"""What Pillow may take a file for, whatever its name; it hands an EPS to another program. GIFs lie in public data
sets under the name of JPEGs."""
MOST_PIXELS = 2**27
"""Of one image; decoded, that is half a GiB with four channels. What is larger is cut into tiles before."""
MODES = {1: "L", 3: "RGB", 4: "RGBA"}
DEEP = ("I;16", "I;16B", "I;16L", "I")
"""Pillow's names for grey of 16 bits."""
DEEPEST = 65535
ORIENTATION = 0x0112
"""EXIF's tag of how the camera was held; from 5 on, width and height change places."""


@contextmanager
def opened(path: str | Path) -> Iterator[Image.Image]:
    """An image file, its header read.

    Raises:
        OSError: it is no regular file, not in one of the formats, has too many pixels, or fails to decode.
    """
    _refuse_other(path)
    try:
        with warnings.catch_warnings(action="ignore", category=Image.DecompressionBombWarning):
            image = Image.open(path, formats=FORMATS)
        with image:
            _refuse_large(*image.size)
            yield image
    except (JetpressError, OSError):
        raise
    except Exception as error:  # decoders raise SyntaxError, struct.error, zlib.error, ...
        raise OSError(str(error) or type(error).__name__) from error


def _refuse_other(path: str | Path) -> None:
    if not Path(path).is_file():  # to open a pipe would wait for whoever writes into it
        raise OSError("it is no file: a pipe, a folder, or a link that leads nowhere")


def _refuse_large(width: int, height: int) -> None:
    if width * height > MOST_PIXELS:
        raise OSError(f"it has {width} x {height} pixels, the most are {MOST_PIXELS}: cut it into tiles")


def decoded(path: str, channels: int) -> Tensor:
    """``[channels, h, w]``, uint8; 16 bits and ``.npy`` of other types as float32, 0 to 1.

    Raises:
        RecipeError: it cannot be read, or has other channels.
    """
    try:
        if path.endswith(".npy"):
            return _array(path, channels)
        with opened(path) as image:
            upright = ImageOps.exif_transpose(image)
            if channels not in MODES:
                raise RecipeError(
                    f"{path} is an image file, data.mean has {channels} channels",
                    "an image file has 1, 3 or 4; use .npy",
                )
            if upright.mode in (*DEEP, "F"):
                return _grey(upright, channels)
            pixels = np.array(upright.convert(MODES[channels]))
    except (OSError, ValueError, EOFError) as error:
        raise RecipeError(
            f"{path} can no longer be read: {error}", "it was sound when the run began"
        ) from error
    return torch.from_numpy(pixels).reshape(*pixels.shape[:2], -1).permute(2, 0, 1)


def _grey(image: Image.Image, channels: int) -> Tensor:
    """``[channels, h, w]`` of more than 8 bits, which Pillow's own conversion cuts off; floats as they are."""
    deep = np.asarray(image).astype(np.float32) / (1 if image.mode == "F" else DEEPEST)
    grey = torch.from_numpy(deep)[None]
    if channels < 4:
        return grey.repeat(channels, 1, 1)
    return torch.cat([grey.repeat(3, 1, 1), torch.ones_like(grey)])


def _array(path: str, channels: int) -> Tensor:
    """Of a ``.npy`` file ``[h, w]`` or ``[h, w, channels]``; whole numbers are divided by the largest of their type."""
    array = np.array(_mapped(path))
    if array.ndim == 2:
        array = array[..., None]
    if array.ndim != 3 or array.shape[2] != channels:
        raise RecipeError(
            f"{path} has shape {list(array.shape)}, data.mean has {channels} channels",
            "[height, width, channels]",
        )
    if array.dtype.kind in "iu" and array.dtype != np.uint8:
        array = array.astype(np.float32) / np.iinfo(array.dtype).max
    elif array.dtype.kind == "f":
        array = array.astype(np.float32)
    return torch.from_numpy(np.ascontiguousarray(array)).permute(2, 0, 1)


def _mapped(path: str) -> NDArray[Any]:
    """An array that is read as it is used. Raises what :func:`opened` does."""
    _refuse_other(path)
    try:
        array: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    except OSError:
        raise
    except Exception as error:  # noqa: BLE001  TokenError, SyntaxError, RecursionError, ...: a header is Python's text
        raise ValueError(f"it is no plain array: {error}") from None
    if array.ndim > 1:
        _refuse_large(array.shape[1], array.shape[0])
    return array


def class_numbers(path: str) -> Tensor:
    """``[h, w]``, int64: a mask of grey values or palette indices.

    Raises:
        RecipeError: it cannot be read, or is a picture in colours.
    """
    try:
        with opened(path) as image:
            if image.mode not in ("L", "P", "1", *DEEP):
                raise RecipeError(
                    f"{path} is in colours ({image.mode})",
                    "a mask has the number of the class as its grey value",
                )
            return torch.from_numpy(np.array(image).astype(np.int64))
    except (OSError, ValueError, EOFError) as error:
        raise RecipeError(f"{path} cannot be read: {error}", "check the mask") from error


def numbers(path: str) -> Tensor:
    """``[channels, h, w]``, float32: of an image 0 to 1, of a ``.npy`` file of floats as they are.

    Raises:
        RecipeError: it cannot be read.
    """
    found = decoded(path, channels_of(path))
    return found / 255 if found.dtype == torch.uint8 else found.float()


def channels_of(path: str) -> int:
    """How many a file has: 1 for grey, 3 for colours and palettes, 4 with transparency."""
    if path.endswith(".npy"):
        shape = _mapped(path).shape
        return int(shape[2]) if len(shape) > 2 else 1
    with opened(path) as image:
        return 1 if image.mode in ("1", "L", "F", *DEEP) else 4 if image.mode in ("RGBA", "LA") else 3


def size_of(path: str) -> tuple[int, int] | None:
    """Width and height of the upright image, of its header alone; None where it cannot be read."""
    try:
        if path.endswith(".npy"):
            height, width = _mapped(path).shape[:2]
            return width, height
        with opened(path) as image:
            width, height = image.size
            turned = image.getexif().get(ORIENTATION, 1) >= 5
    except (OSError, ValueError, EOFError):
        return None
    return (height, width) if turned else (width, height)


def unreadable(paths: list[str]) -> dict[str, str]:
    """Which files do not decode, and why. All are read now: a test image would be met after hours of training."""
    corrupt = {}
    with progress("checking images", len(paths)) as line, ThreadPoolExecutor(os.cpu_count()) as pool:
        for path, fault in zip(paths, pool.map(_fault, paths, chunksize=64), strict=True):
            if fault:
                corrupt[path] = fault
            line.step()
    return corrupt


def _fault(path: str) -> str:
    """Why it cannot be read; empty for what can."""
    try:
        if path.endswith(".npy"):
            return "" if _mapped(path).size else "it is empty"
        with opened(path) as image:
            image.draft("RGB", (32, 32))  # a JPEG is read to its end, but computed at an eighth of its size
            image.load()
    except (OSError, ValueError, EOFError) as error:
        return str(error) or type(error).__name__
    return ""


def images_in(folder: Path) -> list[Path]:
    """All image files below a folder, by name."""
    return sorted(path for path in files_below(folder) if path.name.lower().endswith(SUFFIXES))
