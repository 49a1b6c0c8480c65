"""A recipe for :mod:`studies.int8_runs`: ResNet-56 with its trained weights, pruned and INT8, on CIFAR-10's JPEGs.

    python -m studies.int8_cifar DATA OUT [--images 50000] [--epochs 6] [--longer 52]
    jetpress run OUT/recipe.toml --target host [--set KEY=VALUE ...]
    python -m studies.int8_runs judge RUN RUN ...

DATA is the folder of :mod:`studies.real`. The weights were trained on lossless images, so the dense network is tuned
to the JPEGs first (``train``). It has seen all training images, so validation is 2,000 test images, and the test split
is the other 8,000. Writes OUT/recipe.toml and OUT/images.py.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from studies.recovery import HERE
from studies.recovery_data import cifar

RECIPE = """name = "resnet56"

[model]
builder = "{builder}:resnet"
arguments = {{ depth = 56 }}
weights = "{weights}"

[data]
source = "images.py:load"
size = 32
batch_size = 128
calibration_images = 128

[train]
epochs = {epochs}
learning_rate = 0.02
weight_decay = 1e-4
warmup_epochs = 0.1
precision = "bf16"

[prune]
rounds = 1
scope = "measured"
criterion = "taylor"
channel_multiple = 16
params = 0.655 # 10 times smaller with INT8
latency_ms = 0.455 # 5 times as fast as the dense network's 2.3 ms (studies/log/pruned-int8.md)
sensitivity_images = 512

[finetune]
epochs = {longer}
learning_rate = 0.05
weight_decay = 5e-4
ema = 0.999

[build]
precision = "int8"

[qat]
epochs = 1
precision = "float32"

[budget]
accuracy_drop = 10.0 # the result is kept, to be judged

[benchmark]
threads = 1
"""
IMAGES = """from studies.int8_cifar import images


def load():
    return images({data!r}, {images})
"""
JUDGED = 2000


def images(root: str, count: int) -> dict[str, Any]:
    """The first training images; of the test images the last 2,000 to choose by, the others to judge by."""
    found = cifar(root, count, 10_000)
    test = found["test"]
    parts = {"test": slice(None, -JUDGED), "validation": slice(-JUDGED, None)}
    return found | {name: type(test)(test.pixels[part], test.targets[part]) for name, part in parts.items()}


def prepare(data: Path, out: Path, count: int, epochs: int, longer: int) -> None:
    """The recipe, and its data as a user's own."""
    out.mkdir(parents=True, exist_ok=True)
    weights = data / "weights" / "cifar10_resnet56.pth"
    (out / "images.py").write_text(IMAGES.format(data=str(data), images=count))
    text = RECIPE.format(builder=HERE / "resnet_cifar.py", weights=weights, epochs=epochs, longer=longer)
    (out / "recipe.toml").write_text(text)


def main() -> None:
    """Write the recipe."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--images", type=int, default=50_000, help="to train on")
    parser.add_argument("--epochs", type=int, default=6, help="of the dense network")
    parser.add_argument("--longer", type=int, default=52, help="epochs of the pruned network")
    given = parser.parse_args()
    prepare(given.data.resolve(), given.out.resolve(), given.images, given.epochs, given.longer)


if __name__ == "__main__":
    main()
