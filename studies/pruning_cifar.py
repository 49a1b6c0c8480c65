"""A recipe for :mod:`studies.pruning`: a CIFAR ResNet, its weights first fine-tuned on the images as JPEGs.

    python -m studies.pruning_cifar DATA OUT [--depth 56] [--images 9000] [--tested 5000] [--epochs 3]

DATA is the folder of :mod:`studies.real`. Writes OUT/weights.safetensors, OUT/cifar.py and OUT/recipe.toml. The
weights given were trained on other files: without this a pruned network would gain from its fine-tuning what the
dense one lacks. So the dense network gets the same fine-tuning as all others.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from safetensors.torch import save_file

from jetpress.pipeline.data.loading import load
from jetpress.pipeline.network import models
from jetpress.pipeline.recipe.reading import Recipe
from jetpress.pipeline.recipe.retraining import finetuning
from jetpress.pipeline.store.store import Store
from jetpress.pipeline.training.fit import fit
from studies.pruning_imagenette import REST
from studies.recovery import HERE, dense_of, source_of

RECIPE = """name = "cifar"

[model]
builder = "{builder}"
arguments = {{ depth = {depth} }}
weights = "{weights}"

[data]
source = "{source}"
size = 32
batch_size = 128
"""


def prepare(given: argparse.Namespace) -> None:
    """The recipe with the weights given, then with those that fine-tuning made of them."""
    given.out.mkdir(parents=True, exist_ok=True)
    path, weights = given.out / "recipe.toml", given.data / "weights" / f"cifar10_resnet{given.depth}.pth"
    facts = {"builder": f"{HERE / 'resnet_cifar.py'}:resnet", "source": source_of(given, "cifar")}
    facts |= {"depth": given.depth, "epochs": given.epochs}
    path.write_text((RECIPE + REST).format(**facts, weights=weights))
    recipe = Recipe.load(path)
    with tempfile.TemporaryDirectory() as folder:
        network = models.load(dense_of(recipe, Store(Path(folder) / "store")))
        data = load(network.data, network.seed, network.task)
        fit(
            network,
            data,
            finetuning(recipe.finetune, recipe.train).training,
            state=Path(folder) / "state",
            what="dense",
        )
    save_file(network.module.state_dict(), given.out / "weights.safetensors")
    path.write_text((RECIPE + REST).format(**facts, weights="weights.safetensors"))


def main() -> None:
    """Fine-tune, and write the recipe."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--depth", type=int, default=56)
    parser.add_argument("--images", type=int, default=9_000, help="training images")
    parser.add_argument("--tested", type=int, default=5_000, help="test images")
    parser.add_argument("--epochs", type=int, default=3)
    given = parser.parse_args()
    given.data, given.out = given.data.resolve(), given.out.resolve()
    prepare(given)


if __name__ == "__main__":
    main()
