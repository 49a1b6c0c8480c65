"""Stage: what each group of channels is worth, measured: how far the outputs move when a share of it goes.

For every group its least important units are put to zero, in everything that goes with them, and the network
runs on calibration images. The distance is the Kullback-Leibler divergence from the dense network's classes
(in nats), or the relative squared error of the outputs where there are no classes. BatchNorm takes the
statistics of the batch meanwhile, as if it had been recalibrated. The same is done for whole blocks.

One at a time is an approximation: groups that go together lose more than the sum. It is measured again in
every round, and once for all goals: how much is to go is no part of what it depends on.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.numpy import load_file
from torch import Tensor, nn
from torch.nn import functional as F

from jetpress.deploy.console import progress
from jetpress.pipeline.data import loading
from jetpress.pipeline.network import models
from jetpress.pipeline.network.blocks import bypassed, removable
from jetpress.pipeline.network.channels import ChannelGraph, Group
from jetpress.pipeline.network.models import Network
from jetpress.pipeline.pruning.allocate import Room, rounded
from jetpress.pipeline.pruning.criteria import Scores
from jetpress.pipeline.recipe.configs import SensitivityConfig
from jetpress.pipeline.store.artifact import Sensitivity
from jetpress.pipeline.tasks import task_of
from jetpress.pipeline.training.evaluate import device, to_device
from jetpress.pipeline.training.norms import of_the_batch

SHARES = (0.25, 0.5, 0.75)
"""Of a group's channels: where it is measured; between them it is interpolated."""
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
    found = curves_of(module, graph, ranked, images, config, task_of(network.task).class_scores)
    module.cpu()
    return found


def curves_of(
    module: nn.Module,
    graph: ChannelGraph,
    ranked: Mapping[str, Scores],
    images: tuple[Tensor, ...],
    config: SensitivityConfig,
    classes: bool,
) -> Curves:
    """The curves of ``module`` on ``images``, both in one place.

    Args:
        classes: the first output has scores of classes along dimension 1.
    """
    room = Room(config.multiple, config.ignore)
    groups = room.candidates(graph)
    names = removable(module, images, config.ignore) if config.blocks else ()
    curves, lost = {}, {}
    with (
        progress("sensitivity", len(groups) + len(names)) as line,
        torch.no_grad(),
        of_the_batch(module),
    ):
        dense = _outputs(module, images)
        for group in groups:
            curves[group.name] = list(_curve(module, group, ranked[group.name], room, images, dense, classes))
            line.step(group.name)
        for name in names:
            with bypassed(module, name):
                lost[name] = _distance(dense, _outputs(module, images), classes)
            line.step(name)
    return Curves(curves, lost)


def _curve(
    module: nn.Module,
    group: Group,
    scores: Scores,
    room: Room,
    images: tuple[Tensor, ...],
    dense: tuple[Tensor, ...],
    classes: bool,
) -> Iterator[tuple[int, float]]:
    yield group.units, 0.0
    order = np.argsort(scores, kind="stable")
    widths = {rounded(group, group.units * (1 - share), room.multiple) for share in SHARES}
    for kept in sorted(widths - {group.units}, reverse=True):
        with _without(module, group, order[: group.units - kept]):
            yield kept, _distance(dense, _outputs(module, images), classes)


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


def _outputs(module: nn.Module, images: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return tuple(t.float() for t in models.outputs_of(module(*images)) if t.is_floating_point())


def _distance(dense: tuple[Tensor, ...], found: tuple[Tensor, ...], classes: bool) -> float:
    """How far the outputs are from the dense network's, per sample. Not a number counts as infinitely far."""
    if classes:
        rows = [a.movedim(1, -1).flatten(0, -2).log_softmax(-1) for a in (dense[0], found[0])]
        far = F.kl_div(rows[1], rows[0], log_target=True, reduction="batchmean")
    else:
        pairs = zip(dense, found, strict=True)
        far = torch.stack(
            [(a - b).square().sum() / a.square().sum().clamp_min(1e-12) for a, b in pairs]
        ).sum()
    value = float(far)
    return max(value, 0.0) if np.isfinite(value) else 1e9
