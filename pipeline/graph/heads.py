"""What a detector's head gives, read by nodes at the end of its graph: as :mod:`jetpress.deploy.runner.decode.heads`
reads it in numpy, by the same records.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from jetpress.deploy.runner.decode.heads import CLEAN, Head, grid
from jetpress.pipeline.graph.nodes import Writer

END = np.iinfo(np.int64).max
"""To the end of an axis."""


def clean(
    write: Writer, outputs: Sequence[ir.Value], head: Head, size: Sequence[int], classes: int
) -> tuple[ir.Value, ir.Value]:
    """Boxes ``[n, anchors, 4]`` and scores ``[n, classes, anchors]``; the arguments are those of the runner's."""
    if head == CLEAN:
        boxes, scores = outputs
        return boxes, scores
    boxes, scores = _parts(write, outputs, head)
    if head.strides:
        cells, steps = (write.array(one) for one in grid(head.strides, size))
        centre = write.op("Mul", write.op("Add", write.cut(boxes, 0, 2, 2), cells), steps)
        extent = write.op("Mul", write.op("Exp", write.cut(boxes, 2, 4, 2)), steps)
        boxes = write.op("Concat", centre, extent, axis=2)
    if head.shares:
        boxes = write.op("Mul", boxes, write.constant(*[size[1], size[0]] * 2, kind=np.float32))
    if not head.corners:
        half = write.op("Mul", write.cut(boxes, 2, 4, 2), write.constant(0.5, kind=np.float32))
        centre = write.cut(boxes, 0, 2, 2)
        boxes = write.op("Concat", write.op("Sub", centre, half), write.op("Add", centre, half), axis=2)
    return boxes, write.op("Transpose", _of_classes(write, scores, head, classes), perm=[0, 2, 1])


def _parts(write: Writer, outputs: Sequence[ir.Value], head: Head) -> tuple[ir.Value, ir.Value]:
    named = dict(zip(head.outputs, outputs, strict=False))
    flipped = "whole" if "whole" in named else "scores"
    if head.classes_first:
        named[flipped] = write.op("Transpose", named[flipped], perm=[0, 2, 1])
    if flipped == "scores":
        return named["boxes"], named["scores"]
    return write.cut(named["whole"], 0, 4, 2), write.cut(named["whole"], 4, END, 2)


def _of_classes(write: Writer, scores: ir.Value, head: Head, classes: int) -> ir.Value:
    """``[n, anchors, classes]``."""
    found = scores
    if head.scores == "object":
        found = write.op("Mul", write.cut(scores, 0, 1, 2), write.cut(scores, 1, END, 2))
    elif head.scores == "softmax":
        found = write.cut(write.op("Softmax", scores, axis=2), 0, -1, 2)
    elif head.scores == "label":
        numbers = write.constant(*range(classes))
        label = write.op("Cast", write.cut(scores, 1, 2, 2), to=ir.DataType.INT64)
        its = write.op("Cast", write.op("Equal", label, numbers), to=ir.DataType.FLOAT)
        found = write.op("Mul", write.cut(scores, 0, 1, 2), its)
    return found
