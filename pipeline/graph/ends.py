"""The ends of the graph where they are not the network's own: camera frames in, classes out, no INT64.

A board's camera gives ``uint8 [batch, height, width, 3]``. With ``export.input = "uint8_nhwc"`` the graph takes
that and begins with what ``data`` does to an image: scaled to 0..1, mean subtracted, divided by the standard
deviation. With ``export.output`` it ends with a softmax or with the number of the class. TensorRT 8 turns INT64
inputs and outputs into INT32 without a word; the graph says INT32 itself then.

:class:`Ends` does the same to tensors, so that samples fit the file and the file is held against the network.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import onnx_ir as ir
import torch
from torch import Tensor

from jetpress.deploy.errors import RecipeError
from jetpress.pipeline.graph.suppress import suppress
from jetpress.pipeline.recipe.sections.data import DataConfig
from jetpress.pipeline.recipe.sections.model import InputConfig
from jetpress.pipeline.store.facts.onnx_file import DetectionRules, OnnxModelFacts

FRAMES, NETWORK, SCORES, SOFTMAX, ARGMAX = "uint8_nhwc", "network", "scores", "softmax", "argmax"
DETECTIONS, EFFICIENT = "detections", "efficient_nms"
SEARCHED = (DETECTIONS, EFFICIENT)
"""How a detector ends with its search."""
LIGHT = 255
"""What full light is in a frame."""
Attribute = int | Sequence[int]
T = TypeVar("T")
MARK = "jetpress"
"""Nodes made here are called ``jetpress/Cast``."""


@dataclass(frozen=True)
class Ends:
    """What a file takes and gives, seen from the network."""

    input: str = NETWORK
    output: str = SCORES
    mean: Sequence[float] = ()
    std: Sequence[float] = ()
    rules: DetectionRules | None = None
    """Of a detector, for ``detections`` and ``efficient_nms``."""

    @classmethod
    def of(cls, facts: OnnxModelFacts, data: DataConfig) -> Ends:
        """As an exported file's facts have it."""
        return cls(facts.ends.input, facts.ends.output, data.mean, data.std, facts.detection)

    @classmethod
    def taking(cls, dtypes: Iterable[str], data: DataConfig) -> Ends:
        """Of a file with inputs of these types."""
        return cls(FRAMES if "uint8" in dtypes else NETWORK, SCORES, data.mean, data.std)

    def taken(self, outputs: Sequence[T]) -> list[T]:
        """Of the network's outputs those that the file has: what a head does not read is for training."""
        return list(outputs[: len(self.rules.reads)] if self.rules and self.rules.head != "ours" else outputs)

    def to_file(self, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """The network's inputs as the file takes them; images ``[n, 3, h, w]`` become frames ``[n, h, w, 3]``."""
        return tuple(self._frames(one) if self._is_image(one) else one for one in inputs)

    def to_network(self, fed: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """What the network sees of what the file is fed."""
        return tuple(
            self._image(one) if self.input == FRAMES and one.dtype == torch.uint8 else one for one in fed
        )

    def _is_image(self, one: Tensor) -> bool:
        return self.input == FRAMES and one.ndim == 4 and one.shape[1] == 3 and one.dtype == torch.float32

    def _frames(self, images: Tensor) -> Tensor:
        light = (images * self._per_channel(self.std) + self._per_channel(self.mean)) * LIGHT
        return light.round().clamp(0, LIGHT).to(torch.uint8).permute(0, 2, 3, 1).contiguous()

    def _image(self, frames: Tensor) -> Tensor:
        scaled = frames.permute(0, 3, 1, 2).float() / LIGHT
        return ((scaled - self._per_channel(self.mean)) / self._per_channel(self.std)).contiguous()

    @staticmethod
    def _per_channel(values: Sequence[float]) -> Tensor:
        return torch.tensor(values).view(1, 3, 1, 1)


def attach(model: ir.Model, ends: Ends, inputs: Sequence[InputConfig], int64: bool) -> list[str]:
    """Put the ends onto the graph, in place; what was done, in words.

    Raises:
        RecipeError: no input is an image, or the first output has no axis of classes.
    """
    graph, said = model.graph, list[str]()
    if ends.input == FRAMES:
        images = [
            one.name for one in inputs if len(one.shape) == 3 and one.shape[0] == 3 and one.dtype == "float32"
        ]
        if not images:
            raise RecipeError(
                f'export.input = "{FRAMES}", and no input of the network is an image [3, height, width]',
                "leave export.input out",
            )
        for index, value in enumerate(graph.inputs):
            if value.name in images:
                _take_frames(graph, index, ends)
        said.append(f"{', '.join(images)}: uint8 frames [batch, height, width, 3], normalised in the graph")
    graph.outputs[:] = ends.taken(graph.outputs)
    if ends.output in SEARCHED:
        suppress(model, ends.rules, ends.output == EFFICIENT)
        said.append("boxes, scores, labels: what is left after non-maximum suppression in the graph")
    elif ends.output != SCORES:
        _give(graph, ends.output)
        said.append(f"{graph.outputs[0].name}: {ends.output} over the classes")
    if not int64:
        said += [
            _narrow_input(graph, at) for at, one in enumerate(graph.inputs) if one.dtype == ir.DataType.INT64
        ]
        said += [
            _narrow_output(graph, at)
            for at, one in enumerate(graph.outputs)
            if one.dtype == ir.DataType.INT64
        ]
    return said


def _take_frames(graph: ir.Graph, index: int, ends: Ends) -> None:
    old = graph.inputs[index]
    assert old.shape is not None
    batch, channels, height, width = old.shape
    new = ir.Value(
        name=old.name, shape=ir.Shape([batch, height, width, channels]), type=ir.TensorType(ir.DataType.UINT8)
    )
    mean, std = (np.array(values, np.float64).reshape(1, 3, 1, 1) for values in (ends.mean, ends.std))
    cast = _node("Cast", [new], {"to": ir.DataType.FLOAT}, f"{old.name}_light")
    planes = _node("Transpose", [cast.outputs[0]], {"perm": [0, 3, 1, 2]}, f"{old.name}_planes")
    scale = _constant(graph, f"{old.name}_scale", 1 / (LIGHT * std))
    scaled = _node("Mul", [planes.outputs[0], scale], {}, f"{old.name}_scaled")
    normal = _node(
        "Sub", [scaled.outputs[0], _constant(graph, f"{old.name}_mean", mean / std)], {}, f"{old.name}_normal"
    )
    normal.outputs[0].shape, normal.outputs[0].type = old.shape, old.type
    graph.inputs[index] = new
    ir.convenience.replace_all_uses_with(old, normal.outputs[0])
    graph.insert_before(graph[0], [cast, planes, scaled, normal])


def _give(graph: ir.Graph, kind: str) -> None:
    scores = graph.outputs[0]
    if scores.shape is None or len(scores.shape) < 2 or scores.dtype != ir.DataType.FLOAT:
        raise RecipeError(
            f"export.output = {kind!r}, and the first output is not a tensor [batch, classes, ...] of float32",
            "leave export.output out",
        )
    shape = list(scores.shape)
    if kind == SOFTMAX:
        _end(graph, 0, ("Softmax", {"axis": 1}), ir.DataType.FLOAT, shape)
        return
    _end(graph, 0, ("ArgMax", {"axis": 1, "keepdims": 0}), ir.DataType.INT64, [shape[0], *shape[2:]])
    _narrow_output(graph, 0)  # class numbers are small


def _narrow_input(graph: ir.Graph, index: int) -> str:
    old = graph.inputs[index]
    new = ir.Value(name=old.name, shape=old.shape, type=ir.TensorType(ir.DataType.INT32))
    cast = _node("Cast", [new], {"to": ir.DataType.INT64}, f"{old.name}_int64")
    cast.outputs[0].shape, cast.outputs[0].type = old.shape, old.type
    graph.inputs[index] = new
    ir.convenience.replace_all_uses_with(old, cast.outputs[0])
    graph.insert_before(graph[0], [cast])
    return f"{new.name}: INT32 instead of INT64, which TensorRT 8 does not have"


def _narrow_output(graph: ir.Graph, index: int) -> str:
    shape = graph.outputs[index].shape
    _end(
        graph,
        index,
        ("Cast", {"to": ir.DataType.INT32}),
        ir.DataType.INT32,
        list(shape) if shape is not None else None,
    )
    return f"{graph.outputs[index].name}: INT32 instead of INT64, which TensorRT 8 does not have"


def _end(
    graph: ir.Graph,
    index: int,
    operator: tuple[str, Mapping[str, Attribute]],
    dtype: ir.DataType,
    shape: Sequence[int | ir.SymbolicDim] | None,
) -> None:
    """One more node behind an output, which takes over its name."""
    inner = graph.outputs[index]
    name, (op_type, attributes) = inner.name, operator
    inner.name = f"{name}_{'raw' if op_type == 'Cast' else 'scores'}"
    node = _node(op_type, [inner], attributes, str(name))
    node.outputs[0].shape = None if shape is None else ir.Shape(shape)
    node.outputs[0].type = ir.TensorType(dtype)
    graph.append(node)
    graph.outputs[index] = node.outputs[0]


def _node(op_type: str, inputs: list[ir.Value], attributes: Mapping[str, Attribute], output: str) -> ir.Node:
    node = ir.node(op_type, inputs, attributes, name=f"{MARK}/{op_type}")
    node.outputs[0].name = output
    return node


def _constant(graph: ir.Graph, name: str, array: npt.ArrayLike) -> ir.Value:
    value = ir.val(name, const_value=ir.tensor(np.asarray(array, np.float32), name=name))
    graph.register_initializer(value)
    return value
