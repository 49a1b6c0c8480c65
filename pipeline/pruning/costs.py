"""What a network costs at widths that it does not have yet: multiply-adds, parameters, activations of each layer.

Every axis of every tensor in the traced graph is a fixed number of indices plus so many for each unit of each
group. So the sizes at any widths are one matrix product away, and a search may ask for thousands of them.
Counts are those of the traced batch: only their ratios are used.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from torch import fx

from jetpress.pipeline.network.channels import ChannelGraph
from jetpress.pipeline.network.channels.labels import Axes, Call, Indices
from jetpress.pipeline.network.channels.rules import CELLS, RECURRENT

Kept = NDArray[np.float64]
"""``[n, groups]``: surviving units of each group, in ``n`` networks."""
Counts = NDArray[np.float64]

CONVOLUTIONS = ("conv1d", "conv2d", "conv3d")
TRANSPOSED = ("conv_transpose1d", "conv_transpose2d", "conv_transpose3d")
PRODUCTS = ("mm", "bmm", "matmul", "addmm", "baddbmm")


@dataclass
class _Layer:
    """The axes (rows of the table) whose products are a layer's sizes."""

    macs: list[list[int]] = field(default_factory=list)
    elements: list[list[int]] = field(default_factory=list)
    weights: list[list[int]] = field(default_factory=list)


class Sizes:
    """Sizes of the layers of ``graph`` at any widths."""

    def __init__(self, graph: ChannelGraph) -> None:
        self.groups = graph.groups
        self._group = self._membership(graph)
        self._find = graph.trace.labels.find
        self._fixed: list[float] = []
        self._per_unit: list[NDArray[np.float64]] = []
        self._rows: dict[int, int] = {}
        self._held: list[Indices] = []  # row numbers go by identity: the arrays must not be freed
        self.tensors = tuple(graph.trace.tensors)
        """Names of all parameters and buffers."""
        self._tensors = [[self._row(axis) for axis in axes] for axes in graph.trace.tensors.values()]
        layers: dict[str, _Layer] = {}
        self._others: list[list[int]] = []
        for call in graph.trace.calls.values():
            self._add(call, layers)
        self.layers = tuple(layers)
        """Names of the layers that multiply, by the module that calls them."""
        self._layers = list(layers.values())
        self._table = np.array(self._per_unit), np.array(self._fixed)

    @property
    def dense(self) -> Kept:
        """``[1, groups]``: nothing removed."""
        return np.array([[group.units for group in self.groups]], dtype=np.float64)

    def after(self, removal: Mapping[str, Sequence[int]]) -> Kept:
        """``[1, groups]``: without these units."""
        return np.array([[g.units - len(removal.get(g.name, ())) for g in self.groups]], dtype=np.float64)

    def parameters(self, kept: Kept) -> Counts:
        """Numbers in every parameter and buffer ``[n, tensors]``."""
        return _products(self._widths(kept), self._tensors)

    def layer_macs(self, kept: Kept) -> Counts:
        """Multiply-adds of every layer ``[n, layers]``."""
        return self._of_layers(kept, "macs")

    def layer_elements(self, kept: Kept) -> Counts:
        """Activations that a layer reads and writes ``[n, layers]``."""
        return self._of_layers(kept, "elements")

    def layer_weights(self, kept: Kept) -> Counts:
        """Weights that a layer reads ``[n, layers]``."""
        return self._of_layers(kept, "weights")

    def others(self, kept: Kept) -> Counts:
        """Activations that all other operators write ``[n]``."""
        return np.asarray(_products(self._widths(kept), self._others).sum(1))

    def _of_layers(self, kept: Kept, what: str) -> Counts:
        widths = self._widths(kept)
        columns = [_products(widths, getattr(layer, what)).sum(1) for layer in self._layers]
        return np.stack(columns, 1) if columns else np.zeros((len(kept), 0))

    def _widths(self, kept: Kept) -> Counts:
        """The size of every axis ``[n, rows]``; the last one is 1, for padding."""
        per_unit, fixed = self._table
        widths = kept @ per_unit.T + fixed
        return np.concatenate([widths, np.ones((len(kept), 1))], 1)

    @staticmethod
    def _membership(graph: ChannelGraph) -> Indices:
        """Per label the number of its group, or -1."""
        labels = graph.trace.labels
        found = np.full(labels.size, -1, dtype=np.int64)
        for number, group in enumerate(graph.groups):
            for (name, axis), indices in group.slices.items():
                found[labels.find(graph.trace.tensors[name][axis][indices.ravel()])] = number
        return found

    def _row(self, axis: Indices) -> int:
        """The row of this axis in the table."""
        known = self._rows.get(id(axis))
        if known is not None:
            return known
        member = self._group[self._find(axis)]
        counts = np.bincount(member[member >= 0], minlength=len(self.groups)).astype(np.float64)
        self._per_unit.append(counts / self.dense[0])
        self._fixed.append(float((member < 0).sum()))
        self._held.append(axis)
        self._rows[id(axis)] = len(self._fixed) - 1
        return self._rows[id(axis)]

    def _add(self, call: Call, layers: dict[str, _Layer]) -> None:
        result = call.result
        if result and isinstance(result[0], list):  # a recurrent layer gives its last states besides
            result = result[0] if _matrices(call) else None
        if not result:
            return
        out = self._rows_of(_axes(result))
        terms = self._terms(call, out)
        if not terms:
            self._others.append(out)
            return
        layer = layers.setdefault(call.where or _weight(call) or call.name, _Layer())
        layer.macs += terms
        layer.elements.append(out)
        read = ("self", "other") if call.name in PRODUCTS else ("input", "query", "key", "value")
        for name in (*read, "mat1", "mat2", "batch1", "batch2"):
            if (axes := call.optional(name)) is not None:
                layer.elements.append(self._rows_of(axes))
        weight = call.optional("weight")
        layer.weights += [self._rows_of(axes) for axes in ([weight] if weight else _matrices(call))]

    def _rows_of(self, axes: Axes) -> list[int]:
        return [self._row(axis) for axis in axes]

    def _terms(self, call: Call, out: list[int]) -> list[list[int]]:
        """Products of axes whose sum is the number of multiply-adds; empty where the operator has none."""
        if call.name in CONVOLUTIONS:
            return [out + [self._row(axis) for axis in call.axes("weight")[1:]]]
        if call.name in TRANSPOSED:
            source = call.axes("input")
            return [[self._row(axis) for axis in [*source, *call.axes("weight")[1:]]]]
        if call.name == "linear":
            return [[*out, self._row(call.axes("weight")[-1])]]
        if call.name in PRODUCTS:
            left = next(a for n in ("mat1", "batch1", "self") if (a := call.optional(n)) is not None)
            return [[*out, self._row(left[-1])]]
        if call.name == "scaled_dot_product_attention":
            keys = self._row(call.axes("key")[-2])
            return [[*(self._row(axis) for axis in call.axes("query")), keys], [*out, keys]]
        return [[*out[:-1], *self._rows_of(axes)] for axes in _matrices(call)]  # each at every step


def _matrices(call: Call) -> list[Axes]:
    """The weights of a recurrent layer or cell."""
    if call.name in RECURRENT.split():
        return [axes for axes in call.tensors("params") if len(axes) == 2]
    return [call.axes("w_ih"), call.axes("w_hh")] if call.name in CELLS.split() else []


def _axes(value: object) -> Axes:
    assert isinstance(value, list)
    return value


def _weight(call: Call) -> str:
    """Name of the layer by its weight, where the graph knows no module."""
    node = call.arguments.get("weight")
    return str(node.meta.get("name", "")).removesuffix(".weight") if isinstance(node, fx.Node) else ""


def _products(widths: Counts, terms: Sequence[Sequence[int]]) -> Counts:
    """The product of the axes of each term ``[n, terms]``."""
    if not terms:
        return np.zeros((len(widths), 1))
    longest = max(len(term) for term in terms)
    padded = np.array([[*term, *[-1] * (longest - len(term))] for term in terms], dtype=np.int64)
    return np.asarray(widths[:, padded.reshape(-1)].reshape(len(widths), *padded.shape).prod(2))
