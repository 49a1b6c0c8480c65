"""2:4 sparsity beside its peers: what is kept, what it costs in time and in accuracy.

    python -m benchmarks.sparsity search   --apex APEX            # one matrix at a time, against ASP's search
    python -m benchmarks.sparsity networks --data DATA            # whole networks: eligible, kept, seconds
    python -m benchmarks.sparsity imagenet --data DATA            # accuracy of the real MobileNetV2
    python -m benchmarks.sparsity cifar    --data DATA            # accuracy of CIFAR ResNets, and fine-tuned

Without a name: all of them. DATA is a folder of real weights and images (``weights/*.pth``, ``cifar10/*.npz``,
``imagenet_val650``, ``imagenette224``, ``imagenet_calib1000``), APEX a checkout of NVIDIA's apex; ModelOpt takes
part if it can be imported. What is not there is left out, and said so. Times are seconds of one thread on the CPU.
"""

from __future__ import annotations

import argparse
import copy
import importlib.util
import itertools
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.peers import sparsity as peers
from benchmarks.real import CIFAR, IMAGENET, cifar, decoded, imagenet, named, trained
from pipeline import channels, models
from pipeline.channels.graph import evaluating
from pipeline.data import Data
from pipeline.data.splits import Images
from pipeline.finetune import recalibrate
from pipeline.models import Network
from pipeline.sections import SparsifyConfig, TrainConfig
from pipeline.sparse import masks
from pipeline.sparse.permute import gather, search
from pipeline.sparse.products import products
from pipeline.sparsify import make_sparse, why_dense
from pipeline.train import fit
from pipeline.training.evaluate import evaluate

NETWORKS = (
    "resnet20",
    "resnet56",
    "resnet50",
    "mobilenet_v2",
    "convnext_tiny",
    "vit_b_16",
    "efficientnet_b0",
)
ASP_COLUMNS = 192
"""Wider matrices take ASP's search hours on a CPU."""


def main() -> None:
    """See the module's text."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []], help="which tables; none for all")
    parser.add_argument("--data", type=Path, default=Path("data"))
    parser.add_argument("--apex", type=Path, default=Path("apex"))
    parser.add_argument("--steps", type=int, default=200, help="of fine-tuning, 128 images each; 0: none")
    parser.add_argument("--images", type=int, default=10000, help="of CIFAR's test images")
    parser.add_argument("--networks", nargs="+", default=NETWORKS)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    for name in arguments.parts or PARTS:
        PARTS[name](arguments)


def timed(call: Callable[..., Any], *arguments: Any) -> tuple[Any, float]:
    """The result, and CPU seconds: others work on this machine too."""
    began = time.process_time()
    return call(*arguments), time.process_time() - began


def row(*cells: object) -> None:
    """One line of a Markdown table, as soon as it is known."""
    print(
        "| " + " | ".join(f"{cell:.2f}" if isinstance(cell, float) else str(cell) for cell in cells) + " |",
        flush=True,
    )


def title(*cells: str) -> None:
    """The head of a table."""
    row(*cells)
    row(*["---"] * len(cells))


# One matrix at a time


def matrices(arguments: argparse.Namespace) -> Iterator[tuple[str, Tensor]]:
    """ASP's own example, trained weights as they are permuted, and Gaussian ones up to 4608 rows."""
    np.random.seed(1)  # noqa: NPY002  (as ASP's permutation_test.py does)
    yield "ASP's uniform", torch.tensor(np.random.rand(128, 64), dtype=torch.float32)  # noqa: NPY002
    for name, network in trained(arguments.data):
        wanted = {"mobilenet_v2": (1, 2, 3, 4, 6, 9), "resnet56": (5, 15, -1)}.get(name, ())
        found = [one for one in grouped(network) if one[1].shape[1] >= 16]
        for number in wanted:
            yield f"{name}, {found[number][0]}", found[number][1]
    generator = torch.Generator().manual_seed(0)
    for rows, columns in ((576, 64), (1152, 128), (2304, 256), (4608, 512), (2048, 1024)):
        yield "Gaussian", torch.randn(rows, columns, generator=generator).abs()


def grouped(network: Network) -> list[tuple[str, Tensor]]:
    """Matrices of a network, one for each group of coupled channels."""
    graph = channels.analyse(network.module, models.example_inputs(network.model.inputs))
    tensors = dict(network.module.named_parameters())
    found = why_dense(products(graph.trace), tensors, SparsifyConfig(min_channels=4))
    layers = [layer for layer, reason in found.items() if not reason]
    gathered = [
        (one.name, gather(tensors, one, [x for x in layers if (x.name, x.axis) in one.slices]))
        for one in graph.groups
    ]
    return [(name, one[0]) for name, one in gathered if one is not None]


def compare_search(arguments: argparse.Namespace) -> None:
    """Ours against ASP's default search on the same matrices."""
    module = peers.asp(arguments.apex) if (arguments.apex / "apex").is_dir() else None
    if module is None:
        print("apex is not there: without ASP")
    title(
        "matrix",
        "rows x columns",
        "default",
        "ASP 8,100",
        "ours",
        "efficacy ASP %",
        "ours %",
        "ASP s",
        "ours s",
    )
    for name, matrix in matrices(arguments):
        default, best = masks.magnitude(matrix), masks.ideal(matrix)
        found, seconds = timed(search, matrix)
        ours = masks.magnitude(matrix[:, found])
        theirs: tuple[object, object, object] = ("-", "-", "-")
        if module is not None and matrix.shape[1] <= ASP_COLUMNS:
            order, spent = timed(peers.asp_order, module, matrix)
            kept = masks.magnitude(matrix[:, order])
            theirs = (f"{kept:.3f}", percent(masks.efficacy(kept, default, best)), spent)
        shape = f"{matrix.shape[0]} x {matrix.shape[1]}"
        effect = percent(masks.efficacy(ours, default, best))
        row(name, shape, f"{default:.3f}", theirs[0], f"{ours:.3f}", theirs[1], effect, theirs[2], seconds)


def percent(share: float | None) -> str:
    """With two digits."""
    return "-" if share is None else f"{100 * share:.2f}"


# Whole networks


def compare_networks(arguments: argparse.Namespace) -> None:
    """Eligible layers, kept magnitude without and with permutation, the error of the function, seconds."""
    title("network", "eligible", "kept %", "permuted %", "efficacy %", "error", "trace s", "all s")
    everything = [
        *((f"{name}, trained", one) for name, one in trained(arguments.data)),
        *((n, named(n)) for n in arguments.networks if n not in ("resnet20", "resnet56")),
    ]
    for name, network in everything:
        inputs = models.example_inputs(network.model.inputs, 2)
        _, tracing = timed(channels.analyse, network.module, inputs)
        facts, seconds = timed(make_sparse, network, SparsifyConfig(min_channels=4), inputs)
        judged = [one for one in facts["layers"] if one["sparse"]]
        effect = float(np.mean([one["efficacy"] for one in judged if one["efficacy"] is not None]))
        row(
            name, f"{facts['eligible']} of {len(facts['layers'])}", 100 * facts["kept_unpermuted"],
            100 * facts["kept_magnitude"], 100 * effect, f"{facts['permutation_error']:.0e}", tracing, seconds,
        )  # fmt: skip


# Accuracy


def variants() -> dict[str, SparsifyConfig]:
    """What is compared; all eligible layers, so that the peers mask the same ones."""
    plain = SparsifyConfig(min_channels=4, permute=False)
    return {
        "magnitude": plain,
        "magnitude, permuted": replace(plain, permute=True),
        "Wanda, permuted": replace(plain, permute=True, method="wanda"),
        "SparseGPT": replace(plain, method="sparsegpt"),
        "SparseGPT, permuted": replace(plain, permute=True, method="sparsegpt"),
    }


def made(dense: Network, inputs: Tensor) -> Iterator[tuple[str, Network, float]]:
    """Every variant of ``dense``, and ModelOpt's, with the CPU seconds that it took."""
    for name, config in variants().items():
        network = copy.deepcopy(dense)
        _, seconds = timed(make_sparse, network, config, (inputs,))
        yield name, network, seconds
    if importlib.util.find_spec("modelopt") is None:
        print("ModelOpt cannot be imported: left out")
        return
    for mode in ("sparse_magnitude", "sparsegpt"):
        network = copy.deepcopy(dense)
        parts = [(x,) for x in torch.split(inputs, 16)]
        network.module, seconds = timed(peers.modelopt, network.module, mode, parts)
        yield f"ModelOpt {mode}", network, seconds


def valid(network: Network, dense: Network) -> str:
    """How many of the weights that could be are 2:4 as TensorRT reads them."""
    before, after = (dict(one.module.named_parameters()) for one in (dense, network))
    could = [n for n, w in before.items() if w.ndim > 1 and w.shape[1] % 4 == 0]
    return f"{sum(masks.holds(after[n]) for n in could)} of {len(could)}"


def error(network: Network, dense: Network, inputs: Tensor) -> float:
    """Of the outputs: norm of the difference over the norm."""
    with torch.no_grad(), evaluating(network.module):
        found, expected = (
            torch.cat([n.module(x) for x in torch.split(inputs, 32)]) for n in (network, dense)
        )
    return float((found - expected).norm() / expected.norm())


def compare_imagenet(arguments: argparse.Namespace) -> None:
    """The real MobileNetV2, right after masking."""
    dense = dict(trained(arguments.data)).get("mobilenet_v2")
    folders = ("imagenet_val650", "imagenette224", "imagenet_calib1000")
    if dense is None or not all((arguments.data / folder).is_dir() for folder in folders):
        print("without the ImageNet images: left out")
        return
    tests = imagenet(arguments.data)
    calibrating = sorted((arguments.data / folders[2]).rglob("*.*"))[::8]
    inputs = Images(
        IMAGENET, 0, decoded(calibrating), torch.zeros(len(calibrating), dtype=torch.int64)
    ).batch(range(len(calibrating)), None)[0][0]
    title("MobileNetV2", "valid 2:4", "output error", *(f"top-1, {name}" for name in tests), "seconds")
    row("dense", "-", 0.0, *(evaluate(dense, images, name) for name, images in tests.items()), "-")
    seen = next(iter(tests.values())).batch(range(64), None)[0][0]
    for name, network, seconds in made(dense, inputs):
        scores = [evaluate(network, images, name) for images in tests.values()]
        row(name, valid(network, dense), error(network, dense, seen), *scores, seconds)


def compare_cifar(arguments: argparse.Namespace) -> None:
    """CIFAR ResNets: right after masking, with BatchNorm's statistics taken anew, and fine-tuned."""
    if not (arguments.data / "cifar10").is_dir():
        print("without the CIFAR images: left out")
        return
    train, test = cifar(arguments.data, "train"), cifar(arguments.data, "test")
    test = test.subset(torch.arange(arguments.images))
    part = train.subset(torch.arange(128 * max(arguments.steps, 64)))
    data = Data(CIFAR, 0, part, train.subset(torch.arange(45000, 46000)), test, classes=())
    inputs, seen = train.batch(range(47000, 47256), None)[0][0], test.batch(range(512), None)[0][0]
    title("network", "variant", "valid 2:4", "output error", "masked", "BatchNorm anew", "tuned", "seconds")
    for name, dense in trained(arguments.data):
        if name not in arguments.networks:
            continue
        unchanged = [("dense", copy.deepcopy(dense), 0.0)]
        for variant, network, seconds in itertools.chain(unchanged, made(dense, inputs)):
            cells = [valid(network, dense), error(network, dense, seen), evaluate(network, test, variant)]
            recalibrate(network, data)
            cells.append(evaluate(network, test, variant))
            row(name, variant, *cells, tuned(network, data, arguments.steps, variant), seconds)


def tuned(network: Network, data: Data, steps: int, what: str) -> object:
    """Accuracy after training with what is zero held at zero."""
    if steps == 0:
        return "-"
    zeros = {name: weight != 0 for name, weight in network.module.named_parameters() if weight.ndim > 1}
    network.masks = {name: mask for name, mask in zeros.items() if not mask.all()}
    settings = TrainConfig(epochs=1, learning_rate=0.01, warmup_epochs=0.1)
    with TemporaryDirectory() as folder:
        fit(network, data, settings, state=Path(folder), what=what)
    return evaluate(network, data.test, what)


PARTS: Mapping[str, Callable[[argparse.Namespace], None]] = {
    "search": compare_search,
    "networks": compare_networks,
    "imagenet": compare_imagenet,
    "cifar": compare_cifar,
}

if __name__ == "__main__":
    main()
