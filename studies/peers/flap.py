"""FLAP-like: channels whose input fluctuates least go, and what they gave on average becomes a constant.

An et al. (2024, "Fluctuation-based adaptive structured pruning for large language models"): a channel costs the
variance of what is read times the square of the weights that read it; costs are standardised within a layer and ranked
over all layers; what went is made up for by its mean, in the bias of the layer that reads it. There it is attention
heads and hidden channels of transformers; here all channels that one layer reads, so no residual streams. Where
BatchNorm follows, its mean takes the constant; that a convolution's padding is zero is passed over.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from jetpress.pipeline.network.channels import ChannelGraph, analyse, copied, positions
from jetpress.pipeline.pruning.allocate import Removal, Room, lowest, smallest
from jetpress.pipeline.pruning.apply import cut_out
from jetpress.pipeline.pruning.costs import Sizes
from jetpress.pipeline.pruning.criteria import Scores
from jetpress.pipeline.pruning.reduction import Proposal, cost_of

BATCH = 64


def flap(dense: nn.Module, images: Tensor, share: float, multiple: int = 1) -> nn.Module:
    """A copy of ``dense`` with ``share`` of its multiply-adds gone."""
    inputs = (images[:2],)
    graph, seen = analyse(dense, inputs), _seen(dense, images)
    scores = _scores(dense, graph, seen)
    ranked = np.concatenate(list(scores.values()))
    groups = [group for group in Room(multiple).candidates(graph) if group.name in scores]

    def allocate(ratio: float) -> Removal:
        least, found = np.quantile(ranked, ratio), Removal()
        for group in groups:
            wanted = int((scores[group.name] >= least).sum()) // multiple * multiple
            found |= lowest(group, scores[group.name], max(wanted, multiple))
        return found

    sizes = Sizes(graph)
    cost = cost_of("macs", sizes)
    most = (1 - share) * cost.total(sizes.dense)
    removal = smallest(allocate, lambda one: cost.total(sizes.after(one)) <= most)
    smaller, steps, _ = cut_out(copied(dense), inputs, graph, Proposal(removal))
    _made_up(dense, smaller, positions(steps[-1]), seen)
    return smaller


class _Inputs:
    """What a layer reads: the mean and the variance of each channel; and the BatchNorm that runs next, if one does."""

    def __init__(self) -> None:
        self.count, self.norm = 0, ""
        self.sums: Tensor | float = 0.0
        self.squares: Tensor | float = 0.0

    def add(self, x: Tensor, axis: int) -> None:
        rows = x.movedim(axis, 0).flatten(1).double()
        self.count += rows.shape[1]
        self.sums, self.squares = self.sums + rows.sum(1), self.squares + rows.square().sum(1)

    @property
    def mean(self) -> Tensor:
        return torch.as_tensor(self.sums) / self.count

    @property
    def variance(self) -> Tensor:
        return torch.as_tensor(self.squares) / self.count - self.mean.square()


def _seen(module: nn.Module, images: Tensor) -> dict[str, _Inputs]:
    """Of each convolution and linear layer whose outputs see all of its inputs."""
    found, last, hooks = dict[str, _Inputs](), [""], []

    def watch(name: str, part: nn.Module) -> None:
        def before(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            if isinstance(part, nn.BatchNorm2d):
                if last[0]:
                    found[last[0]].norm = name
                last[0] = ""
            elif getattr(part, "groups", 1) == 1:
                found.setdefault(name, _Inputs()).add(inputs[0], -1 if isinstance(part, nn.Linear) else 1)
                last[0] = name

        hooks.append(part.register_forward_pre_hook(before))

    for name, part in module.named_modules():
        if isinstance(part, nn.Conv2d | nn.Linear | nn.BatchNorm2d):
            watch(name, part)
    with torch.no_grad():
        for batch in images.split(BATCH):
            module.eval()(batch)
    for hook in hooks:
        hook.remove()
    return found


def _scores(module: nn.Module, graph: ChannelGraph, seen: Mapping[str, _Inputs]) -> dict[str, Scores]:
    found, weights = dict[str, Scores](), dict(module.named_parameters())
    for group in graph.groups:
        readers = {
            name.removesuffix(".weight"): channels
            for (name, axis), channels in group.slices.items()
            if axis == 1 and name.removesuffix(".weight") in seen
        }
        if len(readers) != 1:
            continue
        ((name, channels),) = readers.items()
        weight = weights[f"{name}.weight"].detach().double().movedim(1, 0).flatten(1)
        cost = (seen[name].variance * weight.square().sum(1)).numpy()[channels].sum(1)
        found[group.name] = (cost - cost.mean()) / max(cost.std(), 1e-30)
    return found


@torch.no_grad()
def _made_up(
    dense: nn.Module,
    smaller: nn.Module,
    kept: Mapping[str, Mapping[int, NDArray[np.int64]]],
    seen: Mapping[str, _Inputs],
) -> None:
    """The mean of what is not read any more, into the bias or off the mean that BatchNorm takes off."""
    for name, inputs in seen.items():
        axes = kept.get(f"{name}.weight", {})
        if 1 not in axes:
            continue
        weight = dense.get_parameter(f"{name}.weight").double()
        rows = axes.get(0, np.arange(len(weight)))
        gone = np.setdiff1d(np.arange(weight.shape[1]), axes[1])
        read = weight.flatten(2).sum(2) if weight.ndim > 2 else weight
        constant = (read[rows][:, gone] @ inputs.mean[gone]).float()
        bias = smaller.get_submodule(name).bias
        if isinstance(bias, Tensor):
            bias += constant
        elif inputs.norm:
            smaller.get_buffer(f"{inputs.norm}.running_mean").sub_(constant)
