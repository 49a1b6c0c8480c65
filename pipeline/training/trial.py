"""Loss and metric tried on one batch, before hours are spent on them."""

from __future__ import annotations

import torch
from torch import Tensor

from jetpress.deploy.errors import JetpressError, RecipeError
from jetpress.pipeline.data.loading import Data
from jetpress.pipeline.network.models import Network
from jetpress.pipeline.recipe.sections.fields import is_file_reference
from jetpress.pipeline.tasks import task_of
from jetpress.pipeline.tasks.metric import Metric
from jetpress.pipeline.training.evaluate import metric, points_of
from jetpress.pipeline.training.losses import loss, own_loss

MOST = 8
"""Samples of the batch."""


def judges(network: Network, data: Data) -> Metric:
    """The metric, after it gave a number for a batch of the validation data.

    Raises:
        RecipeError: it raises, or gives none.
    """
    by = metric(network)
    inputs, target = data.validation.batch(range(min(MOST, len(data.validation))), None)
    with torch.no_grad():
        outputs = network.module.eval()(*inputs)
    try:
        points_of(by, by.shown(outputs, target))
    except JetpressError:
        raise
    except Exception as error:  # the user's function may raise anything
        raise RecipeError(
            f"{_called(network.data.metric, by.measured)} failed on a batch: {type(error).__name__}: {error}",
            "it is given what the network returns, and the target",
        ) from error
    return by


def learns(network: Network, data: Data) -> None:
    """The loss gives a finite scalar with gradients for a batch of the training data.

    Raises:
        RecipeError: it does not.
    """
    count, named = min(MOST, len(data.train)), network.data.loss or task_of(network.task).loss_name
    if network.data.loss is None and own_loss(network.module):
        named = f"loss() of {network.model.builder}"
    inputs, target = data.train.batch(range(count), None)
    module, before = network.module, torch.get_rng_state()
    kept = {name: value.clone() for name, value in module.named_buffers()}
    try:
        found = loss(network)(module.train()(*inputs), target, inputs)
    except JetpressError:
        raise
    except Exception as error:  # the same
        raise RecipeError(
            f"{named} failed on a batch: {type(error).__name__}: {error}",
            "it is given what the network returns in training mode, and the target",
        ) from error
    finally:
        module.eval()
        torch.set_rng_state(before)
        for name, value in module.named_buffers():
            value.copy_(kept[name])
    if not isinstance(found, Tensor) or found.numel() != 1 or not found.requires_grad:
        raise RecipeError(
            f"{named} gave {_words(found)}, no scalar with gradients",
            "return one number computed from the outputs",
        )
    if not found.isfinite().all():
        raise RecipeError(f"{named} is {found.item()} on the first batch", "check it, and the targets")


def _called(given: str | None, measured: str) -> str:
    return str(given) if is_file_reference(given) else measured


def _words(found: object) -> str:
    return f"a tensor {list(found.shape)}" if isinstance(found, Tensor) else f"a {type(found).__name__}"
