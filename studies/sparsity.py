"""2:4 sparsity beside its peers: what is kept, what it costs in time and in accuracy.

    python -m studies.sparsity search   --data DATA --apex APEX   # one matrix at a time, against ASP's search
    python -m studies.sparsity networks --data DATA --apex APEX   # whole networks: eligible, kept, seconds
    python -m studies.sparsity imagenet --data DATA               # accuracy of the real MobileNetV2
    python -m studies.sparsity cifar    --data DATA               # accuracy of CIFAR ResNets, and fine-tuned
    python -m studies.sparsity gpu                                # cuSPARSELt: is the pattern taken, does it pay

Without a name: all of them. DATA is a folder of real weights and images (:mod:`studies.real`), APEX a checkout of
NVIDIA's apex; ModelOpt takes part if it can be imported. What is not there is left out, and said so. Seconds are
CPU seconds of one thread.
"""

from __future__ import annotations

import argparse
import copy
import itertools
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from types import ModuleType
from unittest import mock

import numpy as np
import torch
from torch import Tensor

from jetpress.pipeline.network import channels, models
from jetpress.pipeline.network.models import Network
from jetpress.pipeline.recipe.sections.compression import SparsifyConfig
from jetpress.pipeline.sparse import masks, permute
from jetpress.pipeline.sparse.products import products
from jetpress.pipeline.stages.sparsify import make_sparse, why_dense
from jetpress.pipeline.store.facts.network import Sparsity
from studies import sparsity_accuracy as accuracy
from studies import sparsity_gpu as gpu
from studies.peers import sparsity as peers
from studies.real import named, trained
from studies.table import percent, row, timed, title

RANDOM = ("resnet50", "mobilenet_v2", "convnext_tiny", "vit_b_16", "efficientnet_b0")
"""Networks of torchvision, freshly initialised."""
TRAINED = ("mobilenet_v2 (trained)", "resnet20 (trained)", "resnet56 (trained)")
ASP_COLUMNS = 512
"""Wider matrices ASP searches here without escapes, which win little and take minutes. Above 2048 columns it would
not search at all, but swap at random for two minutes."""
ASP_WINDOW = 8
"""Up to so many columns ASP tries every order, with CUDA only: see :func:`every_order`."""


def main() -> None:
    """See the module's text."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []], help="which tables; none for all")
    parser.add_argument("--data", type=Path, default=Path("data"))
    parser.add_argument("--apex", type=Path, default=Path("apex"))
    parser.add_argument("--networks", nargs="+", default=(*TRAINED, *RANDOM), help="of the whole networks")
    parser.add_argument("--cifar", nargs="+", default=("resnet20", "resnet56"), help="of CIFAR's ResNets")
    parser.add_argument("--steps", type=int, default=80, help="of fine-tuning, a batch each; 0: none")
    parser.add_argument("--images", type=int, default=10000, help="of CIFAR's test images")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    for name in arguments.parts or PARTS:
        PARTS[name](arguments)


# One matrix at a time


def compare_search(arguments: argparse.Namespace) -> None:
    """Ours against ASP's default search on the same matrices."""
    title("matrix", "rows x columns", "default", "ASP 8,100", "ours", "efficacy ASP %", "ours %", "ASP s",
          "ours s")  # fmt: skip
    with TemporaryDirectory() as folder:
        asp = _asp(arguments.apex, Path(folder))
        permute.search(torch.rand(16, 16))
        ahead = []
        for name, matrix in matrices(arguments.data):
            default, best = masks.magnitude(matrix), masks.ideal(matrix)
            theirs, spent = timed(asp, matrix) if asp else (None, "-")
            ours, seconds = timed(permute.search, matrix)
            kept = [None if one is None else masks.magnitude(matrix[:, one]) for one in (theirs, ours)]
            effects = [None if one is None else masks.efficacy(one, default, best) for one in kept]
            shown = ["-" if one is None else f"{one:.3f}" for one in (default, *kept)]
            shape = f"{matrix.shape[0]} x {matrix.shape[1]}"
            row(name, shape, *shown, *map(percent, effects), spent, seconds)
            if theirs is not None:
                ahead.append(
                    masks.magnitude(matrix[:, ours]) >= masks.magnitude(matrix[:, theirs]) * (1 - 1e-9)
                )
    print(f"ours keeps at least what ASP keeps in {sum(ahead)} of {len(ahead)} matrices")


def matrices(data: Path) -> Iterator[tuple[str, Tensor]]:
    """ASP's own example, trained weights as they are permuted, and Gaussian ones up to 4608 rows."""
    np.random.seed(1)  # noqa: NPY002  (as ASP's permutation_test.py does)
    yield "ASP's uniform", torch.tensor(np.random.rand(128, 64), dtype=torch.float32)  # noqa: NPY002
    for name, network in trained(data):
        for group, matrix in grouped(network):
            if matrix.shape[1] >= 32:
                yield f"{name}, {group}", matrix
    generator = torch.Generator().manual_seed(0)
    for rows, columns in ((576, 64), (1152, 128), (2304, 256), (4608, 512), (2048, 1024)):
        yield "Gaussian", torch.randn(rows, columns, generator=generator).abs()


def grouped(network: Network) -> Iterator[tuple[str, Tensor]]:
    """Matrices of a network, one for each group of coupled channels."""
    graph = channels.analyse(network.module, models.example_inputs(network.model.inputs))
    tensors = dict(network.module.named_parameters())
    found = why_dense(products(graph.trace), tensors, SparsifyConfig(mode="force", min_channels=4))
    layers = [layer for layer, reason in found.items() if not reason]
    for one in graph.groups:
        readers = [layer for layer in layers if (layer.name, layer.axis) in one.slices]
        if (gathered := permute.gather(tensors, one, readers)) is not None:
            yield one.name, gathered[0]


def _asp(apex: Path, folder: Path) -> Callable[[Tensor], Tensor] | None:
    """ASP's default search, or None where there is none."""
    if not (apex / "apex").is_dir():
        print("apex is not there: without ASP")
        return None
    module: ModuleType = peers.asp(apex, folder)

    def order(matrix: Tensor) -> Tensor:
        if matrix.shape[1] <= ASP_WINDOW:
            return every_order(matrix)
        return peers.asp_order(module, matrix, 100 if matrix.shape[1] <= ASP_COLUMNS else 0)

    return order


def every_order(matrix: Tensor) -> Tensor:
    """The best of all ways to part 8 columns into two groups of four; 4 columns are one group."""
    orders = [list(range(matrix.shape[1]))]
    if matrix.shape[1] == 8:
        firsts = ((0, *others) for others in itertools.combinations(range(1, 8), 3))
        orders = [[*first, *(one for one in range(8) if one not in first)] for first in firsts]
    return torch.tensor(max(orders, key=lambda order: masks.magnitude(matrix[:, order])))


# Whole networks


def compare_networks(arguments: argparse.Namespace) -> None:
    """Eligible layers, kept magnitude plain, permuted by us and by ASP, the error of the function, seconds."""
    title("network", "eligible", "plain %", "ASP %", "ours %", "efficacy ASP %", "ours %", "error", "ASP s",
          "ours s", "all s")  # fmt: skip
    with TemporaryDirectory() as folder:
        asp = _asp(arguments.apex, Path(folder))
        for name, make in networks(arguments):
            facts, seconds, everything = masked(make(), permute.search)
            eligible = f"{facts.eligible} of {len(facts.layers)}"
            other, spent, _ = masked(make(), asp) if asp else (None, "-", 0.0)
            theirs = [
                percent(other.kept_magnitude if other else None),
                percent(_efficacy(other) if other else None),
            ]
            row(
                name, eligible, percent(facts.kept_unpermuted), theirs[0], percent(facts.kept_magnitude), theirs[1],
                percent(_efficacy(facts)), f"{facts.permutation_error:.0e}", spent, seconds, everything,
            )  # fmt: skip


def networks(arguments: argparse.Namespace) -> Iterator[tuple[str, Callable[[], Network]]]:
    """Those asked for; each call makes one anew, of the same weights."""
    for name, network in trained(arguments.data):
        if f"{name} (trained)" in arguments.networks:
            yield f"{name} (trained)", lambda network=network: copy.deepcopy(network)  # type: ignore[misc]
    for name in RANDOM:
        if name in arguments.networks:
            yield f"{name} (random)", lambda name=name: named(name)  # type: ignore[misc]


def masked(network: Network, search: Callable[..., Tensor]) -> tuple[Sparsity, float, float]:
    """The facts of the stage with ``search`` in the place of ours; seconds searched, and in all."""
    spent = 0.0

    def found(matrix: Tensor, *_: int) -> Tensor:
        nonlocal spent
        order: Tensor
        order, seconds = timed(search, matrix)
        spent += seconds
        return order

    inputs = models.example_inputs(network.model.inputs, 2)
    with mock.patch.object(permute, "search", found):
        config = SparsifyConfig(mode="force", method="magnitude", min_channels=4)
        facts, everything = timed(make_sparse, network, config, inputs)
    return facts, spent, everything


def _efficacy(found: Sparsity) -> float | None:
    """Mean over the layers where permuting can win anything."""
    masked = [one.mask.efficacy for one in found.layers if one.mask]
    values = [one for one in masked if one is not None]
    return float(np.mean(values)) if values else None


PARTS: Mapping[str, Callable[[argparse.Namespace], None]] = {
    "search": compare_search,
    "networks": compare_networks,
    "imagenet": lambda a: accuracy.imagenet(a.data, a.steps),
    "cifar": lambda a: accuracy.cifar(a.data, a.cifar, a.images, a.steps),
    "gpu": lambda _: gpu.compare(),
}

if __name__ == "__main__":
    main()
