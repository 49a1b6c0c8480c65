"""A small vision transformer on CIFAR-10's JPEGs, for what needs trained attention: no such weights were at hand.

    python -m studies.vit_cifar DATA OUT/vit_cifar.pth --epochs 6
    python -m studies.untrained DATA vit --weights OUT/vit_cifar.pth ...

DATA is the folder of :mod:`studies.real`. The network is timm's, in DeiT's form (Touvron et al., 2021): patches of 4 x
4 pixels, 6 blocks of 96 channels and 3 heads, the mean of the tokens. It learns from the classes and from what the
trained ResNet-20 says of each image and of its mirror image.
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from jetpress.deploy.console import progress
from jetpress.pipeline.network import checkpoints
from studies.real import FILES, cifar, named
from studies.recovery_data import MEAN, STD

BATCH, RATE, DECAY = 128, 1e-3, 0.05
TEMPERATURE, TAUGHT = 2.0, 0.7
SHIFT = 2
"""Pixels that an image is moved by: what the teacher said of it still holds."""


def vit() -> nn.Module:
    """Freshly initialised; ``[n, 3, 32, 32]`` -> ``[n, 10]``."""
    import timm

    return timm.models.VisionTransformer(
        img_size=32, patch_size=4, embed_dim=96, depth=6, num_heads=3, num_classes=10, class_token=False,
        global_pool="avg",
    )  # fmt: skip


def scaled(pixels: Tensor) -> Tensor:
    """uint8 -> what the networks take."""
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (MEAN, STD))
    return (pixels.float() / 255 - mean) / std


def said(data: Path, pixels: Tensor) -> Tensor:
    """The teacher's scores of every image and of its mirror image, ``[2, n, 10]``."""
    teacher = named("resnet20")
    checkpoints.load_weights(teacher.module, data / "weights" / f"{FILES['resnet20']}.pth")
    found: list[list[Tensor]] = [[], []]
    parts = pixels.split(500)
    with progress("teacher", len(parts)) as line, torch.inference_mode():
        for part in parts:
            for mirrored in (0, 1):
                found[mirrored].append(teacher.module(scaled(part.flip(-1) if mirrored else part)))
            line.step()
    return torch.stack([torch.cat(one) for one in found]).clone()


def train(data: Path, epochs: int) -> nn.Module:
    """AdamW, cosine, a warm-up of half an epoch; shifted and mirrored images."""
    images = cifar(data, "train")
    pixels, labels, taught = images.pixels, images.labels, said(data, images.pixels)
    torch.manual_seed(0)
    module = vit().train()
    optimizer = torch.optim.AdamW(module.parameters(), lr=RATE, weight_decay=DECAY)
    steps = len(pixels) // BATCH
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer,
        lambda k: min(1.0, 2 * (k + 1) / steps) * 0.5 * (1 + math.cos(math.pi * k / (epochs * steps))),
    )
    with progress("training", epochs * steps) as line:
        for _ in range(epochs):
            for some in torch.randperm(len(pixels)).split(BATCH)[:steps]:
                mirrored = int(torch.rand(()) < 0.5)
                batch = pixels[some].flip(-1) if mirrored else pixels[some]
                down, right = torch.randint(-SHIFT, SHIFT + 1, (2,)).tolist()
                scores = module(scaled(batch.roll((down, right), (2, 3))))
                soft = F.kl_div(
                    (scores / TEMPERATURE).log_softmax(1),
                    (taught[mirrored, some] / TEMPERATURE).log_softmax(1),
                    log_target=True,
                    reduction="batchmean",
                )
                loss = TAUGHT * TEMPERATURE**2 * soft + (1 - TAUGHT) * F.cross_entropy(scores, labels[some])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                schedule.step()
                line.step(f"loss {float(loss.detach()):.3f}")
    return module.eval()


def main() -> None:
    """Train, and write the state."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--epochs", type=int, default=6)
    given = parser.parse_args()
    torch.save(train(given.data, given.epochs).state_dict(), given.out)


if __name__ == "__main__":
    main()
