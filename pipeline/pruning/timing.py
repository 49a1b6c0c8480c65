"""How each layer's time depends on its widths, measured on the device that the engine is for.

The network is built at several widths (evenly cut, and at random), all with multiples that fill the hardware,
and the device's own engine tells what each layer takes in each of them. Runtimes fuse and rename, so a time
goes to the layer that an ONNX node of the same name belongs to: the last layer with weights before it. Per
layer the times are fitted by

    time = a + b * multiply-adds + c * activations + d * weights,    a, b, c, d >= 0,

what no layer claims by the activations of the whole network. The sum is an estimate: ``prune`` corrects it by
what a whole network really takes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from jetpress.pipeline.graph.layers import REST
from jetpress.pipeline.network.channels import ChannelGraph
from jetpress.pipeline.pruning.allocate import Removal, Room, lowest, rounded
from jetpress.pipeline.pruning.costs import Counts, Kept, Sizes

EVEN = (0.0, 0.25, 0.5, 0.75)
"""Ratios at which all layers are cut alike."""
RANDOM = 4
"""Further networks, each layer cut by a ratio of its own: how a layer's time depends on each of its sides."""
FILE = "timings.json"
Row = tuple[float, float, float, float]
NOTHING: Row = (0.0, 0.0, 0.0, 0.0)


def widths(graph: ChannelGraph, room: Room, seed: int) -> list[Removal]:
    """The networks to time, as what they lack: every width a multiple, the same ones for the same seed."""
    rng = np.random.default_rng(seed)
    groups = room.candidates(graph)
    ratios = [[ratio] * len(groups) for ratio in EVEN]
    ratios += [list(rng.uniform(0, max(EVEN), len(groups))) for _ in range(RANDOM)]
    found: list[Removal] = []
    for each in ratios:
        removal: Removal = {}
        for group, ratio in zip(groups, each, strict=True):
            # It does not matter which units: what a layer takes depends on how many there are.
            keep = rounded(group, max(room.least(group, ratio), 1), room.multiple)
            removal |= lowest(group, np.arange(group.units, 0, -1.0), keep)
        if removal not in found:
            found.append(removal)
    return found


@dataclass(frozen=True)
class TimeModel:
    """Milliseconds of each layer at any widths."""

    rows: Mapping[str, Row]
    """Layer -> (a, b, c, d) in ms, and ms for each multiply-add, activation and weight."""

    def layers(self, sizes: Sizes, kept: Kept) -> Counts:
        """``[n, layers + 1]``; the last column is the rest."""
        rows = np.array([self.rows.get(name, NOTHING) for name in (*sizes.layers, REST)])
        return np.asarray((_features(sizes, kept) * rows[None]).sum(2))

    def total(self, sizes: Sizes, kept: Kept) -> Counts:
        """Of the whole ``[n]``."""
        return np.asarray(self.layers(sizes, kept).sum(1))


def fit(
    sizes: Sizes, kept: Kept, table: Sequence[Mapping[str, float]], latencies: NDArray[np.float64]
) -> TimeModel:
    """The model of what was measured.

    Args:
        kept: ``[n, groups]``: the networks that were timed.
        table: of each network the milliseconds by layer.
        latencies: ``[n]``: of the whole networks; layers are scaled to them, as profiling slows some down.
    """
    from scipy.optimize import nnls  # type: ignore[import-untyped]  # a cut that no time is asked of goes without

    features = _features(sizes, kept)
    largest = np.maximum(features.max(0), 1e-30)
    names = [*sizes.layers, REST]
    unclaimed = {name for one in table for name in one} - set(names)
    scale = latencies / np.array([sum(one.values()) for one in table])
    rows = {}
    for column, name in enumerate(names):
        mine = (name, *unclaimed) if name == REST else (name,)
        times = np.array([sum(one.get(n, 0.0) for n in mine) for one in table]) * scale
        found = nnls(features[:, column] / largest[column], times)[0] / largest[column]
        a, b, c, d = (float(x) for x in found)
        rows[name] = (a, b, c, d)
    return TimeModel(rows)


def _features(sizes: Sizes, kept: Kept) -> Counts:
    """``[n, layers + 1, 4]``: one, multiply-adds, activations, weights; of the rest one and activations."""
    counts = [sizes.layer_macs(kept), sizes.layer_elements(kept), sizes.layer_weights(kept)]
    every = np.stack([np.ones_like(counts[0]), *counts], 2)
    rest = sizes.others(kept)
    last = np.stack([np.ones_like(rest), np.zeros_like(rest), rest, np.zeros_like(rest)], 1)
    return np.concatenate([every, last[:, None]], 1)
