"""Detections as the last nodes of a detector's graph: a search, and a fixed number of results.

How many boxes survive depends on the image, and an engine's outputs have one shape. So the best ``detections`` of
each image come out, filled up with zeros: ``boxes [n, detections, 4]``, ``scores [n, detections]`` (0: nothing
there) and ``labels [n, detections]`` in INT32 (-1: nothing there). The rules are
:class:`jetpress.pipeline.store.facts.onnx_file.DetectionRules`. The search is ONNX's NonMaxSuppression, which TensorRT
takes since 8.5 (as INMSLayer, which looks at its 5,000 best boxes at most), or EfficientNMS_TRT, a plugin of TensorRT
(github.com/NVIDIA/TensorRT, plugin/efficientNMSPlugin). ONNX Runtime has no such plugin: :func:`standard` writes in its
place the NonMaxSuppression that does the same.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from jetpress.deploy.errors import RecipeError
from jetpress.deploy.runner.decode.heads import HEADS, sizes_of
from jetpress.pipeline.graph.heads import clean
from jetpress.pipeline.graph.nodes import Writer
from jetpress.pipeline.store.facts.onnx_file import DetectionRules

PART = "suppress_boxes"
"""Nodes made here are called ``jetpress/suppress_boxes/TopK_7``; they stay in FP32."""
LABELS = "labels"
STANDARD = "standard_suppression"
"""What is written in the place of the plugin."""
PLUGIN, PLUGINS = "EfficientNMS_TRT", "TRT"
"""Operator and domain; the parser goes by the operator's name alone."""


def raw(rules: DetectionRules) -> tuple[str, ...]:
    """What the outputs that the head reads are called then, inside of the graph."""
    return tuple(f"{name}_raw" for name in rules.reads)


def suppress(model: ir.Model, rules: DetectionRules | None, plugin: bool = False) -> None:
    """Put head and search behind the network's outputs, in place.

    Args:
        model: of the network alone.
        rules: of the search.
        plugin: by EfficientNMS_TRT.

    Raises:
        RecipeError: the network is no detector, or its batch is open.
    """
    graph = model.graph
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
    if rules.points:
        raise RecipeError(
            "the search in the graph gives no points of objects",
            "leave export.output out: the runner searches",
        )
    write, head = Writer(graph, PART), HEADS[rules.head]
    sizes = sizes_of([[int(str(size)) for size in one.shape or ()] for one in read], head, rules.classes)
    for one, name in zip(read, raw(rules), strict=True):
        one.name = name
    boxes, scores = clean(write, read, head, rules.size, rules.classes)
    if plugin:
        model.opset_imports[PLUGINS] = 1
    found = _Tail(write, rules, *sizes).all_images(boxes, scores, plugin)
    for name, value in zip(("boxes", "scores", LABELS), found, strict=True):
        value.name = name
    graph.outputs[:] = [*found, *rest]


def standard(model: ir.Model) -> None:
    """Every EfficientNMS_TRT written as NonMaxSuppression that finds the same, in place."""
    graph = model.graph
    for node in [one for one in graph if one.op_type == PLUGIN]:
        boxes, scores = node.inputs
        assert boxes is not None
        assert scores is not None
        most = node.attributes["max_output_boxes"].as_int()
        batch, anchors, classes = (int(str(size)) for size in scores.shape or ())
        asked = {name: node.attributes[name].as_float() for name in ("score_threshold", "iou_threshold")}
        rules = DetectionRules(
            score=asked["score_threshold"],
            iou=asked["iou_threshold"],
            candidates=anchors * classes,
            detections=most,
            first_label=0,
        )
        write = Writer(graph, STANDARD)
        tail = _Tail(write, rules, batch, classes, anchors)
        found = tail.by_operator(boxes, write.op("Transpose", scores, perm=[0, 2, 1]))
        for old, new in zip(node.outputs[1:], found, strict=True):
            ir.convenience.replace_all_uses_with(old, new)
        graph.remove(node, safe=True)
    graph.sort()
    model.opset_imports.pop(PLUGINS, None)


class _Tail:
    """Writes the nodes of the search."""

    def __init__(self, write: Writer, rules: DetectionRules, batch: int, classes: int, anchors: int) -> None:
        self.write, self.rules = write, rules
        self.batch, self.classes, self.anchors = batch, classes, anchors
        self.most = rules.detections

    def all_images(self, boxes: ir.Value, scores: ir.Value, plugin: bool) -> list[ir.Value]:
        """Boxes, scores and labels of every image, one behind the other."""
        search = self.by_plugin if plugin else self.by_operator
        boxes, scores, labels = search(boxes, self.candidates(scores))
        write = self.write
        there = write.op("Greater", scores, write.constant(0.0, kind=np.float32))
        labels = write.op("Add", labels, write.array(np.array([self.rules.first_label], np.int32)))
        labels = write.op("Where", there, labels, write.array(np.array([-1], np.int32)))
        weight = write.op("Unsqueeze", write.op("Cast", there, to=ir.DataType.FLOAT), write.constant(2))
        found = [write.op("Mul", boxes, weight), write.op("Identity", scores), labels]
        for value, like in zip(found, self.shaped(), strict=True):
            value.shape, value.type = like
        return found

    def shaped(self) -> list[tuple[ir.Shape, ir.TensorType]]:
        """Shapes and types of boxes, scores and labels."""
        each, kinds = (self.batch, self.most), (ir.DataType.FLOAT, ir.DataType.FLOAT, ir.DataType.INT32)
        shapes = ([*each, 4], each, each)
        return [(ir.Shape(shape), ir.TensorType(kind)) for shape, kind in zip(shapes, kinds, strict=True)]

    def by_plugin(self, boxes: ir.Value, scores: ir.Value) -> list[ir.Value]:
        """Boxes, scores and class numbers from boxes ``[n, anchors, 4]`` and scores ``[n, classes, anchors]``.

        Background and activation are ours, corners x1, y1, x2, y2; what is missing has the score 0.
        """
        scores = self.write.op("Transpose", scores, perm=[0, 2, 1])
        scores.shape = ir.Shape([self.batch, self.anchors, self.classes])
        scores.type = ir.TensorType(ir.DataType.FLOAT)
        node = ir.node(
            PLUGIN,
            [boxes, scores],
            {
                "plugin_version": "1",
                "score_threshold": float(self.rules.score),
                "iou_threshold": float(self.rules.iou),
                "max_output_boxes": self.most,
                "background_class": -1,
                "score_activation": 0,
                "box_coding": 0,
            },
            domain=PLUGINS,
            num_outputs=4,
            name=f"jetpress/{PART}/{PLUGIN}",
        )
        shapes = [(ir.Shape([self.batch, 1]), ir.TensorType(ir.DataType.INT32)), *self.shaped()]
        for place, (value, like) in enumerate(zip(node.outputs, shapes, strict=True)):
            value.name = f"{PART}/{PLUGIN}_{place}"
            value.shape, value.type = like
        self.write.graph.append(node)
        return [*node.outputs[1:]]

    def by_operator(self, boxes: ir.Value, scores: ir.Value) -> list[ir.Value]:
        """The same by NonMaxSuppression, image by image."""
        parts = [
            self.one_image(self.write.cut(boxes, at, at + 1, 0), self.write.cut(scores, at, at + 1, 0))
            for at in range(self.batch)
        ]
        shapes = ([self.batch, self.most, 4], [self.batch, self.most], [self.batch, self.most])
        return [
            self.write.op("Reshape", self.write.op("Concat", *column, axis=0), self.write.constant(*shape))
            for column, shape in zip(zip(*parts, strict=True), shapes, strict=True)
        ]

    def one_image(self, boxes: ir.Value, scores: ir.Value) -> tuple[ir.Value, ir.Value, ir.Value]:
        """Of boxes ``[1, anchors, 4]`` and scores ``[1, classes, anchors]`` the best that stay."""
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
        box = self.write.op(
            "Gather", self.write.op("Reshape", boxes, self.write.constant(self.anchors, 4)), anchor, axis=0
        )
        return box, best, self.write.op("Cast", label, to=ir.DataType.INT32)

    def candidates(self, scores: ir.Value) -> ir.Value:
        """The scores of the best of each level or class; all others are 0."""
        most, levels = self.rules.candidates, self.rules.levels
        if not levels:
            return self.best(scores, most) if self.anchors > most else scores
        parts, first = [], 0
        for count in levels:
            part, flat = self.write.cut(scores, first, first + count, 2), self.classes * count
            if flat > most:
                row = self.write.op("Reshape", part, self.write.constant(self.batch, 1, flat))
                shape = self.write.constant(self.batch, self.classes, count)
                part = self.write.op("Reshape", self.best(row, most), shape)
            parts.append(part)
            first += count
        return self.write.op("Concat", *parts, axis=2) if len(parts) > 1 else parts[0]  # type: ignore[no-any-return]

    def best(self, rows: ir.Value, most: int) -> ir.Value:
        """``rows`` along the last axis: the best ``most`` as they are, the others 0."""
        best, _ = self.write.op("TopK", rows, self.write.constant(most), outputs=2, axis=2)
        below = self.write.op("Less", rows, self.write.cut(best, most - 1, most, 2))
        return self.write.op("Where", below, self.write.constant(0.0, kind=np.float32), rows)  # type: ignore[no-any-return]
