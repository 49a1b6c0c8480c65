"""BatchNorm's running statistics, where it is a module and in networks that go on as their graph."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, fx, nn
from torchvision.ops import StochasticDepth

from jetpress.pipeline.network.channels.graph import TracedNet, bound, set_argument
from jetpress.pipeline.network.models import outputs_of

NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)
RANDOM = (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout, StochasticDepth)


def training_mode(module: nn.Module, *, frozen: bool = False) -> None:
    """As ``train()``; a BatchNorm whose weights are frozen keeps its statistics too, and with ``frozen`` each does."""
    module.train()
    for part in module.modules():
        if isinstance(part, NORMS) and (frozen or (part.affine and not part.weight.requires_grad)):
            part.eval()
    for graph, nodes in _graphs(module):
        for node in nodes:
            weight = bound(node)["weight"]
            fixed = isinstance(weight, fx.Node) and not graph.get_parameter(str(weight.target)).requires_grad
            if frozen or fixed:
                set_argument(node, "training", value=False)
        graph.recompile()


def as_in_training(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
    """What it returns has the form that it has in training, without what is random there or follows the batch.

    A network that returns the same in both, or cannot be called without targets then, is as in inference.
    """
    forms = []
    for training in (False, True):
        module.train(training)
        for part in module.modules():
            if isinstance(part, (*NORMS, *RANDOM)):
                part.eval()
        try:
            with torch.no_grad():
                forms.append([one.shape for one in outputs_of(module(*inputs))])
        except Exception:  # noqa: BLE001  (the user's code may raise anything)
            forms = []
    if len(forms) < 2 or forms[0] == forms[1]:
        module.eval()


@contextmanager
def measured_anew(module: nn.Module) -> Iterator[Callable[[int], None]]:
    """Statistics become the mean over the batches that go through ``module`` inside, each counting alike.

    Gives a function to be called before each batch with its number, counted from 0. Nothing but BatchNorm is in
    training mode.
    """
    norms, graphs = _modules(module), list(_graphs(module))
    momenta = [norm.momentum for norm in norms]
    theirs = [(node, bound(node)["momentum"]) for _, nodes in graphs for node in nodes]
    module.eval()
    for norm in norms:
        norm.reset_running_stats()
        norm.train()

    def count(number: int) -> None:
        share = 1 / (number + 1)
        for norm in norms:
            norm.momentum = share
        for graph, nodes in graphs:
            _follow(graph, nodes, share)

    try:
        yield count
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
        for node, momentum in theirs:
            set_argument(node, "momentum", momentum)
        module.eval()


@contextmanager
def of_the_batch(module: nn.Module) -> Iterator[None]:
    """BatchNorm normalises by the batch and learns nothing from it; all else is in evaluation mode."""
    norms, graphs = _modules(module), list(_graphs(module))
    theirs = [(node, bound(node)["momentum"]) for _, nodes in graphs for node in nodes]
    for norm in norms:
        norm.training, norm.track_running_stats = True, False
    for graph, nodes in graphs:
        _follow(graph, nodes, 0.0)
    try:
        yield
    finally:
        for norm in norms:
            norm.training, norm.track_running_stats = False, True
        for node, momentum in theirs:
            set_argument(node, "momentum", momentum)
        for graph, _ in graphs:
            graph.eval()


def any_of(module: nn.Module) -> bool:
    """Whether there are statistics at all."""
    return bool(_modules(module)) or any(nodes for _, nodes in _graphs(module))


def statistics(module: nn.Module) -> Iterator[tuple[str, str]]:
    """The buffers of every BatchNorm that has statistics: the names of mean and variance."""
    for name, part in module.named_modules():
        place = f"{name}." if name else ""
        if isinstance(part, NORMS) and part.running_mean is not None:
            yield f"{place}running_mean", f"{place}running_var"
        if isinstance(part, TracedNet):
            for node in (node for node in part.graph.nodes if node.meta.get("follows") == "training"):
                mean, variance = (bound(node)[one] for one in ("running_mean", "running_var"))
                if isinstance(mean, fx.Node) and isinstance(variance, fx.Node):
                    yield f"{place}{mean.target}", f"{place}{variance.target}"


def _follow(graph: TracedNet, nodes: list[fx.Node], share: float) -> None:
    """The statistics of ``nodes`` take this share of the next batch's."""
    for node in nodes:
        set_argument(node, "training", value=True)
        set_argument(node, "momentum", share)
    graph.recompile()


def _modules(module: nn.Module) -> list[nn.BatchNorm1d | nn.BatchNorm2d | nn.BatchNorm3d | nn.SyncBatchNorm]:
    return [part for part in module.modules() if isinstance(part, NORMS) and part.track_running_stats]


def _graphs(module: nn.Module) -> Iterator[tuple[TracedNet, list[fx.Node]]]:
    """Networks that go on as their graph, and the BatchNorms in them that have statistics."""
    for part in module.modules():
        if isinstance(part, TracedNet):
            yield part, [node for node in part.graph.nodes if node.meta.get("follows") == "training"]
