"""What a network's input and outputs mean, for a bundle's plan: `jetpress package` writes all that it writes from this.

::

    outputs   name, dtype and shape of each
    image     which input is an image, and how a frame becomes it: (pixel / scale - mean) / std in this order of
              colours, per channel; with `uint8` frames the graph does that itself. null: no input is one image
    task      kind (null: not known), output (what the first one ends with), names of the classes
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from jetpress.pipeline.graph.ends import FRAMES, LIGHT
from jetpress.pipeline.recipe.given import Pixels
from jetpress.pipeline.store.artifact import Checkpoint
from jetpress.pipeline.store.facts.onnx_file import OnnxModelFacts, TensorSpec

BORDER = 114
"""Of 255: around a letterboxed image (data/placing.py, data/feeds.py)."""
COLOURS = {1: "grey", 3: "rgb"}


def of_network(model: Checkpoint, facts: OnnxModelFacts) -> dict[str, object]:
    """Of a network: its data says how an image became its input."""
    from jetpress.pipeline.tasks import TASKS

    told = json.loads((model.path / "network.json").read_text())
    data, kind = told["data"], told["task"]["kind"]
    fit = data["fit"] or ("letterbox" if kind and TASKS[kind].places else "crop")
    known = model.facts.data
    classes = list(told["task"]["classes"] or (known.classes if known else ()))
    image = _image(facts, LIGHT, data["mean"], data["std"], fit, data["crop"])
    return _meaning(facts, image, kind, classes)


def of_file(pixels: Pixels, facts: OnnxModelFacts) -> dict[str, object]:
    """Of a file that was given: what its command line said."""
    image = _image(facts, pixels.scale, pixels.mean, pixels.std, pixels.fit, 1.0)
    if image is not None and image["colour"] == "rgb":
        image["colour"] = pixels.colour
    return _meaning(facts, image, "detection" if facts.detection else None, [])


def _meaning(
    facts: OnnxModelFacts, image: Mapping[str, object] | None, kind: str | None, classes: Sequence[str]
) -> dict[str, object]:
    return {
        "outputs": [one.as_json() for one in facts.outputs],
        "image": image,
        "task": {"kind": kind, "output": facts.ends.output, "classes": list(classes)},
    }


def _image(
    facts: OnnxModelFacts, scale: float, mean: Sequence[float], std: Sequence[float], fit: str, crop: float
) -> dict[str, Any] | None:
    """The only input, where it is a batch of images of 1 or 3 channels."""
    one = facts.inputs[0]
    channels = _channels(one, facts.ends.input == FRAMES) if len(facts.inputs) == 1 else 0
    if channels not in COLOURS:
        return None
    mean, std = (list(row) * (channels if len(row) == 1 else 1) for row in (mean, std))
    return {
        "input": one.name,
        "layout": "nhwc" if one.dtype == "uint8" else "nchw",
        "colour": COLOURS[channels],
        "scale": scale,
        "mean": mean[:channels],
        "std": std[:channels],
        "fit": fit,
        "crop": crop,
        "border": BORDER,
    }


def _channels(one: TensorSpec, frames: bool) -> object:
    if len(one.shape) != 4 or one.dtype not in ("float32", "uint8"):
        return 0
    return one.shape[3] if frames and one.dtype == "uint8" else one.shape[1]
