"""Inputs for an ONNX file that was given: images of a folder, arrays of an ``.npz``, a user's function, or noise.

A sample is one whole set of inputs, each of the shape that the file is measured with. So nothing is supposed of the
file: its first axis need not be a batch, and an input may be a state or a single number.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from jetpress.deploy.errors import RecipeError
from jetpress.pipeline.data.formats.folders import files_below
from jetpress.pipeline.data.formats.pictures import opened
from jetpress.pipeline.network import user_code
from jetpress.pipeline.recipe.given import Calibration, Pixels, Sizes
from jetpress.pipeline.recipe.sections.fields import is_file_reference
from jetpress.pipeline.store.facts.onnx_file import TensorSpec

Array = NDArray[Any]
Feed = dict[str, Array]
GREY = 114
"""Around a letterboxed image: what YOLO's are trained with."""
LARGEST = 2**30
"""Bytes of all samples together."""
SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff"})
NOISE = 2
"""Samples where nothing is given."""


def samples(told: Calibration, inputs: Sequence[TensorSpec]) -> list[Feed]:
    """As many as are asked for, as there are, and as fit into a GiB.

    Raises:
        RecipeError: there are none, or none that the file takes.
    """
    sizes = [math.prod(_shape(one)) * np.dtype(one.dtype).itemsize for one in inputs]
    most = max(1, min(told.count, LARGEST // max(1, sum(sizes))))
    if not told.source:
        return [noise(one, inputs) for one in range(min(most, NOISE))]
    if is_file_reference(told.source):
        given = _called(told.source)
    elif (path := Path(told.source)).is_dir():
        given = _images(path, inputs, told.pixels)
    else:
        given = _arrays(path, inputs)
    found = [_checked(one, inputs, told.source) for one in islice(given, most)]
    if not found:
        raise RecipeError(f"{told.source} gives no samples", "one is needed at least, some 100 are good")
    return found


def noise(seed: int, inputs: Sequence[TensorSpec], shapes: Mapping[str, Sizes] | None = None) -> Feed:
    """Seeded: uniform from 0 to 1, and 0 or 1 where numbers are whole."""
    draw = np.random.default_rng(seed)
    made = {}
    for one in inputs:
        shape = _shape(one) if shapes is None else shapes[one.name]
        whole = np.dtype(one.dtype).kind in "iub"
        made[one.name] = np.asarray(draw.random(shape) * (2 if whole else 1)).astype(one.dtype)
    return made


def files(folder: Path) -> list[Path]:
    """The images below a folder, in the order of their names."""
    return sorted(one for one in files_below(folder) if one.suffix.lower() in SUFFIXES)


def _images(folder: Path, inputs: Sequence[TensorSpec], pixels: Pixels) -> Iterator[Feed]:
    """A batch of images for each sample."""
    found = files(folder)
    if not found:
        raise RecipeError(f"there are no images in {folder}", f"it looks for {', '.join(sorted(SUFFIXES))}")
    shape = _shape(inputs[0]) if len(inputs) == 1 else ()
    channels = shape[1] if len(shape) == 4 else 0
    if channels not in (1, 3):
        takes = ", ".join(f"{one.name} {list(one.shape)}" for one in inputs)
        raise RecipeError(
            f"{folder} has images, and the file does not take one image [batch, 1 or 3, height, width]: {takes}",
            "give an .npz with arrays by the names of inputs, or FILE.py:FUNCTION",
        )
    batch = shape[0]
    for start in range(0, max(1, len(found) - batch + 1), batch):
        some = [picture(one, pixels, channels, shape[2], shape[3]) for one in found[start : start + batch]]
        some += some[:1] * (batch - len(some))
        yield {inputs[0].name: np.stack(some).astype(inputs[0].dtype)}


def picture(path: Path, pixels: Pixels, channels: int, height: int, width: int) -> Array:
    """One image ``[channels, height, width]`` in FP32, prepared as ``pixels`` says.

    Raises:
        RecipeError: it is none.
    """
    try:
        with opened(path) as file:
            image = ImageOps.exif_transpose(file).convert("L" if channels == 1 else "RGB")
    except OSError as error:
        raise RecipeError(
            f"{path} is no image that can be read: {error}", "take it out of the folder"
        ) from None
    planes = np.asarray(_fitted(image, pixels.fit, (width, height)), np.float32).reshape(
        height, width, channels
    )
    if pixels.colour == "bgr":
        planes = planes[..., ::-1]
    made = (planes / pixels.scale - np.array(pixels.mean, np.float32)) / np.array(pixels.std, np.float32)
    return np.ascontiguousarray(made.transpose(2, 0, 1), np.float32)


def _fitted(image: Image.Image, fit: str, size: tuple[int, int]) -> Image.Image:
    if fit == "crop":
        return ImageOps.fit(image, size, Image.Resampling.BILINEAR)
    if fit == "stretch":
        return image.resize(size, Image.Resampling.BILINEAR)
    grey = GREY if image.mode == "L" else (GREY,) * 3
    whole = ImageOps.contain(image, size, Image.Resampling.BILINEAR)
    canvas = Image.new(image.mode, size, grey)
    rest = (size[0] - whole.width, size[1] - whole.height)
    canvas.paste(whole, (rest[0] // 2, rest[1] // 2) if fit == "letterbox" else (0, 0))
    return canvas


def _called(reference: str) -> Iterator[object]:
    """What the user's function gives."""
    function = user_code.load(reference)
    try:
        yield from function()
    except RecipeError:
        raise
    except Exception as error:
        what = f"{reference} failed: {type(error).__name__}: {error}"
        raise RecipeError(
            what, "it takes nothing, and gives one mapping of input name to array for each sample"
        ) from error


def _arrays(path: Path, inputs: Sequence[TensorSpec]) -> Iterator[Feed]:
    """Of an ``.npz``: arrays by the names of inputs, ``[samples, *shape]``, or joined along the first axis."""
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: np.asarray(file[name]) for name in file.files}
    except Exception as error:  # noqa: BLE001  TokenError, SyntaxError, BadZipFile, ...: a header is Python's text
        raise RecipeError(
            f"{path} is no folder of images and no .npz of plain arrays: {error!s:.200}",
            "np.savez(FILE, **{input name: array [samples, ...]}) writes one",
        ) from None
    if len(inputs) == 1 and len(arrays) == 1:  # there is one input, and it is clear which
        arrays = {inputs[0].name: next(iter(arrays.values()))}
    if missing := [one.name for one in inputs if one.name not in arrays]:
        raise RecipeError(f"{path} has no array {missing[0]!r}", f"it has {', '.join(arrays) or 'none'}")
    columns = [_split(arrays[one.name], one, path) for one in inputs]
    for row in zip(*columns, strict=False):
        yield {one.name: array for one, array in zip(inputs, row, strict=True)}


def _split(array: Array, one: TensorSpec, path: Path) -> Array:
    """``[samples, *shape]``."""
    shape = _shape(one)
    if array.shape[1:] == shape and array.ndim == len(shape) + 1:
        return array
    if shape and array.ndim == len(shape) + 1 and array.shape[2:] == shape[1:]:  # batches of another size
        array = array.reshape(-1, *shape[1:])
    if shape and array.ndim == len(shape) and array.shape[1:] == shape[1:] and len(array) >= shape[0]:
        whole = len(array) // shape[0]
        return array[: whole * shape[0]].reshape(whole, *shape)
    raise RecipeError(
        f"{path}: array {one.name!r} has shape {list(array.shape)}",
        f"the file takes {list(shape)}: give [samples, {', '.join(map(str, shape))}]",
    )


def _checked(given: object, inputs: Sequence[TensorSpec], source: str) -> Feed:
    """One sample in the types and shapes of the file."""
    if not isinstance(given, Mapping):
        given = dict(zip((one.name for one in inputs), _several(given), strict=False))
    feed: Feed = {}
    for one in inputs:
        if one.name not in given:
            raise RecipeError(
                f"{source}: a sample has no {one.name!r}", f"it has {', '.join(map(str, given))}"
            )
        array, kind, shape = np.asarray(given[one.name]), np.dtype(one.dtype), _shape(one)
        if array.shape == shape[1:] and shape[:1] == (1,):  # without the batch of one
            array = array[None]
        if array.shape != shape or not (
            np.can_cast(array.dtype, kind, "same_kind") or array.dtype == np.float64
        ):
            what = f"{source}: {one.name!r} is {array.dtype} {list(array.shape)}"
            raise RecipeError(what, f"the file takes {kind} {list(shape)}")
        if not np.isfinite(array).all():
            raise RecipeError(f"{source}: {one.name!r} has NaN or infinite numbers", "leave such samples out")
        feed[one.name] = np.asarray(array, kind, order="C")
    return feed


def _several(given: object) -> Iterable[object]:
    return given if isinstance(given, tuple | list) else (given,)


def _shape(one: TensorSpec) -> Sizes:
    return tuple(size for size in one.shape if isinstance(size, int))
