"""What the training loop costs: `fit` against a bare hand-written PyTorch loop, taking turns in one process.

    python -m studies.train_overhead [--rounds 16] [--images N]

Both train torchvision's resnet18 on the digits with the same options (batch 64, shift, SGD with Nesterov
momentum, cosine with warm-up, float32; bf16 on a GPU) for two epochs and judge each on the validation split. `fit`
also looks for NaN, keeps the best weights and writes its inner checkpoint to the disk: all that is in its time.
Each round has one training of either, which comes first changes; the ratio is the median of the rounds' ratios, with
its 95 % interval, by wall time and (on a CPU, where other work then does not count) by CPU time. The last line is
one JSON object.
"""

from __future__ import annotations

import argparse
import json
import math
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional as F
from torchvision.models import resnet18

from jetpress.deploy.console import say
from jetpress.deploy.runner.measure import latencies
from jetpress.pipeline.data.loading import Data, load
from jetpress.pipeline.data.splits import Images
from jetpress.pipeline.network.models import Network
from jetpress.pipeline.recipe.sections.data import DataConfig
from jetpress.pipeline.recipe.sections.model import InputConfig, ModelConfig
from jetpress.pipeline.recipe.sections.training import TrainConfig
from jetpress.pipeline.training.allocator import keep_memory
from jetpress.pipeline.training.fit import fit

DATA = DataConfig(augment="shift")
MODEL = ModelConfig(arguments={"num_classes": 10}, inputs=(InputConfig(shape=(3, 32, 32)),))
SETTINGS = TrainConfig(epochs=2, precision="bf16" if torch.cuda.is_available() else "float32")
TARGET = 0.95
"""Least share of the bare loop's throughput."""


def ours(data: Data) -> None:
    """`jetpress.pipeline.training.fit.fit`."""
    network = Network(resnet18(num_classes=10), MODEL, DATA)
    with tempfile.TemporaryDirectory() as folder:
        fit(network, data, SETTINGS, state=Path(folder), what="fit")


def bare(data: Data) -> None:
    """What one would write by hand."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model = resnet18(num_classes=10).to(device, memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(
        model.parameters(),
        lr=SETTINGS.learning_rate,
        momentum=SETTINGS.momentum,
        weight_decay=SETTINGS.weight_decay,
        nesterov=True,
        fused=True,
    )
    (images, labels), (judged, truth) = (pixels_of(data.train), pixels_of(data.validation))
    size, total = DATA.batch_size, SETTINGS.epochs * (len(images) // DATA.batch_size)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda s: min((s + 1) / (total // 4 + 1), 0.5 * (1 + math.cos(math.pi * s / total)))
    )
    for _ in range(SETTINGS.epochs):
        model.train()
        order = torch.randperm(len(images))
        for first in range(0, len(order) - size + 1, size):
            chosen = order[first : first + size]
            x, y = (
                shifted(images[chosen]).to(device, memory_format=torch.channels_last),
                labels[chosen].to(device),
            )
            with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
                loss = F.cross_entropy(model(x), y)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            schedule.step()
        model.eval()
        with torch.no_grad():
            for part, answer in zip(torch.split(judged, 256), torch.split(truth, 256), strict=True):
                (model(part.to(device)).argmax(1) == answer.to(device)).sum().item()


def pixels_of(split: object) -> tuple[torch.Tensor, torch.Tensor]:
    """Normalised images ``[n, 3, 32, 32]`` and labels."""
    assert isinstance(split, Images)
    mean, std = torch.tensor(DATA.mean)[:, None, None], torch.tensor(DATA.std)[:, None, None]
    return (split.pixels - mean) / std, split.labels


def shifted(images: torch.Tensor) -> torch.Tensor:
    """Each image moved by up to four pixels, by hand."""
    padded = F.pad(images, (4, 4, 4, 4))
    offsets = torch.randint(0, 9, (len(images), 2)).tolist()
    return torch.stack([p[:, y : y + 32, x : x + 32] for p, (y, x) in zip(padded, offsets, strict=True)])


def taken(work: Callable[[Data], None], data: Data) -> dict[str, float]:
    """Seconds by both clocks."""
    began = time.perf_counter(), time.process_time()
    work(data)
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return {"wall": time.perf_counter() - began[0], "cpu": time.process_time() - began[1]}


def main() -> None:
    """Take turns, compare round by round."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=16, help=f"at least {latencies.LEAST_PAIRS}")
    parser.add_argument("--images", type=int, help="training images; all, without it")
    given = parser.parse_args()
    data = load(DATA, 0)
    if given.images:
        data = replace(data, train=data.train.subset(torch.arange(given.images)))
    keep_memory()  # `fit` does it, and the process cannot go back: both have it
    ways: dict[str, Callable[[Data], None]] = {"fit": ours, "bare": bare}
    for work in ways.values():
        work(data)  # the first of each prepares
    found: dict[str, list[dict[str, float]]] = {name: [] for name in ways}
    for number in range(max(given.rounds, latencies.LEAST_PAIRS)):
        for name in list(ways)[:: 1 if number % 2 else -1]:
            found[name].append(taken(ways[name], data))
        say(
            f"round {number + 1}: fit {found['fit'][-1]['wall']:.2f} s, bare {found['bare'][-1]['wall']:.2f} s"
        )
    said: dict[str, Any] = {"target": TARGET, "threads": torch.get_num_threads(), "seconds": found}
    for clock in ("wall",) if torch.cuda.is_available() else ("wall", "cpu"):
        one, other = ([times[clock] for times in found[name]] for name in ("bare", "fit"))
        ratio = latencies.ratio(one, other)
        said[clock] = ratio._asdict()
        low, high = ratio.interval
        share = 100 * ratio.ratio
        say(
            f"fit has {share:.1f} % ({100 * low:.1f} to {100 * high:.1f}) of the bare throughput, {clock} time"
        )
    print(json.dumps(said))


if __name__ == "__main__":
    main()
