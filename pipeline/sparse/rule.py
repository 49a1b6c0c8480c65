"""Which layers of a model in memory are 2:4 sparse, by the rule of :mod:`jetpress.deploy.preflight.sparse`."""

from __future__ import annotations

from pathlib import Path

import onnx

from jetpress.deploy.preflight.graph import Graph
from jetpress.deploy.preflight.sparse import GROUP, KEPT, SparseLayer, layers


def sparse_layers(model: onnx.ModelProto, kept: int = KEPT, group: int = GROUP) -> list[SparseLayer]:
    """Every Conv, Gemm and MatMul with constant weights, in the order of the graph; for studies also other N:M."""
    return layers(Graph(model, Path()), kept, group)
