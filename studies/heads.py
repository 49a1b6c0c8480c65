"""Every torchvision classifier with its own 1000 classes, as a checkpoint for a network of 3: is only the head new?

``python -m studies.heads`` prints a line for each. Weights are constants: what is looked at is names and shapes, that
the body is loaded and the head is not. Minutes, and memory for the largest (4 GB).
"""

from __future__ import annotations

import sys
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path

import torch
import torchvision
from torch import Tensor, nn

from jetpress.pipeline.network import heads, models
from jetpress.pipeline.network.models import Network
from jetpress.pipeline.recipe.sections.data import DataConfig
from jetpress.pipeline.recipe.sections.model import ModelConfig

INITS = ("kaiming_normal_", "kaiming_uniform_", "trunc_normal_", "normal_", "uniform_", "xavier_uniform_")
CLASSES = 3
THEIRS, OURS = 0.02, 0.01
"""What is in the checkpoint, and in the network before it is loaded."""


def main() -> None:
    """Print what happens to each network."""
    warnings.simplefilter("ignore")
    names = sys.argv[1:] or torchvision.models.list_models(module=torchvision.models)
    failed = []
    for name in names:
        try:
            new = tried(name)
        except Exception as error:  # noqa: BLE001  (the next network is of interest, too)
            failed.append(name)
            new = f"{type(error).__name__}: {error}"
        print(f"{name}: {new}", flush=True)
    print(
        f"{len(names) - len(failed)} of {len(names)} work as they are; not {', '.join(failed) or 'one fails'}"
    )


def tried(name: str) -> str:
    """What is new in a network of this name.

    Raises:
        AssertionError: the body was not loaded, or the network does not score so many classes.
    """
    size = 299 if name == "inception_v3" else 224 if name.startswith(("vit", "maxvit")) else 96
    model = ModelConfig(f"torchvision:{name}")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "trained.pth"
        fill_with(THEIRS)
        trained = models.build(model).state_dict()
        torch.save({"state_dict": trained, "best_acc1": torch.tensor(77.0)}, path)
        fill_with(OURS)
        given = ModelConfig(model.builder, weights=str(path))
        samples = (torch.zeros(2, 3, size, size),)
        network = Network(models.build(given).eval(), given, DataConfig())
        network = heads.fit_classes(network, CLASSES, samples)
        new = heads.load(network, samples, trains=True)
    for key, tensor in network.module.state_dict().items():
        assert tensor.shape != trained[key].shape or torch.equal(tensor, trained[key]), key
    assert models.outputs_of(network.module(*samples))[0].shape == (2, CLASSES)
    return "; ".join(map(str, new))


def fill_with(value: float) -> None:
    """Let every initialisation be a constant: drawing numbers is what takes the time."""
    filled: Callable[..., Tensor] = lambda tensor, *_, **__: tensor.data.fill_(value)  # noqa: E731
    for name in INITS:
        setattr(nn.init, name, filled)


if __name__ == "__main__":
    with torch.no_grad():
        main()
