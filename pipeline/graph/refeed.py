"""Inputs of a file that was given, as what it became takes them: INT32 for INT64, frames for images."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch

from jetpress.deploy.runner.system.files import safe_name
from jetpress.pipeline.graph.ends import FRAMES, Ends
from jetpress.pipeline.graph.session import Array, Feed
from jetpress.pipeline.recipe.given import LIGHT, Pixels
from jetpress.pipeline.recipe.sections.data import DataConfig
from jetpress.pipeline.store.facts.onnx_file import TensorSpec


def normalised(pixels: Pixels) -> DataConfig:
    """As the ends of a graph normalise: of light from 0 to 1, for three channels."""
    mean, std = (values * 3 if len(values) == 1 else values for values in (pixels.mean, pixels.std))
    share = pixels.scale / LIGHT
    first, second, third = (one * share for one in mean)
    least, middle, most = (one * share for one in std)
    return DataConfig(mean=(first, second, third), std=(least, middle, most))


def taken(feed: Feed, inputs: Sequence[TensorSpec], images: DataConfig) -> dict[str, Array]:
    """``feed`` in the types of ``inputs``."""
    ends = Ends.taking((one.dtype for one in inputs), images)
    made = {}
    for one in inputs:
        array = feed[one.name]
        if ends.input == FRAMES and one.dtype == "uint8" and array.dtype == np.float32:
            (frames,) = ends.to_file((torch.from_numpy(array.copy()),))
            array = frames.numpy()
        made[one.name] = np.asarray(array, one.dtype, order="C")
    return made


def seen(taken_by: Feed, given: Sequence[TensorSpec], images: DataConfig) -> dict[str, Array]:
    """What the file as it was given is fed, so that it sees what the other one saw: frames have rounded the images."""
    ends = Ends.taking(("uint8",), images)
    made = {}
    for one in given:
        array = taken_by[one.name]
        if array.dtype == np.uint8 and one.dtype == "float32":
            (image,) = ends.to_network((torch.from_numpy(array),))
            array = image.numpy()
        made[one.name] = np.asarray(array, one.dtype, order="C")
    return made


def stored(folder: Path, inputs: Sequence[TensorSpec]) -> Iterator[dict[str, Array]]:
    """The samples of a folder, one after the other."""
    arrays = {
        one.name: np.load(folder / f"{safe_name(one.name)}.npy", mmap_mode="r", allow_pickle=False)
        for one in inputs
    }
    for place in range(min((len(one) for one in arrays.values()), default=0)):
        yield {name: np.array(array[place]) for name, array in arrays.items()}
