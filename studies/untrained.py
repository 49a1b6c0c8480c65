"""How much accuracy does a cut leave, with no training at all: a few hundred images without labels, no gradient?

    python -m studies.untrained DATA resnet20 resnet56 --macs 0.25 0.4 0.5
    python -m studies.untrained DATA mobilenet_v2 --macs 0.25 --tested 500
    python -m studies.untrained DATA resnet20 --peer --out untrained.json     # where torch-pruning is installed
    python -m studies.untrained_plot untrained.json docs/images/untrained.svg
    python -m studies.untrained DATA vit --weights OUT/vit_cifar.pth          # of studies.vit_cifar

For each network and share of the multiply-adds: the smallest filters of every layer (`uniform`), and widths by what
they were measured to lose (`measured`, channels in the order of `l2` and of `obs`); each as it is cut, with BatchNorm's
statistics measured anew, and with every layer fitted to what it gave before (`prune.reconstruct`); beside them
FLAP-like and torch-pruning. Accuracy in percent on test images, all methods on the same ones. `--fitted` leaves out
what ours gives as it is cut, `--free` cuts without an image, too.
"""

from __future__ import annotations

import argparse
import copy
import json
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any, Literal

import torch
from torch import Tensor, nn

import jetpress
from jetpress.benchmarks.ratio import compare
from jetpress.pipeline.engine.contents import write_inputs
from jetpress.pipeline.functions.latency import bench_of
from jetpress.pipeline.functions.subjects import network_of
from jetpress.pipeline.network import checkpoints
from jetpress.pipeline.network.channels import ChannelGraph, analyse, copied
from jetpress.pipeline.pruning.apply import cut_out, fitted, proposed
from jetpress.pipeline.pruning.criteria import Scores
from jetpress.pipeline.pruning.curves import Curves
from jetpress.pipeline.pruning.judged import judged
from jetpress.pipeline.pruning.reduction import Reduction
from jetpress.pipeline.pruning.timed import Timer
from jetpress.pipeline.recipe.sections.compression import PruneConfig
from jetpress.pipeline.training.norms import measured_anew
from studies.peers import pruning as peers
from studies.peers.flap import flap
from studies.real import FILES, named
from studies.recovery_data import cifar, imagenet_untrained
from studies.table import row, title
from studies.vit_cifar import vit

BATCH = 64
WAYS: dict[str, tuple[Literal["uniform", "measured"], str]] = {
    "uniform, l2": ("uniform", "l2"),
    "measured, l2": ("measured", "l2"),
    "measured, obs": ("measured", "obs"),
}
"""Ours: what each layer gives up, and which channels go first."""
IGNORED = ("conv1", "layer*.conv2")
"""torch-pruning fails on CIFAR's shortcuts, which pad with zeros: only what is inside of blocks is given to it."""


@dataclass(frozen=True)
class Point:
    """A network that was cut and not trained. Accuracies in percent."""

    network: str
    method: str
    macs: float
    """Share that is left."""
    cut: float | None = None
    anew: float | None = None
    """With BatchNorm's statistics measured anew."""
    fitted: float | None = None
    seconds: float = 0.0
    """Processor time."""
    ms: float | None = None
    """Of its engine."""
    faster: tuple[float, float, float] | None = None
    """Times as fast as dense, with the 95 % interval around it."""


@dataclass(frozen=True)
class Search:
    """What channels and widths of a network are worth, measured once; every share is cut by it."""

    graph: ChannelGraph
    scores: Mapping[str, Scores]
    curves: Curves
    seconds: float
    """Processor time that it took."""


@dataclass(frozen=True)
class Study:
    """One network, and the images that it is judged on."""

    name: str
    dense: nn.Module
    images: Tensor
    test: Tensor
    labels: Tensor
    asked: argparse.Namespace
    searches: dict[str, Search] = field(default_factory=dict)
    modules: list[tuple[Point, nn.Module]] = field(default_factory=list)
    """What was made, to be timed."""

    def points(self) -> Iterator[Point]:
        """Of every method at every share."""
        yield self._kept(Point(self.name, "dense", 1.0, self.accuracy(self.dense)), self.dense)
        for share in self.asked.macs:
            for method in self.asked.ways:
                yield self.ours(method, share)
                if self.asked.free:
                    yield self.free(method, share)
            yield self.peer("FLAP-like, constants only", share, flap)
            if self.asked.peer:
                yield self.peer("torch-pruning", share, self._torch_pruning)

    def _kept(self, point: Point, module: nn.Module) -> Point:
        self.modules.append((point, module))
        return point

    def _config(self, method: str, share: float) -> PruneConfig:
        scope, criterion = WAYS[method]
        return PruneConfig(macs=share, scope=scope, criterion=criterion, channel_multiple=self.asked.multiple)

    def _searched(self, method: str) -> Search:
        if method not in self.searches:
            began, graph = time.process_time(), analyse(self.dense, (self.images[:2],))
            batches = [((one,), None) for one in self.images.split(BATCH)]
            looked_at = copied(self.dense).eval().requires_grad_()
            found = judged(self._config(method, 0.5), looked_at, graph, batches, unused, 0)
            self.searches[method] = Search(graph, *found, time.process_time() - began)
        return self.searches[method]

    def ours(self, method: str, share: float) -> Point:
        """A row of `WAYS`."""
        search, began = self._searched(method), time.process_time()
        config = self._config(method, share)
        reduction = Reduction.over(search.graph, config, search.scores, search.curves, ())
        found = proposed(reduction, reduction.costs())
        module, steps, _ = cut_out(copied(self.dense), (self.images[:2],), search.graph, found)
        spent = time.process_time() - began
        before, anew = (None, None) if self.asked.fitted else self._unfitted(module)
        began = time.process_time()
        fitted(self.dense, module, steps[-1], (self.images,))
        spent += search.seconds + time.process_time() - began
        point = Point(self.name, method, self.left(module), before, anew, self.accuracy(module), spent)
        return self._kept(point, module)

    def free(self, method: str, share: float) -> Point:
        """The same row without an image."""
        began = time.process_time()
        scope, criterion = WAYS[method]
        multiple = self.asked.multiple
        how = {"macs": share, "scope": scope, "criterion": criterion, "channel_multiple": multiple}
        module = jetpress.prune(self.dense, self.images[:1], **how).module
        spent = time.process_time() - began
        point = Point(
            self.name, f"{method}, no images", self.left(module), None, None, self.accuracy(module), spent
        )
        return self._kept(point, module)

    def peer(
        self, method: str, share: float, prune: Callable[[nn.Module, Tensor, float, int], nn.Module]
    ) -> Point:
        """What another tool makes of a copy."""
        began = time.process_time()
        module = prune(self.dense, self.images, share, self.asked.multiple)
        spent = time.process_time() - began
        point = Point(self.name, method, self.left(module), *self._unfitted(module), None, spent)
        return self._kept(point, module)

    def left(self, module: nn.Module) -> float:
        """Share of the multiply-adds."""
        return peers.macs(module, (self.images[:1],)) / peers.macs(self.dense, (self.images[:1],))

    def timed(self) -> list[Point]:
        """All points, with what their engines take on this machine's processor, side by side in one session."""
        inputs = (self.images[:1],)
        bench = bench_of(PruneConfig(latency=0.5), "host", None)
        with tempfile.TemporaryDirectory() as folder:
            network = network_of(self.dense, inputs)
            timer = Timer(network, bench, partial(write_inputs, network, inputs), Path(folder))
            found = timer.timed({f"m{k}": timer.exported(one) for k, (_, one) in enumerate(self.modules)})
        rounds = [[[ms] for ms in found[f"m{k}"].rounds] for k in range(len(self.modules))]
        faster = [compare(rounds[0], one).ratio for one in rounds]
        return [
            replace(point, ms=median(ms for (ms,) in one), faster=(ratio.low, ratio.value, ratio.high))
            for (point, _), one, ratio in zip(self.modules, rounds, faster, strict=True)
        ]

    def _torch_pruning(self, dense: nn.Module, images: Tensor, share: float, multiple: int) -> nn.Module:
        ignored = IGNORED if self.name.startswith("resnet") else ()
        return peers.torch_pruning(copy.deepcopy(dense), (images[:1],), share, multiple, ignored)

    def _unfitted(self, module: nn.Module) -> tuple[float, float]:
        return self.accuracy(module), self.accuracy(renormed(module, self.images))

    def accuracy(self, module: nn.Module) -> float:
        """On the test images."""
        return accuracy(module, self.test, self.labels)


def unused(outputs: Any, target: Any) -> Tensor:
    """The loss that no criterion here asks for."""
    raise AssertionError("no gradients are looked at")


def main() -> None:
    """Print a table, a line as soon as it is known."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("networks", nargs="+", choices=sorted([*FILES, "vit"]))
    parser.add_argument("--macs", type=float, nargs="+", default=[0.25, 0.4, 0.5])
    parser.add_argument("--images", type=int, default=512)
    parser.add_argument("--tested", type=int, default=3000)
    parser.add_argument("--size", type=int, default=224, help="pixels of ImageNet's")
    parser.add_argument("--multiple", type=int, default=1)
    parser.add_argument("--ways", nargs="*", choices=list(WAYS), default=list(WAYS))
    parser.add_argument("--weights", type=Path, help="of vit")
    parser.add_argument("--fitted", action="store_true")
    parser.add_argument("--free", action="store_true", help="each also without an image")
    parser.add_argument("--peer", action="store_true")
    parser.add_argument("--timed", action="store_true", help="engines of all, on this machine's processor")
    parser.add_argument("--out", type=Path, help="JSON of all points")
    asked, found = parser.parse_args(), []
    title("network", "channels by", "MACs left", "as cut", "BatchNorm anew", "fitted", "seconds")
    for name in asked.networks:
        study = Study(name, _trained(name, asked), *data_of(name, asked), asked)
        points = []
        for point in study.points():
            figures = ("" if one is None else one for one in (point.cut, point.anew, point.fitted))
            row(point.network, point.method, f"{point.macs:.3f}", *figures, f"{point.seconds:.0f}")
            points.append(point)
        found += study.timed() if asked.timed else points
        if asked.out:
            asked.out.write_text(json.dumps([asdict(one) for one in found], indent=1) + "\n")
    if asked.timed:
        title("network", "channels by", "MACs left", "ms", "times as fast (95 %)")
        for point in found:
            said = "{1:.2f} ({0:.2f} to {2:.2f})".format(*point.faster or ())
            row(point.network, point.method, f"{point.macs:.3f}", f"{point.ms:.3f}", said)


def _trained(name: str, asked: argparse.Namespace) -> nn.Module:
    """With its weights, in eval mode."""
    if name == "vit":
        module, path = vit(), asked.weights
    else:
        module, path = named(name).module, asked.data / "weights" / f"{FILES[name]}.pth"
    checkpoints.load_weights(module, path)
    return module.eval()


def data_of(name: str, asked: argparse.Namespace) -> tuple[Tensor, Tensor, Tensor]:
    """Images to fit on, evenly from the training split; test images and their classes."""
    if name.startswith(("resnet", "vit")):
        found = cifar(str(asked.data), 10_000, asked.tested)
        found["train"].vary = None
    else:
        found = imagenet_untrained(str(asked.data), asked.tested, asked.size)
    train, test = found["train"], found["test"]
    torch.manual_seed(0)
    chosen = torch.randperm(len(train))[: asked.images].tolist()
    pairs = [test[k] for k in range(len(test))]
    images = torch.stack([train[k][0] for k in chosen])
    return images, torch.stack([x for x, _ in pairs]), torch.tensor([y for _, y in pairs])


def accuracy(module: nn.Module, images: Tensor, labels: Tensor) -> float:
    """Percent of the images whose class has the highest score."""
    with torch.no_grad():
        right = [
            module.eval()(x).argmax(1) == y
            for x, y in zip(images.split(BATCH), labels.split(BATCH), strict=True)
        ]
    return 100 * float(torch.cat(right).double().mean())


def renormed(module: nn.Module, images: Tensor) -> nn.Module:
    """A copy whose BatchNorm has the statistics of these images."""
    module = copy.deepcopy(module)
    with measured_anew(module) as count, torch.no_grad():
        for number, batch in enumerate(images.split(BATCH)):
            count(number)
            module(batch)
    return module


if __name__ == "__main__":
    main()
