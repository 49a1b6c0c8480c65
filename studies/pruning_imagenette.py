"""A recipe for :mod:`studies.pruning`: MobileNetV2, its ImageNet weights cut to the ten classes of imagenette.

    python -m studies.pruning_imagenette DATA OUT [--size 128] [--epochs 8]

DATA is the folder of :mod:`studies.real`. Writes OUT/weights.safetensors and OUT/recipe.toml.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from safetensors.torch import save_file

CLASSIFIER = ("classifier.1.weight", "classifier.1.bias")

RECIPE = """name = "imagenette"

[model]
builder = "torchvision:mobilenet_v2"
arguments = {{ num_classes = 10 }}
weights = "weights.safetensors"

[data]
source = "imagefolder"
root = "{root}"
size = {size}
augment = "flip-crop"
batch_size = 32
"""
REST = """
[train]
epochs = 0

[prune]
rounds = 1
channel_multiple = 8

[finetune] # the same for every method: no teacher, which the peers do not have
epochs = {epochs}
optimizer = "adamw" # after 32 steps of SGD (0.01, 0.05) a pruned MobileNetV2 was still no better than guessing
learning_rate = 0.001
weight_decay = 0.01
precision = "float32" # "auto" may take another one for each network
distill = 0.0

[budget]
accuracy_drop = 100.0 # every result is kept, to be compared

[benchmark]
threads = 1
seconds = 1.0
"""
"""What every study of pruning has in common."""


def prepare(data: Path, out: Path, size: int, epochs: int) -> None:
    """The classifier keeps the rows of the ten classes: nothing is trained."""
    weights = torch.load(data / "weights" / "imagenet_mobilenet_v2_tvV1.pth", weights_only=True)
    order = sorted(one.name for one in (data / "imagenet_calib1000").iterdir() if one.is_dir())
    ten = sorted(one.name for one in (data / "imagenette224" / "train").iterdir() if one.is_dir())
    rows = torch.tensor([order.index(name) for name in ten])
    weights |= {name: weights[name][rows].clone() for name in CLASSIFIER}
    out.mkdir(parents=True, exist_ok=True)
    save_file(weights, out / "weights.safetensors")
    root = (data / "imagenette224").resolve()
    (out / "recipe.toml").write_text((RECIPE + REST).format(root=root, size=size, epochs=epochs))


def main() -> None:
    """Write the recipe."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--epochs", type=int, default=8)
    given = parser.parse_args()
    prepare(given.data, given.out, given.size, given.epochs)


if __name__ == "__main__":
    main()
