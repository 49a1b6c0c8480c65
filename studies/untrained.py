"""How much accuracy does a cut leave, with no training at all: a few hundred images without labels, no gradient?

    python -m studies.untrained DATA resnet20 resnet56 --macs 0.25 0.4 0.5
    python -m studies.untrained DATA mobilenet_v2 --macs 0.25 --tested 500
    python -m studies.untrained DATA resnet20 --peer          # where torch-pruning is installed

For each network and share of the multiply-adds: the smallest filters of every layer (`uniform`), and widths by what
they were measured to lose (`measured`, channels in the order of `l2` and of `obs`); each as it is cut, with BatchNorm's
statistics measured anew, and with every layer fitted to what it gave before (`prune.reconstruct`). Accuracy in percent
on test images, all methods on the same ones.
"""

from __future__ import annotations

import argparse
import copy
import time
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
from studies.recovery_data import cifar, imagenet_small
from studies.table import row, title

BATCH = 64
WAYS: tuple[tuple[Literal["uniform", "measured"], str], ...] = (
    ("uniform", "l2"),
    ("measured", "l2"),
    ("measured", "obs"),
)
IGNORED = ("conv1", "layer*.conv2")
"""torch-pruning fails on CIFAR's shortcuts, which pad with zeros: only what is inside of blocks is given to it."""


def main() -> None:
    """Print a table, a line as soon as it is known."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("networks", nargs="+", choices=sorted(FILES))
    parser.add_argument("--macs", type=float, nargs="+", default=[0.25, 0.4, 0.5])
    parser.add_argument("--images", type=int, default=512)
    parser.add_argument("--tested", type=int, default=3000)
    parser.add_argument("--multiple", type=int, default=1)
    parser.add_argument("--peer", action="store_true")
    asked = parser.parse_args()
    title("network", "method", "MACs left", "as cut", "BatchNorm anew", "fitted", "seconds")
    for name in asked.networks:
        network = named(name)
        checkpoints.load_weights(network.module, asked.data / "weights" / f"{FILES[name]}.pth")
        study(name, network.module.eval(), asked)


def study(name: str, dense: nn.Module, asked: argparse.Namespace) -> None:
    """One network."""
    images, test, labels = _data(name, asked)
    row(name, "dense", "1.000", accuracy(dense, test, labels), "", "", "")
    for share in asked.macs:
        for scope, criterion in WAYS:
            began = time.process_time()
            cut = jetpress.prune(
                dense, images[:2], macs=share, scope=scope, criterion=criterion, channel_multiple=asked.multiple,
                batches=images.split(BATCH), reconstruct=False,
            )  # fmt: skip
            chosen, began = time.process_time() - began, time.process_time()
            fitted = jetpress.prune(
                dense, images[:2], macs=share, scope=scope, criterion=criterion, channel_multiple=asked.multiple,
                batches=images.split(BATCH), reconstruct=True,
            )  # fmt: skip
            spent = time.process_time() - began
            figures = [
                accuracy(one, test, labels)
                for one in (cut.module, renormed(cut.module, images), fitted.module)
            ]
            left = f"{fitted.size.macs / fitted.dense.macs:.3f}"
            row(name, f"{scope}, {criterion}", left, *figures, f"{chosen:.0f} + {spent - chosen:.0f}")
        _flap(name, dense, share, images, test, labels, asked.multiple)
        if asked.peer:
            _peer(name, dense, share, images, test, labels, asked.multiple)


def _flap(
    name: str, dense: nn.Module, share: float, images: Tensor, test: Tensor, labels: Tensor, multiple: int
) -> None:
    began = time.process_time()
    module = flap(dense, images, share, multiple)
    spent, left = time.process_time() - began, _macs_left(dense, module, images[:1])
    figures = [accuracy(one, test, labels) for one in (module, renormed(module, images))]
    row(name, "FLAP-like, constants only", left, *figures, "", f"{spent:.0f}")


def _macs_left(dense: nn.Module, module: nn.Module, *inputs: Tensor) -> str:
    return f"{peers.macs(module, inputs) / peers.macs(dense, inputs):.3f}"


def _peer(
    name: str, dense: nn.Module, share: float, images: Tensor, test: Tensor, labels: Tensor, multiple: int
) -> None:
    module, inputs, began = copy.deepcopy(dense), (images[:1],), time.process_time()
    module = peers.torch_pruning(
        module, inputs, share, multiple, IGNORED if name.startswith("resnet") else ()
    )
    spent = time.process_time() - began
    figures = [accuracy(one, test, labels) for one in (module, renormed(module, images))]
    row(name, "torch-pruning", _macs_left(dense, module, *inputs), *figures, "", f"{spent:.0f}")


def _data(name: str, asked: argparse.Namespace) -> tuple[Tensor, Tensor, Tensor]:
    """Images to fit on, evenly from the training split; test images and their classes."""
    small = cifar if name.startswith("resnet") else imagenet_small
    found = small(str(asked.data), 10_000 if small is cifar else asked.images, asked.tested)
    train, test = found["train"], found["test"]
    train.vary = None if small is cifar else train.vary
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
    return 100 * float(torch.cat(right).float().mean())


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
