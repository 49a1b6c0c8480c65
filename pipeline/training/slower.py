"""Training from weights that are good already, at a rate that they bear."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from jetpress.deploy.console import say
from jetpress.deploy.errors import StageError
from jetpress.pipeline.network.models import Network
from jetpress.pipeline.recipe.sections.training import TrainConfig
from jetpress.pipeline.training import resume
from jetpress.pipeline.training.fit import Fit

Training = Callable[[TrainConfig, str], Fit]
"""Trains the network, in a folder of this name."""

SLOWER = 10.0


def at_a_rate_it_bears(
    network: Network, asked: TrainConfig, train: Training, *, worth: bool = True
) -> tuple[Fit, float]:
    """Train at the rate asked for, and at a tenth of it where that diverges or no epoch is better than the start.

    A rate that is usual after a cut ruins a network whose layers were fitted, and one that rounds its numbers: which
    ones cannot be seen before (studies/log/recovery.md, studies/log/pruned-int8.md, studies/log/qat.md).

    Args:
        network: in place.
        asked: how.
        train: does it.
        worth: whether an epoch that is better than the start is worth a second training.

    Returns:
        what it came to, and the learning rate

    Raises:
        StageError: the loss became NaN or infinite at the lower rate, too.
    """
    if asked.trainer is not None:  # the user's own, which knows of no rate
        return train(asked, "first"), asked.learning_rate
    begun = resume.copy(network.module.state_dict())
    try:
        fitted, why = train(asked, "first"), "no epoch was better than the start"
        if fitted.training.best_epoch or not worth:
            return fitted, asked.learning_rate
    except StageError as error:
        why = error.what
    rate = asked.learning_rate / SLOWER
    say(f"    {why}: once more at a learning rate of {rate:g}")
    network.module.load_state_dict(begun)
    return train(replace(asked, learning_rate=rate), "second"), rate
