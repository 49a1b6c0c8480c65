"""Nodes that an importer of TensorRT refuses or reads wrongly, in words that it reads rightly: what is done where.

Each rule gives the value (or one for each output) that takes the node's place, True where the node was changed as it
stands, False where there is nothing to do; it refuses where it cannot tell. Rules are written in ONNX opset 18 and keep
what the graph computes: tests hold that by equality in ONNX Runtime. Where each is needed is told by the importers,
with file and line, in deploy/preflight/importers.json.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import onnx_ir as ir

from jetpress.pipeline.graph.rewrites import attributes, branches, values, windows
from jetpress.pipeline.graph.rewrites.site import Site


@dataclass(frozen=True)
class Rewrite:
    """One way to write something another way."""

    title: str
    ops: tuple[str, ...]
    rule: Callable[[Site], tuple[ir.Value, ...] | ir.Value | bool]
    until: tuple[int, int] | None = None
    """The first TensorRT that no longer needs it; None where all may."""
    since: tuple[int, int] = (8, 0)
    """The first that needs it."""

    def is_for(self, version: tuple[int, ...]) -> bool:
        """Whether a TensorRT needs it."""
        return self.since <= version and (self.until is None or version < self.until)


COUNTED = (
    "Conv",
    "ConvTranspose",
    "Gemm",
    "Slice",
    "Split",
    "Squeeze",
    "Trilu",
    "Dropout",
    "NonMaxSuppression",
)
"""Whose importers count inputs."""
PADDED = ("Conv", "ConvTranspose", "MaxPool", "AveragePool", "LpPool")

REWRITES = (
    Rewrite(
        "no empty names at the end", (*COUNTED, "QuantizeLinear", "DequantizeLinear"), attributes.no_blank
    ),
    Rewrite("pads of auto_pad = VALID left out", PADDED, attributes.valid_pads),
    Rewrite("Constant by its attribute value", ("Constant",), attributes.constant, (10, 0)),
    Rewrite("kernel_shape written out", ("Conv", "ConvTranspose"), attributes.kernel_shape),
    Rewrite("ScatterND without its attribute reduction", ("ScatterND",), attributes.no_reduction, (10, 9)),
    Rewrite("Trilu with its attribute upper", ("Trilu",), attributes.upper),
    Rewrite("RoiAlign with its attribute sampling_ratio", ("RoiAlign",), attributes.sampling_ratio),
    Rewrite("the axis of scales written out", ("QuantizeLinear", "DequantizeLinear"), attributes.axis),
    Rewrite("GridSample's mode by its default", ("GridSample",), attributes.mode),
    Rewrite("Loop with a condition", ("Loop",), attributes.condition),
    Rewrite("Slice with its axes", ("Slice",), attributes.slice_axes),
    Rewrite("Shape(start, end) as Shape and Slice", ("Shape",), attributes.shape, (10, 0)),
    Rewrite("ReduceSum without axes", ("ReduceSum",), attributes.reduce_sum, (10, 0)),
    Rewrite("negative Pad as Slice", ("Pad",), windows.crop),
    Rewrite("Pad that wraps as Concat of slices", ("Pad",), windows.wrap, (10, 0)),
    Rewrite("dilated MaxPool as Max of slices", ("MaxPool",), windows.dilated_pool),
    Rewrite(
        "outputs that nobody uses left out",
        ("MaxPool", "LayerNormalization", "BatchNormalization", "GroupNormalization"),
        attributes.one_output,
    ),
    Rewrite("indices of MaxPool by ArgMax", ("MaxPool",), windows.pool_indices),
    Rewrite("TopK of the smallest by negating", ("TopK",), values.smallest, (8, 5)),
    Rewrite("batch first by Transpose", ("LSTM", "GRU", "RNN"), values.batch_first),
    Rewrite("initial states written out", ("LSTM", "GRU", "RNN"), values.initial_states, since=(10, 0)),
    Rewrite("Trilu as Where", ("Trilu",), values.trilu, (8, 6)),
    Rewrite("Pow with an exponent in FP32", ("Pow",), values.power, (10, 8)),
    Rewrite("Relu of integers as Max", ("Relu",), values.integer_relu),
    Rewrite("Sign of integers in FP32", ("Sign",), values.integer_sign, (10, 0)),
    Rewrite("BOOL as INT32", ("Gather", "GatherElements", "GatherND", "Equal"), values.bool_as_int, (8, 5)),
    Rewrite("Where of BOOL as And and Or", ("Where",), values.bool_where, (8, 5)),
    Rewrite("GlobalLpPool as powers and sums", ("GlobalLpPool",), values.odd_norm),
    Rewrite(
        "GroupNormalization as InstanceNormalization", ("GroupNormalization",), values.group_norm, (10, 9)
    ),
    Rewrite("ReduceLogSumExp as its parts", ("ReduceLogSumExp",), values.log_sum_exp),
    Rewrite("ScatterElements that adds as a product", ("ScatterElements",), values.scatter_elements, (10, 0)),
    Rewrite("ScatterND that adds as a product", ("ScatterND",), values.scatter_nd),
    Rewrite("If of several outputs as one for each", ("If",), branches.one_each, (9, 0), since=(8, 5)),
    Rewrite("Einsum of many as Einsums of two", ("Einsum",), values.einsum, (10, 0)),
)
