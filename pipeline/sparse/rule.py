"""Which layers of a model in memory are 2:4 sparse, by the rule of :mod:`jetpress.deploy.preflight.sparse`."""

from __future__ import annotations

from pathlib import Path

import onnx

from jetpress.deploy.errors import StageError
from jetpress.deploy.preflight.graph import Graph
from jetpress.deploy.preflight.sparse import GROUP, KEPT, SparseLayer, layers
from jetpress.pipeline.sparse import masks
from jetpress.pipeline.store.facts.network import Sparsity


def sparse_layers(model: onnx.ModelProto, kept: int = KEPT, group: int = GROUP) -> list[SparseLayer]:
    """Every Conv, Gemm and MatMul with constant weights, in the order of the graph; for studies also other N:M."""
    return layers(Graph(model, Path()), kept, group)


def check_sparse(told: Sparsity | None, proto: onnx.ModelProto) -> list[SparseLayer]:
    """The layers of the file that the checkpoint says are sparse, all of them 2:4.

    Raises:
        StageError: one of them is not 2:4 along its input channels, or not there.
    """
    if told is None or not told.names:
        return []
    there = sparse_layers(proto, *masks.pattern(told.pattern))
    kept = []
    for name in told.names:
        module = name.rpartition(".")[0]
        found = [one for one in there if one.name == name] or [one for one in there if one.module == module]
        if not found:
            raise StageError(
                f"the sparse layer {name!r} is not in the ONNX file",
                "please report this with the network's source",
            )
        for one in found:
            if not one.is_2_4:
                raise StageError(
                    f"{name} should be {told.pattern} sparse and is not in the file (node {one.node!r}): {one.reason}",
                    "its mask was not folded, or lies along another axis than the input channels",
                )
        kept += found
    return kept
