"""Detections as the last nodes of a detector's graph: ONNX's NonMaxSuppression, and a fixed number of results.

How many boxes survive depends on the image, and an engine's outputs have one shape. So the best ``detections`` of
each image come out, filled up with zeros: ``boxes [n, detections, 4]``, ``scores [n, detections]`` (0: nothing
there) and ``labels [n, detections]`` in INT32 (-1: nothing there). The rules are
:class:`jetpress.pipeline.store.facts.onnx_file.DetectionRules`; TensorRT takes the operator since 8.5 (as INMSLayer),
and looks at its 5,000 best boxes at most.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir

from jetpress.deploy.errors import RecipeError
from jetpress.pipeline.store.facts.onnx_file import DetectionRules

MARK = "jetpress/suppress_boxes"
"""Nodes made here are called ``jetpress/suppress_boxes/TopK_7``; they stay in FP32."""
LABELS = "labels"
RAW = ("boxes_raw", "scores_raw")
"""What the network's own outputs are called then, inside of the graph."""


def suppress(graph: ir.Graph, rules: DetectionRules | None) -> None:
    """Put the search behind the outputs ``boxes`` and ``scores``, in place.

    Raises:
        RecipeError: the network is no detector, or its batch is open.
    """
    outputs = {str(one.name): one for one in graph.outputs}
    if rules is None or not {"boxes", "scores"} <= set(outputs):
        raise RecipeError(
            'export.output = "detections", and the network is no detector with outputs boxes and scores',
            "leave export.output out; `jetpress docs detection` says what a network of one's own must have",
        )
    boxes, scores = outputs["boxes"], outputs["scores"]
    sizes = [size for size in scores.shape or () if isinstance(size, int)]
    if len(sizes) != 3:
        raise RecipeError(
            'export.output = "detections", and the batch is open', "set export.dynamic_batch = false"
        )
    boxes.name, scores.name = RAW
    tail = _Tail(graph, rules, *sizes)
    found = tail.all_images(boxes, scores)
    for name, value in zip(("boxes", "scores", LABELS), found, strict=True):
        value.name = name
    rest = [one for one in graph.outputs if one not in (boxes, scores)]
    graph.outputs[:] = [*found, *rest]


class _Tail:
    """Writes the nodes."""

    def __init__(
        self, graph: ir.Graph, rules: DetectionRules, batch: int, classes: int, anchors: int
    ) -> None:
        self.graph, self.rules = graph, rules
        self.batch, self.classes, self.anchors = batch, classes, anchors
        self.most = rules.detections
        self.made = 0

    def op(self, kind: str, *inputs: ir.Value | None, outputs: int = 1, **attributes: Any) -> Any:
        """A node at the end of the graph; its output, or all of several."""
        node = ir.node(kind, inputs, attributes, num_outputs=outputs, name=f"{MARK}/{kind}_{self.made}")
        for place, value in enumerate(node.outputs):
            value.name = f"suppress_boxes/{kind}_{self.made}_{place}"
        self.made += 1
        self.graph.append(node)
        return node.outputs[0] if outputs == 1 else node.outputs

    def constant(self, *numbers: float, kind: type[np.generic] = np.int64) -> ir.Value:
        name = f"suppress_boxes/constant_{self.made}"
        self.made += 1
        value = ir.val(name, const_value=ir.tensor(np.array(numbers, kind), name=name))
        self.graph.register_initializer(value)
        return value

    def cut(self, value: ir.Value, first: int, end: int, axis: int) -> Any:
        """``value[first:end]`` along an axis."""
        return self.op(
            "Slice", value, self.constant(first), self.constant(end), self.constant(axis), self.constant(1)
        )

    def all_images(self, boxes: ir.Value, scores: ir.Value) -> list[ir.Value]:
        """Boxes, scores and labels of every image, one behind the other."""
        columns = zip(
            *(
                self.one_image(self.cut(boxes, at, at + 1, 0), self.cut(scores, at, at + 1, 0))
                for at in range(self.batch)
            ),
            strict=True,
        )
        shapes = [[self.batch, self.most, 4], [self.batch, self.most], [self.batch, self.most]]
        kinds = [ir.DataType.FLOAT, ir.DataType.FLOAT, ir.DataType.INT32]
        found = []
        for column, shape, kind in zip(columns, shapes, kinds, strict=True):
            value = self.op("Reshape", self.op("Concat", *column, axis=0), self.constant(*shape))
            value.shape, value.type = ir.Shape(shape), ir.TensorType(kind)
            found.append(value)
        return found

    def one_image(self, boxes: ir.Value, scores: ir.Value) -> tuple[ir.Value, ir.Value, ir.Value]:
        """Of boxes ``[1, anchors, 4]`` and scores ``[1, classes, anchors]`` the best that stay."""
        scores = self.candidates(scores)
        chosen = self.op(
            "NonMaxSuppression",
            boxes,
            scores,
            self.constant(self.most),
            self.constant(self.rules.iou, kind=np.float32),
            self.constant(self.rules.score, kind=np.float32),
        )  # rows of (image, class, anchor), class by class
        place = self.op(
            "Add",
            self.op("Mul", self.cut(chosen, 1, 2, 1), self.constant(self.anchors)),
            self.cut(chosen, 2, 3, 1),
        )
        place = self.op("Reshape", place, self.constant(-1))
        flat = self.op("Reshape", scores, self.constant(-1))
        # Filled up, so that there are always enough to take the best of.
        score = self.op(
            "Concat",
            self.op("Gather", flat, place),
            self.constant(*[0.0] * self.most, kind=np.float32),
            axis=0,
        )
        place = self.op("Concat", place, self.constant(*[0] * self.most), axis=0)
        best, order = self.op("TopK", score, self.constant(self.most), outputs=2, axis=0)
        place = self.op("Gather", place, order)
        label = self.op("Div", place, self.constant(self.anchors))
        anchor = self.op("Sub", place, self.op("Mul", label, self.constant(self.anchors)))
        there = self.op("Greater", best, self.constant(0.0, kind=np.float32))
        label = self.op("Add", label, self.constant(self.rules.first_label))
        label = self.op("Where", there, label, self.constant(-1))
        box = self.op("Gather", self.op("Reshape", boxes, self.constant(self.anchors, 4)), anchor, axis=0)
        weight = self.op("Unsqueeze", self.op("Cast", there, to=ir.DataType.FLOAT), self.constant(1))
        return self.op("Mul", box, weight), best, self.op("Cast", label, to=ir.DataType.INT32)

    def candidates(self, scores: ir.Value) -> ir.Value:
        """The scores of the best of each level or class; all others are 0."""
        most, levels = self.rules.candidates, self.rules.levels
        if not levels:
            return self.best(scores, most) if self.anchors > most else scores
        parts, first = [], 0
        for count in levels:
            part, flat = self.cut(scores, first, first + count, 2), self.classes * count
            if flat > most:
                row = self.best(self.op("Reshape", part, self.constant(1, 1, flat)), most)
                part = self.op("Reshape", row, self.constant(1, self.classes, count))
            parts.append(part)
            first += count
        return self.op("Concat", *parts, axis=2) if len(parts) > 1 else parts[0]  # type: ignore[no-any-return]

    def best(self, rows: ir.Value, most: int) -> ir.Value:
        """``rows`` along the last axis: the best ``most`` as they are, the others 0."""
        best, _ = self.op("TopK", rows, self.constant(most), outputs=2, axis=2)
        below = self.op("Less", rows, self.cut(best, most - 1, most, 2))
        return self.op("Where", below, self.constant(0.0, kind=np.float32), rows)  # type: ignore[no-any-return]
