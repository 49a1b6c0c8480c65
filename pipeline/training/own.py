"""Training by the user's own function: ``finetune.trainer = "my.py:train"``.

::

    def train(module, teacher, epochs, train, validation): ...; return module

It is given what its parameters name (:data:`GIVEN`), with the weights that are held at zero held by their gradients,
and gives the network back. What comes back is looked at: the same weights by name and shape, finite, zeros where zeros
are held. Its weights are taken, nothing else of it.
"""

from __future__ import annotations

import inspect
import math
import traceback
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from jetpress.deploy.console import progress
from jetpress.deploy.errors import JetpressError, RecipeError, StageError
from jetpress.pipeline.data import ranks
from jetpress.pipeline.data.loading import EVALUATION_BATCH, Data, batches, steps
from jetpress.pipeline.data.splits import Split
from jetpress.pipeline.network import user_code
from jetpress.pipeline.network.checkpoints import fill
from jetpress.pipeline.network.models import Network
from jetpress.pipeline.training import resume
from jetpress.pipeline.training.masks import Masks

GIVEN = {
    "module": "the network to train, on the CPU",
    "teacher": "the network to learn from, on the CPU and in evaluation mode; None where there is none",
    "epochs": "passes over the training data",
    "train": "batches (inputs, target), shuffled and augmented anew whenever it is iterated",
    "validation": "batches (inputs, target), the same each time",
    "masks": "weights that are held at zero: masks.hold(optimizer), where gradients are not enough",
    "folder": "a folder for what it writes; a run that is killed and started again finds it as it was",
}
"""Parameter of the user's function -> what it is given."""
CONTRACT = (
    f"a trainer is def train({', '.join(list(GIVEN)[:5])}): ...; return module (any of these parameters)"
)


@dataclass
class Batches:
    """A split as a loader: every iteration is an epoch, a batch is ``(inputs, target)``."""

    split: Split
    training: bool
    epoch: int = 0

    def __iter__(self) -> Iterator[tuple[object, object]]:
        epoch = self.epoch if self.training else None
        self.epoch += 1
        for inputs, target in batches(self.split, epoch):
            yield (inputs[0] if len(inputs) == 1 else inputs), target

    def __len__(self) -> int:
        if self.training:
            return steps(self.split)
        return math.ceil(len(self.split) / (EVALUATION_BATCH * self.split.config.batch_size))


def opened(reference: str) -> tuple[Callable[..., object], tuple[str, ...]]:
    """The user's function, and what it is to be given.

    Raises:
        RecipeError: there is none, or it needs what is not given.
    """
    function = user_code.load(reference)
    parameters = inspect.signature(function).parameters.values()
    if any(one.kind is one.VAR_KEYWORD for one in parameters):
        return function, tuple(GIVEN)
    unknown = [one.name for one in parameters if one.name not in GIVEN and one.default is one.empty]
    if unknown or "module" not in {one.name for one in parameters}:
        what = f"asks for {', '.join(unknown)}" if unknown else "has no parameter `module`"
        raise RecipeError(f"{reference} {what}", CONTRACT)
    return function, tuple(one.name for one in parameters if one.name in GIVEN)


def train_by(
    reference: str, network: Network, teacher: nn.Module | None, data: Data, epochs: int, folder: Path
) -> None:
    """Train ``network`` in place by the user's function.

    Args:
        reference: ``path/to/file.py:function``.
        network: its masks are held.
        teacher: to learn from; None where there is none.
        data: its training and validation splits are handed on.
        epochs: are handed on.
        folder: is handed on, and outlives a process that is killed.

    Raises:
        RecipeError: the function is not there, asks for what is not given, fails, or ends the process.
        StageError: what it gives back is no network with the same weights, or they are not finite, or not held.
    """
    if ranks.part().world > 1:
        raise RecipeError(
            f"{reference} under torchrun: a trainer of one's own runs in one process",
            "start jetpress without torchrun; the trainer may use all GPUs itself",
        )
    function, wanted = opened(reference)
    folder.mkdir(parents=True, exist_ok=True)
    module = network.module
    masks = Masks(module, network.masks)
    offered: dict[str, Any] = {
        "module": module.train(),
        "teacher": teacher,
        "epochs": epochs,
        "train": Batches(data.train, training=True),
        "validation": Batches(data.validation, training=False),
        "masks": masks,
        "folder": folder,
    }
    expected = {name: one.shape for name, one in module.state_dict().items()}
    torch.manual_seed(network.seed)
    with progress(f"trained by {reference.rpartition('/')[2]}"), masks.held():
        result = _called(reference, function, {name: offered[name] for name in wanted})
    state = _state(reference, result, expected)
    module.cpu().eval()
    fill(module, state)
    masks.check()


def _called(reference: str, function: Callable[..., object], given: Mapping[str, object]) -> object:
    """What the function gives back; whatever else it does becomes one message."""
    try:
        return function(**given)
    except JetpressError:
        raise
    except SystemExit as error:
        raise RecipeError(
            f"{reference} ended the process (sys.exit({error.code if error.code is not None else ''})) "
            "before it gave a network back",
            "let it return the trained module",
        ) from error
    except Exception as error:  # the user's code may raise anything
        file = str(user_code.split(reference)[0])
        own = [one for one in traceback.extract_tb(error.__traceback__) if one.filename == file]
        where = f" (line {own[-1].lineno})" if own else ""
        raise RecipeError(
            f"{reference}{where} failed: {type(error).__name__}: {error}", "mend the trainer"
        ) from error


def _state(reference: str, result: object, expected: Mapping[str, torch.Size]) -> dict[str, Tensor]:
    """The weights of what came back, by the network's names."""
    if not isinstance(result, nn.Module):
        raise StageError(
            f"{reference} gave back a {type(result).__name__}", "let it return the trained module"
        )
    state = resume.copy(result.state_dict())
    for prefix in ("_orig_mod.", "module."):  # torch.compile, data parallel training
        if state and all(name.startswith(prefix) for name in state) and not state.keys() & expected.keys():
            state = {name.removeprefix(prefix): one for name, one in state.items()}
    wrong = [f"{name} is missing" for name in expected.keys() - state.keys()]
    wrong += [f"{name} is new" for name in state.keys() - expected.keys()]
    wrong += [
        f"{name} is {list(one.shape)}, it was {list(expected[name])}"
        for name, one in state.items()
        if name in expected and one.shape != expected[name]
    ]
    if wrong:
        more = f" and {len(wrong) - 3} more" if len(wrong) > 3 else ""
        raise StageError(
            f"{reference} gave back another network: {'; '.join(sorted(wrong)[:3])}{more}",
            "a trainer changes the values of weights, not their names or shapes",
        )
    bad = [name for name, one in state.items() if one.is_floating_point() and not one.isfinite().all()]
    if bad:
        raise StageError(
            f"{reference} gave back NaN or Inf in {', '.join(bad[:3])}",
            "lower its learning rate, or clip gradients",
        )
    return state
