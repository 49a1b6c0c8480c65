"""How much a channel matters: pure functions from weights (and what data shows) to one number per unit.

Every criterion looks at all the numbers that would go with a unit: its filters, its biases and normalisation,
and the columns of the layers that read it. Higher matters more; only the order within a group and the size
relative to the group's mean are used. To add one: write a function, add a line to ``CRITERIA``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from jetpress.deploy.errors import StageError
from jetpress.pipeline.network.channels import ChannelGraph, Group
from jetpress.pipeline.pruning.second_order import Reader, columns_of, removal_costs

Scores = NDArray[np.float64]
"""``[units]``; dimensionless."""


@dataclass(frozen=True)
class Statistics:
    """What a network shows on training data, by parameter name (statistics.py collects it)."""

    gradients: Mapping[str, Tensor] = field(default_factory=dict)
    """Of the loss, the mean over batches."""
    squares: Mapping[str, Tensor] = field(default_factory=dict)
    """The mean over batches of the squared gradients."""
    means: Mapping[str, Tensor] = field(default_factory=dict)
    """Weight -> mean magnitude of each of its input channels ``[channels]``."""
    zeros: Mapping[str, Tensor] = field(default_factory=dict)
    """Weight -> share of zeros in each of its input channels ``[channels]``."""
    grams: Mapping[tuple[str, int], Tensor] = field(default_factory=dict)
    """Weight and the axis of its input channels -> the products of what it is applied to, ``[columns, columns]``;
    columns are kernel positions, then channels."""


@dataclass(frozen=True)
class Material:
    """What the criteria may look at."""

    parameters: Mapping[str, Tensor]
    scales: frozenset[str]
    """Parameters that are the scale of a BatchNorm."""
    seed: int
    statistics: Statistics


@dataclass(frozen=True)
class Criterion:
    """A function, and what it must see."""

    score: Callable[[Group, Material], Scores]
    data: Literal["", "gradients", "activations", "grams"] = ""
    """What must be collected on training data first; empty: weights are enough."""


def scores(
    name: str,
    module: nn.Module,
    graph: ChannelGraph,
    statistics: Statistics | None = None,
    seed: int = 0,
) -> dict[str, Scores]:
    """Per group of ``graph`` one score per unit.

    Args:
        name: a key of ``CRITERIA``.
        module: the network that ``graph`` was made of.
        statistics: what criteria that look at data need.
        seed: of ``random``.

    Raises:
        StageError: the criterion looks at data and got none.
    """
    if CRITERIA[name].data and statistics is None:
        raise StageError(f"the criterion {name} looks at data", "give it training data, or take l2")
    scales = (
        call.arguments["weight"].meta.get("name", "")
        for call in graph.trace.calls.values()
        if call.name == "batch_norm" and call.arguments["weight"] is not None
    )
    material = Material(dict(module.named_parameters()), frozenset(scales), seed, statistics or Statistics())
    with torch.no_grad():
        return {group.name: CRITERIA[name].score(group, material) for group in graph.groups}


def _units(tensor: Tensor, axis: int, indices: NDArray[np.int64]) -> NDArray[np.float64]:
    """The numbers of each unit in one tensor: ``[units, numbers]``."""
    rows = (
        tensor.detach().double().cpu().movedim(axis, 0).flatten(1)
        if tensor.ndim > 1
        else tensor.double()[:, None]
    )
    return np.asarray(rows.detach().cpu().numpy()[indices].reshape(len(indices), -1))


def _slices(group: Group, tensors: Mapping[str, Tensor]) -> Iterator[NDArray[np.float64]]:
    for (name, axis), indices in group.slices.items():
        if name in tensors and tensors[name].is_floating_point():
            yield _units(tensors[name], axis, indices)


def l1(group: Group, material: Material) -> Scores:
    """Sum of magnitudes (Li et al., 2017), over everything that goes."""
    return _summed(group, (np.abs(rows).sum(1) for rows in _slices(group, material.parameters)))


def l2(group: Group, material: Material) -> Scores:
    """Euclidean norm over everything that goes (the group norm of DepGraph; Fang et al., 2023)."""
    return np.sqrt(_summed(group, ((rows**2).sum(1) for rows in _slices(group, material.parameters))))


def fpgm(group: Group, material: Material) -> Scores:
    """Distance to all other filters: what lies at the geometric median is replaceable (He et al., 2019)."""
    made = {name: material.parameters[name] for name in group.producers if name in material.parameters}
    return _summed(group, (_distances(rows) for rows in _slices(group, made or material.parameters)))


def _distances(rows: NDArray[np.float64]) -> Scores:
    squares = (rows**2).sum(1)
    products = squares[:, None] + squares[None] - 2 * rows @ rows.T
    return np.asarray(np.sqrt(np.maximum(products, 0)).sum(1))


def bn_scale(group: Group, material: Material) -> Scores:
    """Magnitude of the BatchNorm scales (network slimming; Liu et al., 2017); ``l2`` where there are none."""
    gammas = {name: material.parameters[name] for name in material.scales if name in material.parameters}
    found = [np.abs(rows).sum(1) for rows in _slices(group, gammas)]
    return _summed(group, found) if found else l2(group, material)


def taylor(group: Group, material: Material) -> Scores:
    """How much the loss changes to first order when the unit goes (Molchanov et al., 2019)."""
    gradients = material.statistics.gradients
    changes = {n: material.parameters[n] * g for n, g in gradients.items() if n in material.parameters}
    return np.sqrt(_summed(group, (rows.sum(1) ** 2 for rows in _slices(group, changes))))


def fisher(group: Group, material: Material) -> Scores:
    """Second order with the diagonal of the empirical Fisher information (Theis et al., 2018)."""
    squares = material.statistics.squares
    changes = {n: material.parameters[n] ** 2 * g for n, g in squares.items() if n in material.parameters}
    return _summed(group, (rows.sum(1) for rows in _slices(group, changes)))


def activation(group: Group, material: Material) -> Scores:
    """Mean magnitude of the channel where it is read (Molchanov et al., 2017); ``l2`` where nothing tells."""
    return _read(group, material, material.statistics.means)


def apoz(group: Group, material: Material) -> Scores:
    """One less the average percentage of zeros where it is read (Hu et al., 2016); ``l2`` where nothing tells."""
    return _read(group, material, {n: 1 - zeros for n, zeros in material.statistics.zeros.items()})


def _read(group: Group, material: Material, channels: Mapping[str, Tensor]) -> Scores:
    """The mean over all layers that read the channels."""
    found = [
        channels[name].double().cpu().numpy()[indices].mean(1)
        for (name, axis), indices in group.slices.items()
        if axis == 1 and name in channels and indices.max() < len(channels[name])
    ]
    return _summed(group, found) / len(found) if found else l2(group, material)


def obs(group: Group, material: Material) -> Scores:
    """What is lost where the channels are read once the others have taken over for the unit (see
    :mod:`jetpress.pipeline.pruning.second_order`); ``l2`` where nothing tells."""
    readers = []
    for place, channels in group.slices.items():
        if (gram := material.statistics.grams.get(place)) is not None:
            name, axis = place
            weight = material.parameters[name].detach().cpu().movedim(axis, -1)
            units = columns_of(channels, weight.shape[-1], len(gram))
            readers.append(Reader.of(weight.reshape(-1, len(gram)), gram, units))
    return removal_costs(readers, group.units) if readers else l2(group, material)


def lamp(group: Group, material: Material) -> Scores:
    """Squared norm over that of all units at least as large (Lee et al., 2021): made for a global ranking."""
    squares = l2(group, material) ** 2
    order = np.argsort(squares, kind="stable")
    remaining = np.cumsum(squares[order][::-1])[::-1]
    result = np.empty_like(squares)
    result[order] = squares[order] / np.maximum(remaining, np.finfo(np.float64).tiny)
    return result


def random(group: Group, material: Material) -> Scores:
    """The baseline that every criterion has to beat."""
    digits = [ord(letter) for letter in group.name]
    return np.random.default_rng([material.seed, *digits]).random(group.units)


def _summed(group: Group, parts: Iterable[Scores]) -> Scores:
    return sum(parts, np.zeros(group.units))


CRITERIA: dict[str, Criterion] = {
    "l1": Criterion(l1),
    "l2": Criterion(l2),
    "fpgm": Criterion(fpgm),
    "bn_scale": Criterion(bn_scale),
    "taylor": Criterion(taylor, "gradients"),
    "fisher": Criterion(fisher, "gradients"),
    "activation": Criterion(activation, "activations"),
    "apoz": Criterion(apoz, "activations"),
    "obs": Criterion(obs, "grams"),
    "lamp": Criterion(lamp),
    "random": Criterion(random),
}
