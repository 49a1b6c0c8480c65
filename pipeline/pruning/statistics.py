"""What a network shows on training data, for the criteria that look at it: gradients and activations."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from jetpress.deploy.console import progress
from jetpress.pipeline.data.loading import batches, load, steps
from jetpress.pipeline.data.splits import Batch
from jetpress.pipeline.network import models
from jetpress.pipeline.network.channels import ChannelGraph
from jetpress.pipeline.network.models import Network
from jetpress.pipeline.pruning.criteria import CRITERIA, Scores, Statistics, scores
from jetpress.pipeline.sparse.matrices import columns, operand, samples
from jetpress.pipeline.sparse.products import products
from jetpress.pipeline.sparse.walking import traced, walk
from jetpress.pipeline.training.evaluate import device, to_device
from jetpress.pipeline.training.losses import Loss, loss
from jetpress.pipeline.training.norms import as_in_training

BATCHES = 8
POSITIONS = 40_000
"""That the products of a layer's inputs are summed over."""
LARGEST = 8192
"""Columns of a layer, in what is inverted."""


def judged(criterion: str, network: Network, graph: ChannelGraph) -> dict[str, Scores]:
    """Scores of every group by ``criterion``, with what it needs to see collected on training data."""
    statistics, wanted = None, CRITERIA[criterion].data
    if wanted:
        module = network.module.to(device()).eval()
        if wanted == "gradients":  # of the loss, which is given what the network returns in training
            as_in_training(module, to_device(models.example_inputs(network.model.inputs), device()))
        statistics = collected(wanted, module, _some(network, wanted), loss(network))
        module.cpu().eval()
    return scores(criterion, network.module, graph, statistics, network.seed)


def collected(wanted: str, module: nn.Module, batches: Iterable[Batch], objective: Loss) -> Statistics:
    """What a criterion wants to see (``Criterion.data``), of ``module`` in the mode and the place that it is in."""
    if wanted == "gradients":
        return gradients(module, batches, objective)
    return grams(module, batches) if wanted == "grams" else activations(module, batches)


def gradients(module: nn.Module, batches: Iterable[Batch], objective: Loss) -> Statistics:
    """Gradients of ``objective`` over some batches, and their squares."""
    sums: dict[str, Tensor] = {}
    squares: dict[str, Tensor] = {}
    count = 0
    for inputs, target in batches:
        module.zero_grad()
        objective(module(*inputs), target, inputs).backward()
        count += 1
        for name, parameter in module.named_parameters():
            if parameter.grad is not None:
                gradient = parameter.grad.detach().cpu()
                sums[name] = sums.get(name, 0) + gradient
                squares[name] = squares.get(name, 0) + gradient.square()
    module.zero_grad()
    means, seconds = ({name: total / count for name, total in found.items()} for found in (sums, squares))
    return Statistics(means, seconds)


def activations(module: nn.Module, batches: Iterable[Batch]) -> Statistics:
    """Mean magnitude and share of zeros of what every weight is applied to, by input channel."""
    watch = _Watch(module)
    with torch.no_grad():
        for inputs, _ in batches:
            with watch:
                module(*inputs)
    means = {name: (total / watch.counts[name]).cpu() for name, total in watch.totals.items()}
    zeros = {name: (total / watch.counts[name]).cpu() for name, total in watch.zeros.items()}
    return Statistics(means=means, zeros=zeros)


def grams(module: nn.Module, batches: Iterable[Batch]) -> Statistics:
    """Products of what every weight is applied to, where all of its outputs see the same."""
    inputs = [x for x, _ in batches]
    source = traced(module, inputs)
    parameters = {name for name, _ in module.named_parameters()}
    wanted = {
        one.node: one
        for one in products(source)
        if one.name in parameters and not one.reason and one.groups == 1
    }
    found: dict[tuple[str, int], Tensor] = {}
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for node, known in walk(source, inputs, wanted):
            product = wanted[node]
            for values in known:
                x = values[operand(product)]
                some = torch.randperm(samples(x, product), generator=generator)[: POSITIONS // len(known)]
                seen = columns(x, product, some)[0].double()
                if seen.shape[-1] <= LARGEST:
                    place = product.name, product.axis
                    found[place] = found.get(place, 0) + (seen.mT @ seen).cpu()
    return Statistics(grams=found)


class _Watch(TorchFunctionMode):
    """Sums up what goes into every operator that is given a weight: a convolution's or a linear layer's input."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.names = {id(p): name for name, p in module.named_parameters() if p.ndim > 1}
        self.totals: dict[str, Tensor] = {}
        self.zeros: dict[str, Tensor] = {}
        self.counts: dict[str, int] = {}

    def __torch_function__(
        self,
        func: Callable[..., object],
        types: object,
        args: tuple[object, ...] = (),
        kwargs: Mapping[str, object] | None = None,
    ) -> object:
        x, weight = (*args, None, None)[:2]
        if id(weight) in self.names and isinstance(x, Tensor) and isinstance(weight, Tensor):
            self._note(self.names[id(weight)], x, weight)
        return func(*args, **(kwargs or {}))

    def _note(self, name: str, x: Tensor, weight: Tensor) -> None:
        axis = -1 if weight.ndim == 2 else x.ndim - weight.ndim + 1
        rows = x.detach().float().movedim(axis, 0).flatten(1)
        if name in self.totals and len(self.totals[name]) != len(rows):
            return
        self.totals[name] = self.totals.get(name, 0) + rows.abs().sum(1).double()
        self.zeros[name] = self.zeros.get(name, 0) + (rows == 0).sum(1).double()
        self.counts[name] = self.counts.get(name, 0) + rows.shape[1]


def _some(network: Network, what: str) -> Iterator[Batch]:
    """A few training batches, where the network is."""
    data = load(network.data, network.seed, network.task)
    count = min(BATCHES, steps(data.train))
    with progress(what, count) as line:
        for _, (inputs, target) in zip(range(count), batches(data.train, 0), strict=False):
            yield to_device(inputs, device()), to_device(target, device())
            line.step()
