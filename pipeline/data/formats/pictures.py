"""Image files of any number of channels, upright."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from jetpress.deploy.console import progress
from jetpress.deploy.errors import RecipeError

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".ppm", ".pgm", ".npy")
MODES = {1: "L", 3: "RGB", 4: "RGBA"}
DEEP = ("I;16", "I;16B", "I;16L", "I")
"""Pillow's names for grey of 16 bits."""
DEEPEST = 65535
ORIENTATION = 0x0112
"""EXIF's tag of how the camera was held; from 5 on, width and height change places."""


def decoded(path: str, channels: int) -> Tensor:
    """``[channels, h, w]``, uint8; 16 bits and ``.npy`` of other types as float32, 0 to 1.

    Raises:
        RecipeError: it cannot be read, or has other channels.
    """
    try:
        if path.endswith(".npy"):
            return _array(path, channels)
        with Image.open(path) as image:
            upright = ImageOps.exif_transpose(image)
            if channels not in MODES:
                raise RecipeError(
                    f"{path} is an image file, data.mean has {channels} channels",
                    "an image file has 1, 3 or 4; use .npy",
                )
            if channels == 1 and upright.mode in DEEP:
                deep = np.asarray(upright).astype(np.float32) / DEEPEST
                return torch.from_numpy(deep)[None]
            pixels = np.array(upright.convert(MODES[channels]))
    except (OSError, SyntaxError, ValueError) as error:
        raise RecipeError(
            f"{path} can no longer be read: {error}", "it was sound when the run began"
        ) from error
    return torch.from_numpy(pixels).reshape(*pixels.shape[:2], -1).permute(2, 0, 1)


def _array(path: str, channels: int) -> Tensor:
    """Of a ``.npy`` file ``[h, w]`` or ``[h, w, channels]``; whole numbers are divided by the largest of their type."""
    array = np.load(path, allow_pickle=False)
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


def class_numbers(path: str) -> Tensor:
    """``[h, w]``, int64: a mask of grey values or palette indices.

    Raises:
        RecipeError: it cannot be read, or is a picture in colours.
    """
    try:
        with Image.open(path) as image:
            if image.mode not in ("L", "P", "1", *DEEP):
                raise RecipeError(
                    f"{path} is in colours ({image.mode})",
                    "a mask has the number of the class as its grey value",
                )
            return torch.from_numpy(np.array(image).astype(np.int64))
    except (OSError, SyntaxError, ValueError) as error:
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
        shape = np.load(path, mmap_mode="r", allow_pickle=False).shape
        return int(shape[2]) if len(shape) > 2 else 1
    with Image.open(path) as image:
        return 1 if image.mode in ("1", "L", *DEEP) else 4 if image.mode in ("RGBA", "LA") else 3


def size_of(path: str) -> tuple[int, int] | None:
    """Width and height of the upright image, of its header alone; None where it cannot be read."""
    try:
        if path.endswith(".npy"):
            height, width = np.load(path, mmap_mode="r", allow_pickle=False).shape[:2]
            return width, height
        with Image.open(path) as image:
            width, height = image.size
            turned = image.getexif().get(ORIENTATION, 1) >= 5
    except Exception:  # noqa: BLE001  Pillow's decoders raise anything
        return None
    return (height, width) if turned else (width, height)


def unreadable(paths: list[str]) -> set[str]:
    """Which files do not decode. All are read now: a test image would be met after hours of training."""
    corrupt = set()
    with progress("checking images", len(paths)) as line, ThreadPoolExecutor(os.cpu_count()) as pool:
        for path, sound in zip(paths, pool.map(_readable, paths, chunksize=64), strict=True):
            if not sound:
                corrupt.add(path)
            line.step()
    return corrupt


def _readable(path: str) -> bool:
    try:
        if path.endswith(".npy"):
            return bool(np.load(path, mmap_mode="r", allow_pickle=False).size)
        with Image.open(path) as image:
            image.draft("RGB", (32, 32))  # a JPEG is read to its end, but computed at an eighth of its size
            image.load()
    except Exception:  # noqa: BLE001  Pillow's decoders raise OSError, SyntaxError, struct.error, zlib.error, ...
        return False
    return True


def images_in(folder: Path) -> list[Path]:
    """All image files below a folder, by name."""
    found = [Path(where, name) for where, _, names in os.walk(folder, followlinks=True) for name in names]
    return sorted(path for path in found if path.name.lower().endswith(SUFFIXES))
