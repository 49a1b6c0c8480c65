"""How long do the stages export and equivalence take, from a saved checkpoint to the verdict?

    python -m studies.export_time torchvision:resnet50 IMAGES [--opset 17]

IMAGES is a folder with ``train/CLASS/*.jpg`` and ``val/CLASS/*.jpg``. The checkpoint has random weights, BatchNorms
with the statistics of 64 of the images; 64 calibration images and the edge cases are compared, as in every run.
Prints wall and processor seconds, since the process began (imports included) and of each stage.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import torch
from torch import nn

from jetpress.deploy import console
from jetpress.pipeline.data import loading
from jetpress.pipeline.network import models
from jetpress.pipeline.network.models import Network
from jetpress.pipeline.recipe.sections.data import DataConfig
from jetpress.pipeline.recipe.sections.export import EquivalenceConfig, ExportConfig
from jetpress.pipeline.recipe.sections.model import InputConfig, ModelConfig
from jetpress.pipeline.stages import equivalence, export
from jetpress.pipeline.store.artifact import Checkpoint


def saved(builder: str, images: Path, folder: Path) -> Checkpoint:
    """A checkpoint whose activations are of the size that trained networks have."""
    config = DataConfig("imagefolder", root=str(images.resolve()), size=224)
    module = models.build(ModelConfig(builder=builder))
    for layer in module.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.momentum = None  # the mean of all batches
    (seen,) = loading.calibration(loading.load(config, 0), 64)
    with torch.no_grad():
        for batch in seen.split(16):
            module.train()(batch)
    inputs = (InputConfig(shape=(3, *config.shape)),)
    return models.save(Network(module.eval(), ModelConfig(builder=builder, inputs=inputs), config), folder)


def main() -> None:
    """One line for each stage."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("builder")
    parser.add_argument("images", type=Path)
    parser.add_argument("--opset", type=int, default=17)
    given = parser.parse_args()

    def say(what: str, wall: float, processor: float) -> None:
        console.say(
            f"{what}: {time.monotonic() - wall:.1f} s, {time.process_time() - processor:.1f} s of processor"
        )

    began = time.monotonic() - time.process_time()  # nothing waits while modules are imported
    say("imports", began, 0.0)
    with tempfile.TemporaryDirectory() as place:
        wall, processor = time.monotonic(), time.process_time()
        folders = [Path(place) / name for name in ("checkpoint", "onnx", "equivalence")]
        for folder in folders:
            folder.mkdir()
        checkpoint = saved(given.builder, given.images, folders[0])
        say("checkpoint and images (not counted)", wall, processor)
        wall, processor = time.monotonic(), time.process_time()
        model = export.export(ExportConfig(opset=given.opset), checkpoint, folders[1])
        say("export", wall, processor)
        then, spent = time.monotonic(), time.process_time()
        found = equivalence.equivalence(EquivalenceConfig(), checkpoint, model, folders[2])
        say("equivalence", then, spent)
        say("export and equivalence", wall, processor)
        console.say(found.facts.headline)


if __name__ == "__main__":
    main()
