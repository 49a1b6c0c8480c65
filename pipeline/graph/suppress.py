"""Detections as the last nodes of a detector's graph: ONNX's NonMaxSuppression, and a fixed number of results.

How many boxes survive depends on the image, and an engine's outputs have one shape. So the best ``detections`` of
each image come out, filled up with zeros: ``boxes [n, detections, 4]``, ``scores [n, detections]`` (0: nothing
there) and ``labels [n, detections]`` in INT32 (-1: nothing there). The rules are
:class:`jetpress.pipeline.store.facts.onnx_file.DetectionRules`; TensorRT takes the operator since 8.5 (as INMSLayer),
and looks at its 5,000 best boxes at most.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from jetpress.deploy.errors import RecipeError
from jetpress.deploy.runner.heads import HEADS, sizes_of
from jetpress.pipeline.graph.heads import clean
from jetpress.pipeline.graph.nodes import Writer
from jetpress.pipeline.store.facts.onnx_file import DetectionRules

PART = "suppress_boxes"
"""Nodes made here are called ``jetpress/suppress_boxes/TopK_7``; they stay in FP32."""
LABELS = "labels"


def raw(rules: DetectionRules) -> tuple[str, ...]:
    """What the outputs that the head reads are called then, inside of the graph."""
    return tuple(f"{name}_raw" for name in rules.reads)


def suppress(graph: ir.Graph, rules: DetectionRules | None) -> None:
    """Put head and search behind the network's outputs, in place.

    Raises:
        RecipeError: the network is no detector, or its batch is open.
    """
    outputs = {str(one.name): one for one in graph.outputs}
    if rules is None or not set(rules.reads) <= set(outputs):
        raise RecipeError(
            'export.output = "detections", and the network is no detector with outputs boxes and scores',
            "set task.head, or leave export.output out; `jetpress docs detection` says what a network of one's own "
            "must have",
        )
    read = [outputs[name] for name in rules.reads]
    rest = [one for one in graph.outputs if one not in read]
    if any(not isinstance(size, int) for one in read for size in one.shape or ("?",)):
        raise RecipeError(
            'export.output = "detections", and the batch is open', "set export.dynamic_batch = false"
        )
    write, head = Writer(graph, PART), HEADS[rules.head]
    sizes = sizes_of([[int(str(size)) for size in one.shape or ()] for one in read], head, rules.classes)
    for one, name in zip(read, raw(rules), strict=True):
        one.name = name
    boxes, scores = clean(write, read, head, rules.size, rules.classes)
    found = _Tail(write, rules, *sizes).all_images(boxes, scores)
    for name, value in zip(("boxes", "scores", LABELS), found, strict=True):
        value.name = name
    graph.outputs[:] = [*found, *rest]


class _Tail:
    """Writes the nodes of the search."""

    def __init__(self, write: Writer, rules: DetectionRules, batch: int, classes: int, anchors: int) -> None:
        self.write, self.rules = write, rules
        self.batch, self.classes, self.anchors = batch, classes, anchors
        self.most = rules.detections

    def all_images(self, boxes: ir.Value, scores: ir.Value) -> list[ir.Value]:
        """Boxes, scores and labels of every image, one behind the other."""
        columns = zip(
            *(
                self.one_image(self.write.cut(boxes, at, at + 1, 0), self.write.cut(scores, at, at + 1, 0))
                for at in range(self.batch)
            ),
            strict=True,
        )
        shapes = [[self.batch, self.most, 4], [self.batch, self.most], [self.batch, self.most]]
        kinds = [ir.DataType.FLOAT, ir.DataType.FLOAT, ir.DataType.INT32]
        found = []
        for column, shape, kind in zip(columns, shapes, kinds, strict=True):
            value = self.write.op(
                "Reshape", self.write.op("Concat", *column, axis=0), self.write.constant(*shape)
            )
            value.shape, value.type = ir.Shape(shape), ir.TensorType(kind)
            found.append(value)
        return found

    def one_image(self, boxes: ir.Value, scores: ir.Value) -> tuple[ir.Value, ir.Value, ir.Value]:
        """Of boxes ``[1, anchors, 4]`` and scores ``[1, classes, anchors]`` the best that stay."""
        scores = self.candidates(scores)
        chosen = self.write.op(
            "NonMaxSuppression",
            boxes,
            scores,
            self.write.constant(self.most),
            self.write.constant(self.rules.iou, kind=np.float32),
            self.write.constant(self.rules.score, kind=np.float32),
        )  # rows of (image, class, anchor), class by class
        place = self.write.op(
            "Add",
            self.write.op("Mul", self.write.cut(chosen, 1, 2, 1), self.write.constant(self.anchors)),
            self.write.cut(chosen, 2, 3, 1),
        )
        place = self.write.op("Reshape", place, self.write.constant(-1))
        flat = self.write.op("Reshape", scores, self.write.constant(-1))
        # Filled up, so that there are always enough to take the best of.
        score = self.write.op(
            "Concat",
            self.write.op("Gather", flat, place),
            self.write.constant(*[0.0] * self.most, kind=np.float32),
            axis=0,
        )
        place = self.write.op("Concat", place, self.write.constant(*[0] * self.most), axis=0)
        best, order = self.write.op("TopK", score, self.write.constant(self.most), outputs=2, axis=0)
        place = self.write.op("Gather", place, order)
        label = self.write.op("Div", place, self.write.constant(self.anchors))
        anchor = self.write.op("Sub", place, self.write.op("Mul", label, self.write.constant(self.anchors)))
        there = self.write.op("Greater", best, self.write.constant(0.0, kind=np.float32))
        label = self.write.op("Add", label, self.write.constant(self.rules.first_label))
        label = self.write.op("Where", there, label, self.write.constant(-1))
        box = self.write.op(
            "Gather", self.write.op("Reshape", boxes, self.write.constant(self.anchors, 4)), anchor, axis=0
        )
        weight = self.write.op(
            "Unsqueeze", self.write.op("Cast", there, to=ir.DataType.FLOAT), self.write.constant(1)
        )
        return self.write.op("Mul", box, weight), best, self.write.op("Cast", label, to=ir.DataType.INT32)

    def candidates(self, scores: ir.Value) -> ir.Value:
        """The scores of the best of each level or class; all others are 0."""
        most, levels = self.rules.candidates, self.rules.levels
        if not levels:
            return self.best(scores, most) if self.anchors > most else scores
        parts, first = [], 0
        for count in levels:
            part, flat = self.write.cut(scores, first, first + count, 2), self.classes * count
            if flat > most:
                row = self.best(self.write.op("Reshape", part, self.write.constant(1, 1, flat)), most)
                part = self.write.op("Reshape", row, self.write.constant(1, self.classes, count))
            parts.append(part)
            first += count
        return self.write.op("Concat", *parts, axis=2) if len(parts) > 1 else parts[0]  # type: ignore[no-any-return]

    def best(self, rows: ir.Value, most: int) -> ir.Value:
        """``rows`` along the last axis: the best ``most`` as they are, the others 0."""
        best, _ = self.write.op("TopK", rows, self.write.constant(most), outputs=2, axis=2)
        below = self.write.op("Less", rows, self.write.cut(best, most - 1, most, 2))
        return self.write.op("Where", below, self.write.constant(0.0, kind=np.float32), rows)  # type: ignore[no-any-return]
