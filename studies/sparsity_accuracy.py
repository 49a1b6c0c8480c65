"""What masks cost real networks on real images: right after masking, with BatchNorm anew, fine-tuned."""

from __future__ import annotations

import copy
import importlib.util
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import Tensor

from jetpress.pipeline.data.loading import Data
from jetpress.pipeline.network.channels.graph import evaluating
from jetpress.pipeline.network.models import Network
from jetpress.pipeline.recipe.retraining import Distillation
from jetpress.pipeline.recipe.sections.compression import SparsifyConfig
from jetpress.pipeline.recipe.sections.training import TrainConfig
from jetpress.pipeline.sparse import masks
from jetpress.pipeline.stages.finetune import recalibrate
from jetpress.pipeline.stages.sparsify import make_sparse
from jetpress.pipeline.training.distill import Teacher
from jetpress.pipeline.training.evaluate import evaluate
from jetpress.pipeline.training.fit import fit
from studies import real
from studies.peers import sparsity as peers
from studies.table import row, timed, title

CALIBRATION = 128
"""Images that the methods with data see."""
RECALIBRATION = 2048
"""Images that BatchNorm's statistics are taken from."""


def variants() -> dict[str, SparsifyConfig]:
    """What is compared; all eligible layers, so that the peers mask the same ones."""
    plain = SparsifyConfig(mode="force", method="magnitude", min_channels=4, permute=False)
    return {
        "magnitude": plain,
        "magnitude, permuted": replace(plain, permute=True),
        "Wanda": replace(plain, method="wanda"),
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
    network = copy.deepcopy(dense)
    blind = partial(make_sparse, imagines=True)
    _, seconds = timed(blind, network, variants()["SparseGPT, permuted"], (inputs[:4],))
    yield "SparseGPT, permuted, no images", network, seconds
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
    could = [name for name, weight in before.items() if weight.ndim > 1 and weight.shape[1] % 4 == 0]
    return f"{sum(masks.holds(after[name]) for name in could)} of {len(could)}"


def error(network: Network, dense: Network, inputs: Tensor) -> float:
    """Of the outputs: norm of the difference over the norm."""
    with torch.no_grad(), evaluating(network.module), evaluating(dense.module):
        found, expected = (
            torch.cat([one.module(x) for x in torch.split(inputs, 32)]) for one in (network, dense)
        )
    return float((found - expected).norm() / expected.norm())


def imagenet(data: Path, steps: int) -> None:
    """The real MobileNetV2 with its pointwise layers and its head 2:4: masked, with BatchNorm anew, fine-tuned."""
    dense = dict(real.trained(data)).get("mobilenet_v2")
    if dense is None or not all((data / name).is_dir() for name in ("imagenet_val650", "imagenet_calib1000")):
        print("without the ImageNet images: left out")
        return
    test = real.imagenet(data)["val650"]
    train = real.one_of_each(data)
    inputs = train.batch(range(0, len(train), max(1, len(train) // CALIBRATION)), None)[0][0][:CALIBRATION]
    seen = test.batch(range(64), None)[0][0]
    shuffled = torch.randperm(len(train), generator=torch.Generator().manual_seed(0))
    part, held_out = shuffled[: train.config.batch_size * max(steps, 1)], shuffled[-64:]
    learning = Data(real.IMAGENET, 0, train.subset(part), train.subset(held_out), test, classes=())
    teacher = Teacher(copy.deepcopy(dense.module), Distillation(0.7, 5.0))
    title("MobileNetV2", "valid 2:4", "output error", "masked", "BatchNorm anew", "tuned", "s")
    for name, network, seconds in itertools.chain(
        [("dense", copy.deepcopy(dense), 0.0)], made(dense, inputs)
    ):
        cells = [valid(network, dense), error(network, dense, seen), evaluate(network, test, name)]
        recalibrate(network, learning)
        cells.append(evaluate(network, test, name))
        row(name, *cells, tuned(network, learning, steps, name, teacher=teacher, rate=5e-4), seconds)


def cifar(data: Path, names: Sequence[str], images: int, steps: int) -> None:
    """CIFAR ResNets: right after masking, with BatchNorm's statistics taken anew, and fine-tuned."""
    if not (data / "cifar10").is_dir():
        print("without the CIFAR images: left out")
        return
    train, test = real.cifar(data, "train"), real.cifar(data, "test")
    test = test.subset(torch.arange(images))
    part, fresh = (train.subset(torch.arange(n)) for n in (128 * max(steps, 1), RECALIBRATION))
    validation = train.subset(torch.arange(45000, 46000))
    learning, settling = (Data(real.CIFAR, 0, some, validation, test, classes=()) for some in (part, fresh))
    inputs = train.batch(range(47000, 47000 + CALIBRATION), None)[0][0]
    seen = test.batch(range(512), None)[0][0]
    title("network", "variant", "valid 2:4", "output error", "masked", "BatchNorm anew", "tuned", "s")
    for name, dense in real.trained(data):
        if name not in names:
            continue
        unchanged = [("dense", copy.deepcopy(dense), 0.0)]
        for variant, network, seconds in itertools.chain(unchanged, made(dense, inputs)):
            cells = [valid(network, dense), error(network, dense, seen), evaluate(network, test, variant)]
            recalibrate(network, settling)
            cells.append(evaluate(network, test, variant))
            row(name, variant, *cells, tuned(network, learning, steps, variant), seconds)


def tuned(
    network: Network, data: Data, steps: int, what: str, *, teacher: Teacher | None = None, rate: float = 0.01
) -> object:
    """Accuracy after ``steps`` of training with what is zero held at zero."""
    if steps == 0:
        return "-"
    parts = {name: weight != 0 for name, weight in network.module.named_parameters() if weight.ndim > 1}
    network.masks = {name: mask for name, mask in parts.items() if not mask.all()}
    settings = TrainConfig(epochs=1, learning_rate=rate, warmup_epochs=0.1)
    with TemporaryDirectory() as folder:
        fit(network, data, settings, state=Path(folder), what=what, teacher=teacher)
    return evaluate(network, data.test, what)
