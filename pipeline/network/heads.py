"""A network for as many classes as the data has: fine-tuning what was trained on others.

The number of classes is the builder's argument where it takes one, and otherwise a new last layer. What of a network
depends on that number is seen by building it once more for another number: the last layer, auxiliary ones, the class
heads of detectors.
"""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from jetpress.deploy.console import say
from jetpress.deploy.errors import RecipeError
from jetpress.pipeline.network import user_code
from jetpress.pipeline.network.checkpoints import Choice, load_weights
from jetpress.pipeline.network.last_layer import last_layer, resize
from jetpress.pipeline.network.models import Network, build, outputs_of
from jetpress.pipeline.recipe.sections.fields import is_file_reference
from jetpress.pipeline.recipe.sections.model import ModelConfig

ARGUMENTS = ("num_classes", "n_classes", "nb_classes", "classes", "nc")
"""What builders call the number of classes."""
Counted = Callable[[Network, tuple[Tensor, ...]], int | None]
"""A network and its outputs -> for how many classes they have scores; None: they do not say."""
OTHER = 7
"""Classes more, for a look at what changes with them."""


def first_output(network: Network, outputs: tuple[Tensor, ...]) -> int | None:
    """Scores along dimension 1 of the first output."""
    del network
    return outputs[0].shape[1] if outputs[0].ndim > 1 else None


@dataclass(frozen=True)
class NewLayer:
    """A layer that is as it was initialised."""

    name: str
    before: int | None
    """Classes in the file; None where it has no such layer."""
    classes: int | None
    """Of the network; None where the layer does not depend on them."""

    def __str__(self) -> str:
        if self.classes is None:
            return self.name
        changed = f"{self.before} -> " if self.before not in (None, self.classes) else ""
        return f"{self.name}: {changed}{self.classes} classes"


def fit_classes(
    network: Network, classes: int, samples: tuple[Tensor, ...], counted: Counted = first_output
) -> Network:
    """The network with a score for each of ``classes``; as it is where it has, or does not run on ``samples``.

    Args:
        network: in eval mode.
        classes: of the data.
        samples: two of the data.
        counted: how many the outputs have scores for.

    Raises:
        RecipeError: the recipe asks for another number of classes than the data has.
    """
    model, scores = network.model, scored(network, samples, counted)
    if scores in (None, classes):
        return network
    argument = argument_of(model.builder)
    if argument in model.arguments:
        raise RecipeError(
            f"model.arguments has {argument} = {model.arguments[argument]}, the data has {classes} classes",
            f"leave {argument} out: it is taken from the data, and a trained network with other classes gets a new "
            "last layer",
        )
    if argument is not None:
        asked = classes
        for _ in range(2):
            wider = replace(model, arguments={**model.arguments, argument: asked})
            wide = replace(network, module=build(wider, network.seed).eval(), model=wider)
            there = scored(wide, samples, counted)
            if there == classes:
                return wide
            asked += classes - (there or classes)  # of some the background counts
    layer = last_layer(network.module, samples, int(scores or 0))
    if layer is None:
        return network
    resize(network.module, layer, classes, network.seed)
    if scored(network, samples, counted) != classes:
        return replace(network, module=build(model, network.seed).eval())
    say(f"    {layer} is replaced: the network scores {scores} classes, the data has {classes}")
    return replace(network, history=[*network.history, {"head": layer, "classes": classes}])


def argument_of(builder: str) -> str | None:
    """Name of the builder's argument for the number of classes; None where it has none."""
    if not is_file_reference(builder):
        return ARGUMENTS[0]
    try:
        known = inspect.signature(user_code.load(builder)).parameters
    except (TypeError, ValueError):
        return None
    return next((name for name in ARGUMENTS if name in known), None)


def load(
    network: Network, samples: tuple[Tensor, ...], trains: bool, counted: Counted = first_output
) -> list[NewLayer]:
    """Fill the network from the recipe's weights; one line says what is new.

    Args:
        network: as :func:`fit_classes` gave it.
        samples: two of the data.
        trains: whether training follows.
        counted: how many the outputs have scores for.

    Returns:
        the layers that were not loaded

    Raises:
        RecipeError: the weights do not fit, or a new layer would stay untrained.
    """
    model, path = network.model, Path(str(network.model.weights))
    last = () if model.head == "keep" else parameters_of_classes(network, samples, counted)
    missing = load_weights(network.module, path, Choice(model.skip, model.head, last))
    classes = model.arguments.get(argument_of(model.builder) or "") or scored(network, samples, counted)
    new = _layers(network.module, missing, last, classes)
    if not new:
        return []
    listed = "; ".join(str(one) for one in new[:5]) + (f"; ... ({len(new)} layers)" if len(new) > 5 else "")
    if not trains:
        raise RecipeError(
            f"{path.name}: not loaded, so untrained: {listed}; and train.epochs = 0 trains nothing",
            "train it: train.epochs = 5, say, with train.learning_rate = 0.01; or give weights of these classes",
        )
    say(f"    WARNING: {listed}, new: it needs training")
    return new


def parameters_of_classes(network: Network, samples: tuple[Tensor, ...], counted: Counted) -> tuple[str, ...]:
    """Names of all weights and buffers whose shape depends on the number of classes."""
    model, module = network.model, network.module
    replaced = [step["head"] for step in network.history if "head" in step]
    argument = argument_of(model.builder)
    if not replaced and argument is not None:
        given = model.arguments.get(argument)
        more = (given if isinstance(given, int) else 0) + OTHER
        other = _shapes(replace(model, arguments={**model.arguments, argument: more}), network.seed)
        return tuple(
            name for name, one in module.state_dict().items() if other.get(name, one.shape) != one.shape
        )
    scores = scored(network, samples, counted)
    layer = replaced[-1] if replaced else last_layer(module, samples, scores) if scores else None
    return tuple(name for name in module.state_dict() if layer and name.startswith(f"{layer}."))


def _shapes(model: ModelConfig, seed: int) -> Mapping[str, torch.Size]:
    """Of the weights of a network that is built without memory, if it can be; none where it does not build."""
    for device in ("meta", "cpu"):
        with contextlib.suppress(Exception), torch.device(device):  # a builder may raise anything
            return {name: tensor.shape for name, tensor in build(model, seed).state_dict().items()}
    return {}


def scored(network: Network, samples: tuple[Tensor, ...], counted: Counted) -> int | None:
    """For how many classes it has scores; None where it does not run, which is said elsewhere."""
    try:
        with torch.no_grad():
            return counted(network, outputs_of(network.module(*samples)))
    except Exception:  # noqa: BLE001  (a network may raise anything)
        return None


def _layers(
    module: nn.Module, missing: Mapping[str, Tensor | None], last: Sequence[str], classes: int | None
) -> list[NewLayer]:
    """The layers of parameters that were not loaded, in the order of the network."""
    layers: dict[str, NewLayer] = {}
    for name, parameter in module.named_parameters():
        layer = name.rpartition(".")[0] or name
        if name not in missing or layer in layers:
            continue
        there = missing[name]
        each, rest = (
            divmod(len(parameter), classes) if name in last and classes and parameter.ndim else (0, 1)
        )
        if rest or not each:
            layers[layer] = NewLayer(layer, None, None)
        else:
            before = len(there) // each if there is not None and there.ndim else None
            layers[layer] = NewLayer(layer, before, classes)
    return list(layers.values())
