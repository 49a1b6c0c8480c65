"""What a network is, seen by building it once: for a recipe that is yet to be written."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from jetpress.deploy.errors import RecipeError
from jetpress.deploy.suggest import did_you_mean
from jetpress.pipeline.network import heads, models, user_code
from jetpress.pipeline.network.models import Network, example_inputs, outputs_of
from jetpress.pipeline.recipe.checks import LIBRARIES
from jetpress.pipeline.recipe.sections.data import DataConfig
from jetpress.pipeline.recipe.sections.fields import is_file_reference
from jetpress.pipeline.recipe.sections.model import InputConfig, ModelConfig
from jetpress.pipeline.recipe.writing import IMAGENET, DataSeen, NetworkSeen

OTHER_TASKS = {
    "detection": "finds boxes: `jetpress docs detection`, and recipes/detect.toml to begin with",
    "segmentation": "labels pixels: write a recipe with data.loss and data.metric of your own",
    "video": 'takes clips: write a recipe with data.source = "file.py:function"',
    "optical_flow": 'takes pairs of images: write a recipe with data.source = "file.py:function"',
    "quantization": "is quantized already: take the one without `quantized_`",
}
"""Packages of torchvision.models that are not classifiers."""
MULTIPLE = 32
"""Most networks halve an image five times."""


@dataclass(frozen=True)
class Library:
    """What the library says that the network was trained with."""

    size: int | None = None
    fixed: bool = False
    """It takes no other size."""
    mean: tuple[float, ...] = IMAGENET[0]
    std: tuple[float, ...] = IMAGENET[1]


def look(given: str, weights: Path | None, data: DataSeen, place: str, written: str | None) -> NetworkSeen:
    """Build a network for these classes and try it on a sample of the size that it will see.

    Args:
        given: ``torchvision:NAME``, ``timm:NAME`` or ``file.py:function``.
        weights: trained ones, or None.
        data: whose classes it is to tell apart.
        place: ``given`` as the recipe will name it.
        written: the path of the weights as the recipe will name it.

    Raises:
        RecipeError: no such network (the nearest is named), it is for another task, or the weights are another one's.
    """
    library = library_of(given)
    size, why = _size(library, data, weights is not None)
    image = InputConfig(shape=(3, size, size))
    model = ModelConfig(given, weights=None if weights is None else str(weights), inputs=(image,))
    network, samples = Network(models.build(model).eval(), model, DataConfig()), example_inputs((image,))
    new = []
    if data.side is not None:
        network = heads.fit_classes(network, data.classes, samples)
        _try(network, samples, data)
        new = [] if weights is None else heads.load(network, samples, trains=True)
    return NetworkSeen(
        builder=place,
        size=size,
        why_size=why,
        mean=library.mean,
        std=library.std,
        weights=written,
        new="; ".join(map(str, new)),
        layer_norm=any(isinstance(one, nn.LayerNorm) for one in network.module.modules()),
    )


def library_of(given: str) -> Library:
    """What the library of a network says about it; nothing for one of the user's own.

    Raises:
        RecipeError: there is no such network, or it is no classifier.
        ToolMissing: its library is not installed.
    """
    prefix, _, name = given.partition(":")
    if is_file_reference(given):
        path = user_code.split(given)[0]
        if not path.is_file():
            near = did_you_mean(path.name, [file.name for file in path.parent.glob("*.py")])
            raise RecipeError(f"there is no file {path}", near or "give path/to/file.py:function")
    elif prefix not in LIBRARIES or not name:
        bare = f"did you mean 'torchvision:{given}'?" if _is_torchvision(given) else ""
        near = bare or did_you_mean(prefix, LIBRARIES)
        raise RecipeError(
            f"the network {given!r} is not understood",
            f"{near} It takes torchvision:NAME, timm:NAME or path/to/file.py:function".strip(),
        )
    models.builder(given)  # refuses names that are unknown
    return {"torchvision": _torchvision, "timm": _timm}.get(prefix, lambda _: Library())(name)


def _is_torchvision(name: str) -> bool:
    from torchvision.models import list_models

    return name in list_models()


def _torchvision(name: str) -> Library:
    from torchvision.models import get_model_builder, get_model_weights

    package = get_model_builder(name).__module__.split(".")[2]
    if package in OTHER_TASKS:
        raise RecipeError(f"torchvision:{name} tells no classes apart", f"it {OTHER_TASKS[package]}")
    default = getattr(get_model_weights(name), "DEFAULT", None)
    if default is None:
        return Library()
    shown, least = default.transforms(), default.meta.get("min_size", (1, 1))
    size = shown.crop_size[0]
    return Library(size, min(least) >= size, tuple(shown.mean), tuple(shown.std))


def _timm(name: str) -> Library:
    import timm

    known = timm.get_pretrained_cfg(name)
    if known is None:
        return Library()
    fixed = bool(known.fixed_input_size)
    return Library(known.input_size[-1], fixed, tuple(known.mean), tuple(known.std))


def _size(library: Library, data: DataSeen, trained: bool) -> tuple[int, str]:
    """Pixels that the network will see, and why."""
    if data.side is None:
        return 32, ""
    if library.fixed and library.size:
        return library.size, f"the network takes no other size; the images' shorter side is {data.side}"
    if data.source == "digits":
        return 32, "the digits are enlarged from 8 pixels: networks halve an image five times"
    if not data.root:
        return data.side, "as the data gives it"
    own = max(MULTIPLE, round(data.side / MULTIPLE) * MULTIPLE)
    if library.size and (trained or own >= library.size):
        return (
            library.size,
            f"what the network was designed for; the images' shorter side is {data.side} (median)",
        )
    return min(
        own, 224
    ), f"the images' shorter side is {data.side} pixels (median), in a multiple of {MULTIPLE}"


def _try(network: Network, samples: tuple[Tensor, ...], data: DataSeen) -> None:
    """A forward pass works, and gives a score for every class."""
    given, size = network.model.builder, network.model.inputs[0].shape[-1]
    try:
        with torch.no_grad():
            scores = outputs_of(network.module(*samples))[0]
    except RecipeError:
        raise
    except Exception as error:  # the user's network may raise anything
        raise RecipeError(
            f"{given} does not take images of {size} x {size}: {type(error).__name__}: {error}",
            "it is called with a tensor [batch, 3, height, width]",
        ) from error
    if scores.ndim < 2 or scores.shape[1] != data.classes:
        raise RecipeError(
            f"{given} gives scores of shape {list(scores.shape)} for 2 images, and the data has {data.classes} classes",
            f"let {given.rpartition(':')[2]} take num_classes, and give a score for each class",
        )
