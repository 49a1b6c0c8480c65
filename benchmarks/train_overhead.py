"""What the training loop costs: `fit` against a bare hand-written PyTorch loop, taking turns in one process.

    python -m benchmarks.train_overhead [ROUNDS] [IMAGES]

Both train torchvision's resnet18 on the digits with the same options (batch 64, shift, SGD with Nesterov
momentum, cosine with warm-up) for two epochs and judge each on the validation split. `fit` also looks for
NaN, keeps the best weights and writes its inner checkpoint to the disk: all that is in its time. On a CPU its
own time is compared, so that other work on the machine does not count. The last line is one JSON object.
"""

from __future__ import annotations

import json
import math
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
from torch.nn import functional as F
from torchvision.models import resnet18

from deploy.console import say
from pipeline.data import Data, load
from pipeline.data.splits import Images
from pipeline.machine import keep_memory
from pipeline.models import Network
from pipeline.sections import DataConfig, InputConfig, ModelConfig, TrainConfig
from pipeline.train import fit

DATA = DataConfig(augment="shift")
MODEL = ModelConfig(arguments={"num_classes": 10}, inputs=(InputConfig(shape=(3, 32, 32)),))
SETTINGS = TrainConfig(epochs=2)
TARGET = 0.95
"""Least share of the bare loop's throughput."""


def ours(data: Data) -> None:
    """`pipeline.train.fit`."""
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


def seconds(work: Callable[[Data], None], data: Data) -> float:
    """CPU seconds; wall seconds where a GPU does the work."""
    clock = time.perf_counter if torch.cuda.is_available() else time.process_time
    began = clock()
    work(data)
    return clock() - began


def main() -> None:
    """Take turns, compare medians."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    data = load(DATA, 0)
    if len(sys.argv) > 2:
        data = replace(data, train=data.train.subset(torch.arange(int(sys.argv[2]))))
    keep_memory()  # `fit` does it, and the process cannot go back: both have it
    times: dict[str, list[float]] = {"fit": [], "bare": []}
    for number in range(rounds):
        for name, work in (("fit", ours), ("bare", bare))[:: 1 if number % 2 else -1]:
            times[name].append(seconds(work, data))
            say(f"{name}: {times[name][-1]:.2f} s")
    ratio = statistics.median(times["bare"]) / statistics.median(times["fit"])
    say(f"fit has {100 * ratio:.1f} % of the bare loop's throughput (target: at least {100 * TARGET:.0f} %)")
    print(json.dumps({"ratio": round(ratio, 4), "target": TARGET, "met": ratio >= TARGET, "seconds": times}))


if __name__ == "__main__":
    main()
