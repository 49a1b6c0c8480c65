"""What an engine wants to see of a frame, by the plan of its bundle."""

from typing import Any, Dict, List, NamedTuple, Sequence

import numpy as np

from ..engines.manifest import Bundle
from ..interface.tensors import Array
from ..system.failures import BundleError

PIXELS = {"rgb": 3, "bgr": 3, "grey": 1}


class Picture(NamedTuple):
    """How pixels become the input: `(pixel / scale - mean) / std`, by the graph itself where `in_graph`."""

    input: str
    height: int
    width: int
    colour: str  # of PIXELS
    fit: str  # stretch, letterbox, letterbox-corner or crop
    crop: float
    border: int
    in_graph: bool  # it takes uint8 frames [n, height, width, channels]
    scale: float
    mean: List[float]
    std: List[float]

    @property
    def channels(self) -> int:
        """1 or 3."""
        return PIXELS[self.colour]


def picture_of(bundle: Bundle) -> Picture:
    """What the plan says of its images. Raises BundleError where the network takes no single image."""
    told, sizes = bundle.part("image"), {entry.name: entry.shape for entry in bundle.inputs}
    if told.get("input") not in sizes or len(bundle.inputs) != 1:
        raise BundleError(
            "a video is one image after the other, and this network takes %s"
            % ", ".join("%s %s" % one for one in sorted(sizes.items())),
            "leave --video out; `bench` alone measures any network",
        )
    in_graph = told.get("layout") == "nhwc"
    height, width = sizes[str(told["input"])][1:3] if in_graph else sizes[str(told["input"])][2:4]
    return _checked(told, in_graph, height, width)


def _checked(told: Dict[str, Any], in_graph: bool, height: int, width: int) -> Picture:
    try:
        made = Picture(
            input=str(told["input"]),
            height=height,
            width=width,
            colour=str(told["colour"]),
            fit=str(told["fit"]),
            crop=float(told["crop"]),
            border=int(told["border"]),
            in_graph=in_graph,
            scale=float(told["scale"]),
            mean=[float(value) for value in told["mean"]],
            std=[float(value) for value in told["std"]],
        )
        known = made.colour in PIXELS and made.scale > 0 and len(made.mean) == len(made.std) == made.channels
    except (KeyError, TypeError, ValueError):
        known = False
    if not known:
        raise BundleError(
            "plan.json: image does not say how a frame becomes the input", "make the bundle again"
        )
    return made


def prepared(frames: Sequence[Array], picture: Picture, batch: int) -> Array:
    """The input of frames `[height, width, channels]` uint8; where there are fewer than the batch, the last again."""
    whole = np.stack(list(frames) + [frames[-1]] * (batch - len(frames)))
    if picture.in_graph:
        return whole
    factor = np.array(1.0 / (picture.scale * np.array(picture.std)), np.float32)
    offset = np.array(np.array(picture.mean) / np.array(picture.std), np.float32)
    made = np.empty((batch, picture.channels, picture.height, picture.width), np.float32)
    for channel in range(
        picture.channels
    ):  # written where it belongs: one pass, no copy for the order of axes
        plane = made[:, channel]
        np.multiply(whole[..., channel], factor[channel], out=plane)
        plane -= offset[channel]
    return made
