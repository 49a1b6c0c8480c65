"""What a network is, seen by building it once: for a recipe that is yet to be written."""

from __future__ import annotations

import inspect
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from jetpress.deploy.errors import RecipeError
from jetpress.deploy.suggest import did_you_mean
from jetpress.pipeline.network import detectors, heads, models, user_code
from jetpress.pipeline.network.heads import Counted
from jetpress.pipeline.network.models import Network, example_inputs, outputs_of
from jetpress.pipeline.recipe.checks import LIBRARIES
from jetpress.pipeline.recipe.sections.data import DataConfig
from jetpress.pipeline.recipe.sections.fields import is_file_reference
from jetpress.pipeline.recipe.sections.model import InputConfig, ModelConfig
from jetpress.pipeline.recipe.sections.task import TaskConfig
from jetpress.pipeline.recipe.seen import IMAGENET, DataSeen, NetworkSeen

OTHER_TASKS = {
    "video": 'takes clips: write a recipe with data.source = "file.py:function"',
    "optical_flow": 'takes pairs of images: write a recipe with data.source = "file.py:function"',
    "quantization": "is quantized already: take the one without `quantized_`",
}
"""Packages of torchvision.models that no recipe is written for."""
PLACES = {
    "detection": "it finds boxes: give a data.yaml, or a folder in COCO's or Pascal VOC's layout",
    "segmentation": "it labels pixels: give a folder of images and masks, a data.yaml, or a folder in COCO's or VOC's "
    "layout",
}
"""Packages whose networks are for one task, and the data that it needs."""
DETECTORS = ("detection", "pose")
LARGEST = {"detection": 640, "pose": 640, "segmentation": 512, "keypoints": 512}
"""Pixels of the longer side where nothing says another number; YOLO's 640."""
SHOWN = 2
"""New layers that are named."""
MULTIPLE = 32
"""Most networks halve an image five times."""
SSD = {"ssdlite320_": 320, "ssd300_": 300}
"""Names that say a size: their anchors are made for it."""


@dataclass(frozen=True)
class Library:
    """What the library says that the network was trained with."""

    size: int | None = None
    fixed: bool = False
    """It takes no other size."""
    mean: tuple[float, ...] = IMAGENET[0]
    std: tuple[float, ...] = IMAGENET[1]
    kind: str | None = None
    """What its networks are for, as ``task.kind``; None: the user knows."""


def look(
    given: str, weights: Path | None, data: DataSeen, place: str, written: str | None, counted: Counted
) -> NetworkSeen:
    """Build a network for these classes and try it on a sample of the size that it will see.

    Args:
        given: ``torchvision:NAME``, ``timm:NAME`` or ``file.py:function``.
        weights: trained ones, or None.
        data: whose classes it is to tell apart, or to find.
        place: ``given`` as the recipe will name it.
        written: the path of the weights as the recipe will name it.
        counted: how many classes its outputs have scores for.

    Raises:
        RecipeError: no such network (the nearest is named), it is for another task, or the weights are another one's.
    """
    library = library_of(given)
    if library.kind in PLACES and data.kind != library.kind:
        raise RecipeError(f"{given} tells no classes apart", PLACES[str(library.kind)])
    size, why = _size(library, data, weights is not None)
    height, width = (size, size) if isinstance(size, int) else size
    image = InputConfig(shape=(3, height, width))
    arguments = _required(given, data.classes)
    model = ModelConfig(given, arguments, None if weights is None else str(weights), inputs=(image,))
    task = TaskConfig(kind=data.kind, classes=data.names)
    network = Network(models.build(model).eval(), model, DataConfig(size=size), task=task)
    samples, new, head, points = example_inputs((image,)), list[heads.NewLayer](), None, None
    if data.side is not None:
        if data.kind in DETECTORS and not callable(getattr(network.module, "rules", None)):
            outputs = outputs_of(_run(network, samples))
            head, points = (
                detectors.head_of(outputs, (height, width), given),
                _points(outputs[0], data, given),
            )
            network = replace(network, task=replace(task, head=head, points=points))
        network = heads.fit_classes(network, data.classes, samples, counted)
        _try(network, samples, data, counted)
        new = [] if weights is None else heads.load(network, samples, trains=True, counted=counted)
    detector = isinstance(network.module, detectors.Detector)
    return NetworkSeen(
        builder=place,
        size=size,
        why_size=why,
        mean=network.module.mean if detector else library.mean,  # type: ignore[arg-type]
        std=network.module.std if detector else library.std,  # type: ignore[arg-type]
        weights=written,
        new="; ".join(map(str, new[:SHOWN])) + (f"; ... ({len(new)} layers)" if len(new) > SHOWN else ""),
        layer_norm=any(isinstance(one, nn.LayerNorm) for one in network.module.modules()),
        head=head,
        points=points,
        arguments=arguments,
        loss=_loss(network, given, place) if data.kind in DETECTORS else None,
    )


def _points(first: Tensor, data: DataSeen, given: str) -> tuple[int, int] | None:
    """Points of an object and numbers of each, in outputs ``[n, 4 + classes + points * numbers, anchors]``.

    Raises:
        RecipeError: there are more or fewer.
    """
    if data.kind != "pose":
        return None
    each, rest = divmod(first.shape[1] - 4 - data.classes, max(1, data.points))
    if rest or each not in (2, 3):
        raise RecipeError(
            f"{given} gives {first.shape[1]} numbers of an object; the data has {data.classes} classes and "
            f"{data.points} points",
            "a box, a score of each class, and 2 or 3 numbers of each point: `jetpress docs detection`",
        )
    return data.points, each


def _required(given: str, classes: int) -> dict[str, Any]:
    """The number of classes, where the builder does not do without."""
    name = heads.argument_of(given) if is_file_reference(given) else None
    if name is None:
        return {}
    needed = inspect.signature(user_code.load(given)).parameters[name].default is inspect.Parameter.empty
    return {name: classes} if needed else {}


def _loss(network: Network, given: str, place: str) -> str | None:
    """``data.loss`` of a detector without a loss of its own: the function ``loss`` of its file.

    Raises:
        RecipeError: there is none.
    """
    if callable(getattr(network.module, "loss", None)):
        return None
    try:
        user_code.load(f"{user_code.split(given)[0]}:loss")
    except RecipeError:
        raise RecipeError(
            f"{given} has no loss, and none fits every detector",
            "write a function loss(outputs, target), or loss(model, outputs, target), into the same file, or a method "
            "loss(outputs, target) of the network: `jetpress docs detection`",
        ) from None
    return f"{place.rpartition(':')[0]}:loss"


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
    if package in PLACES:
        size = next((side for start, side in SSD.items() if name.startswith(start)), None)
        return Library(size, size is not None, kind=package)
    default = getattr(get_model_weights(name), "DEFAULT", None)
    if default is None:
        return Library(kind="classification")
    shown, least = default.transforms(), default.meta.get("min_size", (1, 1))
    size = shown.crop_size[0]
    return Library(size, min(least) >= size, tuple(shown.mean), tuple(shown.std), "classification")


def _timm(name: str) -> Library:
    import timm

    known = timm.get_pretrained_cfg(name)
    if known is None:
        return Library(kind="classification")
    fixed = bool(known.fixed_input_size)
    return Library(known.input_size[-1], fixed, tuple(known.mean), tuple(known.std), "classification")


def _size(library: Library, data: DataSeen, trained: bool) -> tuple[int | tuple[int, int], str]:
    """Pixels that the network will see, and why."""
    if data.side is None:
        return 32, ""
    if (data.kind in LARGEST or data.source == "pairs") and data.root and not library.fixed and data.sides:
        return _of_places(data.kind, data.sides)
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


def _of_places(kind: str, sides: tuple[int, int]) -> tuple[int | tuple[int, int], str]:
    """Where the target is places in the image: all of it is seen, a detector's in a square."""
    most = LARGEST.get(kind, LARGEST["segmentation"])
    scale = min(1.0, most / max(sides))
    height, width = (max(MULTIPLE, MULTIPLE * round(scale * side / MULTIPLE)) for side in sides)
    words = f"the images have {sides[1]} x {sides[0]} pixels (median); in multiples of {MULTIPLE}"
    if kind == "detection":
        longer = max(height, width)
        return longer, f"{words}, at most {most}; [height, width] where all are wide"
    return (height if height == width else (height, width)), f"{words}, at most {most}"


def _run(network: Network, samples: tuple[Tensor, ...]) -> object:
    """What it returns.

    Raises:
        RecipeError: it does not take images of this size.
    """
    given, (_, height, width) = network.model.builder, network.model.inputs[0].shape
    try:
        with torch.no_grad():
            return network.module(*samples)
    except RecipeError:
        raise
    except Exception as error:  # the user's network may raise anything
        raise RecipeError(
            f"{given} does not take images of {width} x {height}: {type(error).__name__}: {error}",
            "it is called with a tensor [batch, 3, height, width]",
        ) from error


def _try(network: Network, samples: tuple[Tensor, ...], data: DataSeen, counted: Counted) -> None:
    """A forward pass works, and gives a score for every class."""
    given, outputs = network.model.builder, outputs_of(_run(network, samples))
    scored = counted(network, outputs)
    if scored not in (None, data.classes) or (outputs[0].ndim < 2 and data.kind == "classification"):
        raise RecipeError(
            f"{given} gives scores of shape {list(outputs[0].shape)} for 2 images, and the data has {data.classes} "
            "classes",
            f"let {given.rpartition(':')[2]} take num_classes, and give a score for each class",
        )
