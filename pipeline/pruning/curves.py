"""Stage: what each group of channels is worth, measured: how far the outputs move when a share of it goes.

For every group its least important units are put to zero, in everything that goes with them, and the network
runs on calibration images. The distance is the relative squared error of the outputs, for classes too: their
divergence hardly moves on images that the network is sure of (studies/log/untrained.md). BatchNorm takes the
statistics of the batch meanwhile, as if it had been recalibrated. The same is done for whole blocks.

One at a time is an approximation: groups that go together lose more than the sum. It is measured again in
every round, and once for all goals: how much is to go is no part of what it depends on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.numpy import load_file
from torch import Tensor, nn

from jetpress.deploy.console import progress
from jetpress.pipeline.data import loading
from jetpress.pipeline.network import models
from jetpress.pipeline.network.blocks import bypassed, removable
from jetpress.pipeline.network.channels import ChannelGraph, Group
from jetpress.pipeline.network.models import Network
from jetpress.pipeline.pruning import replay
from jetpress.pipeline.pruning.allocate import Room, rounded
from jetpress.pipeline.pruning.criteria import Scores
from jetpress.pipeline.recipe.configs import SensitivityConfig
from jetpress.pipeline.store.artifact import Sensitivity
from jetpress.pipeline.training.evaluate import device, to_device
from jetpress.pipeline.training.norms import of_the_batch

SHARES = (1 / 16, 1 / 8, 3 / 16, 1 / 4, 3 / 8, 1 / 2, 5 / 8, 3 / 4)
"""Of a group's channels: where it is measured; between them it is interpolated. The first few often cost nothing."""
FILE, SCORES = "sensitivity.json", "scores.safetensors"


@dataclass(frozen=True)
class Curves:
    """Loss against what was removed."""

    groups: Mapping[str, Sequence[tuple[int, float]]] = field(default_factory=dict)
    """Group -> (units kept, distance), from all units down."""
    blocks: Mapping[str, float] = field(default_factory=dict)
    """Block -> distance without it."""

    def losses(self, group: Group) -> Scores:
        """Distance with one unit, two, ... all of them ``[units]``: never less with fewer."""
        points = sorted({**dict(self.groups.get(group.name, ())), group.units: 0.0}.items())
        kept, lost = np.array([k for k, _ in points]), np.array([v for _, v in points])
        lost = np.maximum.accumulate(lost[::-1])[::-1]
        widths = np.arange(1, group.units + 1)
        found = np.interp(widths, kept, lost)
        # Below the narrowest width that was measured: steeper and steeper.
        return np.asarray(np.where(widths < kept[0], lost[0] * (kept[0] / widths) ** 2, found))


def opened(made: Sensitivity) -> tuple[dict[str, Scores], Curves]:
    """The scores of every group, and the curves."""
    return load_file(made.path / SCORES), Curves(made.facts.groups, made.facts.blocks)


def measure(
    network: Network, graph: ChannelGraph, ranked: Mapping[str, Scores], config: SensitivityConfig
) -> Curves:
    """The curves of every group and block of ``network``, whose weights are as before afterwards."""
    loaded = loading.load(network.data, network.seed, network.task)
    place = device()
    module = network.module.to(place).eval()
    images = to_device(loading.calibration(loaded, config.images), place)
    found = curves_of(module, graph, ranked, images, config)
    module.cpu()
    return found


def curves_of(
    module: nn.Module,
    graph: ChannelGraph,
    ranked: Mapping[str, Scores],
    images: tuple[Tensor, ...],
    config: SensitivityConfig,
) -> Curves:
    """The curves of ``module`` on ``images``, both in one place."""
    room = Room(config.multiple, config.ignore)
    groups = room.candidates(graph)
    names = removable(module, images, config.ignore) if config.blocks else ()
    curves: dict[str, Sequence[tuple[int, float]]] = {group.name: () for group in groups}
    lost: dict[str, float] = {}
    with (
        progress("sensitivity", len(groups) + len(names)) as line,
        torch.no_grad(),
        of_the_batch(module),
    ):
        runs = replay.of(module, images)
        dense = _floating(runs.outputs())

        def moved(start: int) -> float:
            return _distance(dense, _floating(runs.outputs(start)))

        starts = {group.name: runs.first_reader(name for name, _ in group.slices) for group in groups}
        for group in sorted(groups, key=lambda one: starts[one.name]):
            far = partial(moved, starts[group.name])
            curves[group.name] = tuple(_curve(module, group, ranked[group.name], room, far))
            line.step(group.name)
        for name in names:
            with bypassed(module, name):
                lost[name] = _distance(dense, _floating(models.outputs_of(module(*images))))
            line.step(name)
    return Curves(curves, lost)


def _curve(
    module: nn.Module, group: Group, scores: Scores, room: Room, moved: Callable[[], float]
) -> Iterator[tuple[int, float]]:
    """``moved``: how far the outputs are from the dense network's."""
    yield group.units, 0.0
    order = np.argsort(scores, kind="stable")
    widths = {rounded(group, group.units * (1 - share), room.multiple) for share in SHARES}
    for kept in sorted(widths - {group.units}, reverse=True):
        with _without(module, group, order[: group.units - kept]):
            yield kept, moved()


@contextmanager
def _without(module: nn.Module, group: Group, units: NDArray[np.int64]) -> Iterator[None]:
    """These units at zero in every parameter and buffer that goes with them."""
    held = {**dict(module.named_buffers()), **dict(module.named_parameters())}
    saved = {name: held[name].clone() for name, _ in group.slices if name in held}
    try:
        for (name, axis), indices in group.slices.items():
            if name in held and held[name].is_floating_point():
                gone = torch.from_numpy(indices[units].ravel()).to(held[name].device)
                held[name].index_fill_(axis, gone, 0.0)
        yield
    finally:
        for name, tensor in saved.items():
            held[name].copy_(tensor)


def _floating(outputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return tuple(t.float() for t in outputs if t.is_floating_point())


def _distance(dense: tuple[Tensor, ...], found: tuple[Tensor, ...]) -> float:
    """How far the outputs are from the dense network's. Not a number counts as infinitely far."""
    pairs = zip(dense, found, strict=True)
    far = [(a - b).square().sum() / a.square().sum().clamp_min(1e-12) for a, b in pairs]
    value = float(torch.stack(far).sum())
    return value if np.isfinite(value) else 1e9
