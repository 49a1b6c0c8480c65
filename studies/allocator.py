"""What it is worth to keep freed memory while training on a CPU: `keep_memory` of training/allocator.py, on and off.

    python -m studies.allocator [--size 224] [--batch 32] [--steps 3] [--rounds 2]

The allocator cannot be switched back, so every measurement is a process of its own; on and off take turns, in both
orders. Each trains torchvision's mobilenet_v2 (or, with --size 32, the CIFAR ResNet-56) on random images. Counted is
CPU time, the kernel's included, so that other work on the machine does not. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time

import torch
from torch import nn
from torch.nn import functional as F
from torchvision.models import mobilenet_v2

from jetpress.deploy.console import progress, say
from jetpress.pipeline.training.allocator import keep_memory
from studies.resnet_cifar import resnet


def measure(size: int, batch: int, steps: int, keep: bool) -> dict[str, float]:
    """Images per second of CPU time and of wall time, after one step that does not count; and the loss at the end."""
    kept = keep_memory() if keep else False
    torch.manual_seed(0)
    module: nn.Module = resnet(56) if size == 32 else mobilenet_v2()
    module = module.to(memory_format=torch.channels_last).train()
    optimizer = torch.optim.SGD(module.parameters(), lr=0.01, momentum=0.9, nesterov=True, fused=True)
    images = torch.randn(batch, 3, size, size).to(memory_format=torch.channels_last)
    labels = torch.arange(batch) % 10
    cpu = wall = loss = 0.0
    for step in range(steps + 1):
        began = time.process_time(), time.perf_counter()
        one = F.cross_entropy(module(images), labels)
        optimizer.zero_grad(set_to_none=True)
        one.backward()
        optimizer.step()
        loss = one.item()
        if step:
            cpu, wall = cpu + time.process_time() - began[0], wall + time.perf_counter() - began[1]
    done = batch * steps
    return {"cpu": done / cpu, "wall": done / wall, "loss": loss, "kept": float(kept)}


def main() -> None:
    """Take turns in processes of their own; compare medians."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--once", choices=("on", "off"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.once:
        print(json.dumps(measure(given.size, given.batch, given.steps, given.once == "on")))
        return
    sizes = ["--size", str(given.size), "--batch", str(given.batch), "--steps", str(given.steps)]
    found: dict[str, list[dict[str, float]]] = {"on": [], "off": []}
    with progress("allocator", 2 * given.rounds) as line:
        for number in range(given.rounds):
            for name in ("on", "off")[:: -1 if number % 2 else 1]:
                command = [sys.executable, "-m", "studies.allocator", *sizes, "--once", name]
                done = subprocess.run(command, check=True, capture_output=True, text=True, env=os.environ)
                found[name].append(json.loads(done.stdout))
                say(f"{name}: " + ", ".join(f"{k} {v:.4g}" for k, v in found[name][-1].items()))
                line.step()
    speed = {name: statistics.median(one["cpu"] for one in each) for name, each in found.items()}
    ratio = speed["on"] / speed["off"]
    same = len({one["loss"] for each in found.values() for one in each}) == 1
    say(f"{ratio:.2f} times as fast with freed memory kept; {'the same' if same else 'ANOTHER'} loss")
    print(json.dumps({"size": given.size, "batch": given.batch, "ratio": round(ratio, 3), "runs": found}))


if __name__ == "__main__":
    main()
