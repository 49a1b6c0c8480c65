"""How much accuracy does a cut leave, with no training at all: a few hundred images without labels, no gradient?

    python -m studies.untrained DATA resnet20 resnet56 --macs 0.25 0.4 0.5
    python -m studies.untrained DATA mobilenet_v2 --macs 0.25 --tested 500
    python -m studies.untrained DATA resnet20 --peer --out untrained.json     # where torch-pruning is installed
    python -m studies.untrained_plot untrained.json docs/images/untrained.svg

For each network and share of the multiply-adds: the smallest filters of every layer (`uniform`), and widths by what
they were measured to lose (`measured`, channels in the order of `l2` and of `obs`); each as it is cut, with BatchNorm's
statistics measured anew, and with every layer fitted to what it gave before (`prune.reconstruct`); beside them
FLAP-like and torch-pruning. Accuracy in percent on test images, all methods on the same ones. `--fitted` leaves out
what ours gives as it is cut.
"""

from __future__ import annotations

import argparse
import copy
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

import jetpress
from jetpress.pipeline.network import checkpoints
from jetpress.pipeline.training.norms import measured_anew
from studies.peers import pruning as peers
from studies.peers.flap import flap
from studies.real import FILES, named
from studies.recovery_data import cifar, imagenet_untrained
from studies.table import row, title

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


@dataclass(frozen=True)
class Study:
    """One network, and the images that it is judged on."""

    name: str
    dense: nn.Module
    images: Tensor
    test: Tensor
    labels: Tensor
    asked: argparse.Namespace

    def points(self) -> Iterator[Point]:
        """Of every method at every share."""
        yield Point(self.name, "dense", 1.0, self.accuracy(self.dense))
        for share in self.asked.macs:
            for method in self.asked.ways:
                yield self.ours(method, share)
            yield self.peer("FLAP-like, constants only", share, flap)
            if self.asked.peer:
                yield self.peer("torch-pruning", share, self._torch_pruning)

    def ours(self, method: str, share: float) -> Point:
        """A row of `WAYS`."""
        (scope, criterion), began = WAYS[method], time.process_time()
        cut, fitted = (
            None if self.asked.fitted and not fit else jetpress.prune(
                self.dense, self.images[:2], macs=share, scope=scope, criterion=criterion, reconstruct=fit,
                channel_multiple=self.asked.multiple, batches=self.images.split(BATCH),
            )
            for fit in (False, True)
        )  # fmt: skip
        assert fitted is not None
        spent, left = time.process_time() - began, fitted.size.macs / fitted.dense.macs
        before, anew = self._unfitted(cut.module) if cut else (None, None)
        return Point(self.name, method, left, before, anew, self.accuracy(fitted.module), spent)

    def peer(
        self, method: str, share: float, prune: Callable[[nn.Module, Tensor, float, int], nn.Module]
    ) -> Point:
        """What another tool makes of a copy."""
        began = time.process_time()
        module = prune(self.dense, self.images, share, self.asked.multiple)
        spent, one = time.process_time() - began, (self.images[:1],)
        left = peers.macs(module, one) / peers.macs(self.dense, one)
        return Point(self.name, method, left, *self._unfitted(module), None, spent)

    def _torch_pruning(self, dense: nn.Module, images: Tensor, share: float, multiple: int) -> nn.Module:
        ignored = IGNORED if self.name.startswith("resnet") else ()
        return peers.torch_pruning(copy.deepcopy(dense), (images[:1],), share, multiple, ignored)

    def _unfitted(self, module: nn.Module) -> tuple[float, float]:
        return self.accuracy(module), self.accuracy(renormed(module, self.images))

    def accuracy(self, module: nn.Module) -> float:
        """On the test images."""
        return accuracy(module, self.test, self.labels)


def main() -> None:
    """Print a table, a line as soon as it is known."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("networks", nargs="+", choices=sorted(FILES))
    parser.add_argument("--macs", type=float, nargs="+", default=[0.25, 0.4, 0.5])
    parser.add_argument("--images", type=int, default=512)
    parser.add_argument("--tested", type=int, default=3000)
    parser.add_argument("--size", type=int, default=224, help="pixels of ImageNet's")
    parser.add_argument("--multiple", type=int, default=1)
    parser.add_argument("--ways", nargs="*", choices=list(WAYS), default=list(WAYS))
    parser.add_argument("--fitted", action="store_true")
    parser.add_argument("--peer", action="store_true")
    parser.add_argument("--out", type=Path, help="JSON of all points")
    asked, found = parser.parse_args(), []
    title("network", "channels by", "MACs left", "as cut", "BatchNorm anew", "fitted", "seconds")
    for name in asked.networks:
        network = named(name)
        checkpoints.load_weights(network.module, asked.data / "weights" / f"{FILES[name]}.pth")
        for point in Study(name, network.module.eval(), *_data(name, asked), asked).points():
            figures = ("" if one is None else one for one in (point.cut, point.anew, point.fitted))
            row(point.network, point.method, f"{point.macs:.3f}", *figures, f"{point.seconds:.0f}")
            found.append(asdict(point))
            if asked.out:
                asked.out.write_text(json.dumps(found, indent=1) + "\n")


def _data(name: str, asked: argparse.Namespace) -> tuple[Tensor, Tensor, Tensor]:
    """Images to fit on, evenly from the training split; test images and their classes."""
    if name.startswith("resnet"):
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
