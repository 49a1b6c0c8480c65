"""One network under quantization: its FP32 graph, its layers, and the INT8 or FP8 graphs that can be made of it."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from functools import cached_property

import onnx
import onnx_ir as ir
from onnx_ir.passes import common

from jetpress.deploy.errors import StageError
from jetpress.pipeline.quantization import placement, qdq
from jetpress.pipeline.quantization.dialect import Array, Dialect
from jetpress.pipeline.store.facts.network import CheckpointFacts

KEPT, NO_KERNEL, LAST = "quantize.keep", "no FP8 kernel for its shape", "gives an output of the file"
"""Why layers stay in higher precision, whatever that costs."""


@dataclass(frozen=True)
class Subject:
    """What is quantized."""

    proto: onnx.ModelProto
    """FP32, types and shapes inferred."""
    dialect: Dialect
    patterns: tuple[str, ...] = ()
    """Layers that stay in higher precision, as the recipe says."""
    masked: tuple[str, ...] = ()
    """Parameters that are 2:4 sparse."""
    shifts: Mapping[str, Array] = field(default_factory=dict)
    """Corrections of biases: see :mod:`jetpress.pipeline.quantization.bias`."""
    last: tuple[str, ...] = ()
    """Layers that stay in higher precision because they give the outputs."""

    @cached_property
    def layers(self) -> list[placement.Layer]:
        """Every layer with weights."""
        return placement.layers(ir.from_proto(self.proto).graph)

    @cached_property
    def always(self) -> dict[str, str]:
        """Layers that stay in higher precision in any case -> why."""
        unfit = dict.fromkeys(placement.unfit(self.layers, self.dialect), NO_KERNEL)
        unfit |= dict.fromkeys(self.last, LAST)
        return unfit | dict.fromkeys(placement.kept(self.layers, self.patterns), KEPT)

    @property
    def names(self) -> list[str]:
        """Layers that may become INT8.

        Raises:
            StageError: there is none.
        """
        found = [one.name for one in self.layers if one.name not in self.always]
        if not found:
            what = "none has constant weights"
            if self.layers:
                kept = KEPT in self.always.values()
                what = "quantize.keep means all of them" if kept else f"{NO_KERNEL}, of none"
            raise StageError(f"there is no layer to quantize: {what}", "take another build.precision")
        return found

    @cached_property
    def sparse(self) -> frozenset[str]:
        """Layers whose weights are 2:4."""
        modules = {name.rpartition(".")[0] for name in self.masked}
        return frozenset(
            one.name
            for one in self.layers
            if one.weight.name in self.masked or one.name.rpartition("/")[0] in modules
        )

    def tensors(self) -> list[str]:
        """Activations whose ranges are needed, in the order of the graph."""
        graph = ir.from_proto(self.proto).graph
        needed = placement.ranged(graph, self.dialect, self.always, self.sparse)
        values = [*graph.inputs, *(value for node in graph for value in node.outputs)]
        return [value.name for value in values if value.name and value in needed]

    def graph(self, ranges: qdq.Ranges, without: Collection[str] = ()) -> onnx.ModelProto:
        """In INT8 or FP8 but for ``without`` and what stays in any case."""
        out = {*without, *self.always}
        made = qdq.insert(self.proto, self.dialect, ranges, out, self.sparse, self.shifts)
        common.NameFixPass()(made)
        return ir.to_proto(made)

    def alone(self, ranges: qdq.Ranges, name: str) -> onnx.ModelProto:
        """Only this layer in INT8."""
        return self.graph(ranges, [one.name for one in self.layers if one.name != name])


def masked(facts: CheckpointFacts) -> tuple[str, ...]:
    """Parameters that a checkpoint says are 2:4 sparse."""
    return facts.sparsity.names if facts.sparsity else ()
