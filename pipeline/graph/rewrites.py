"""Nodes that an importer of TensorRT refuses or reads wrongly, in words that it reads rightly.

Each rule gives the value that takes the node's place, True where the node was changed as it stands, False where there
is nothing to do. Rules are written in ONNX opset 18 and keep what the graph computes: tests hold that by equality in
ONNX Runtime. Where each is needed is told by the importers (deploy/preflight/importers.json has the places).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import onnx_ir as ir

from jetpress.pipeline.graph.primitives import Site

LAST = np.iinfo(np.int64).max


@dataclass(frozen=True)
class Rewrite:
    """One way to write something another way."""

    title: str
    ops: tuple[str, ...]
    rule: Callable[[Site], ir.Value | bool]
    until: tuple[int, int] | None = None
    """The first TensorRT that no longer needs it; None where all do."""


def _kernel_shape(at: Site) -> bool:
    """The importers look for it where the weight is no initializer; ONNX takes it from the weight."""
    shape = at.shape(1)
    if "kernel_shape" in at.node.attributes or shape is None or None in shape[2:]:
        return False
    at.node.attributes["kernel_shape"] = ir.AttrInt64s("kernel_shape", [size or 0 for size in shape[2:]])
    return True


def _no_reduction(at: Site) -> bool:
    """ScatterND: up to 10.8 the attribute must not be there, not even as ``none``."""
    return at.attribute("reduction") == "none" and at.node.attributes.pop("reduction") is not None


def shape(at: Site) -> ir.Value | Literal[False]:
    """``start`` and ``end`` are not read: a Slice of the whole shape says the same."""
    start, end = at.attribute("start", 0), at.attribute("end")
    if start == 0 and end is None:
        return False
    bounds = (start, LAST if end is None else end)
    begin, stop = (at.constant(np.array([bound], np.int64)) for bound in bounds)
    return at.op("Slice", at.op("Shape", at.x()), begin, stop, at.constant(np.array([0], np.int64)))


REWRITES = (
    Rewrite("kernel_shape written out", ("Conv", "ConvTranspose"), _kernel_shape),
    Rewrite("ScatterND without its attribute reduction", ("ScatterND",), _no_reduction, (10, 9)),
    Rewrite("Shape(start, end) as Shape and Slice", ("Shape",), shape, (10, 0)),
)
