"""A run's ONNX file with other ends, for programs that cannot prepare an image as it was prepared in training.

``pixels_in``: float32 pixels 0 to 255 in the network's order of colours; the graph itself normalises. ``shares_out``:
the first output ends with a softmax over the classes.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import helper, numpy_helper

from jetpress.deploy.errors import RecipeError
from jetpress.deploy.formats.subject import Subject

MARK = "jetpress_package"


def adapted(subject: Subject, *, pixels_in: bool, shares_out: bool) -> bytes | None:
    """The file that the package gets; None where it is the bundle's own.

    Raises:
        RecipeError: its weights lie in files beside it.
    """
    if not pixels_in and not shares_out:
        return None
    entry = subject.bundle.models[subject.model]
    if Path(entry.file).parent.name:
        raise RecipeError(
            "the weights lie beside the ONNX file, which has to get other ends here",
            'leave the ends as they are: one data.std for all channels, and export.output = "softmax"',
        )
    model = onnx.load(subject.bundle.path(entry.file))
    if pixels_in:
        _pixels_in(model.graph, subject)
    if shares_out:
        _shares_out(model.graph, subject.outputs[0].name)
    made: bytes = model.SerializeToString(deterministic=True)
    return made


def _pixels_in(graph: onnx.GraphProto, subject: Subject) -> None:
    """``(x / scale - mean) / std`` as one product and one sum behind the input, which keeps its name."""
    image, inner = subject.image, f"{MARK}_normalised"
    name = image.tensor.name
    for node in graph.node:
        node.input[:] = [inner if one == name else one for one in node.input]
    std = np.asarray(image.std, np.float64).reshape(1, -1, 1, 1)
    mean = np.asarray(image.mean, np.float64).reshape(1, -1, 1, 1)
    rows = {f"{MARK}_scale": 1 / (image.scale * std), f"{MARK}_shift": -mean / std}
    graph.initializer.extend(
        numpy_helper.from_array(values.astype(np.float32), row) for row, values in rows.items()
    )
    scaled = helper.make_node("Mul", [name, f"{MARK}_scale"], [f"{MARK}_scaled"], name=f"{MARK}/Mul")
    shifted = helper.make_node("Add", [f"{MARK}_scaled", f"{MARK}_shift"], [inner], name=f"{MARK}/Add")
    graph.node.insert(0, shifted)
    graph.node.insert(0, scaled)


def _shares_out(graph: onnx.GraphProto, name: str) -> None:
    inner = f"{MARK}_scores"
    for node in graph.node:
        node.output[:] = [inner if one == name else one for one in node.output]
        node.input[:] = [inner if one == name else one for one in node.input]
    graph.node.append(helper.make_node("Softmax", [inner], [name], axis=1, name=f"{MARK}/Softmax"))
