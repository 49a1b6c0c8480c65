"""Stage: the dense baseline."""

from __future__ import annotations

from pathlib import Path

from jetpress.deploy.console import say
from jetpress.pipeline.data.loading import load
from jetpress.pipeline.network import models
from jetpress.pipeline.recipe.sections.training import TrainConfig
from jetpress.pipeline.store.artifact import Checkpoint
from jetpress.pipeline.training.evaluate import guessing, judged
from jetpress.pipeline.training.fit import finish, fit
from jetpress.pipeline.training.torchrun import joint


@joint
def train(config: TrainConfig, model: Checkpoint, draft: Path) -> Checkpoint:
    """The dense baseline. Facts: ``validation`` (points of the best epoch) and ``training``."""
    network = models.load(model)
    data = load(network.data, network.seed, network.task)
    fitted = fit(network, data, config, state=draft / "state", what="training")
    if not model.facts.mean:
        known = 1.96 * judged(network, data.validation, "how finely the validation split sees").error
        counted = f"{model.facts.measured} of {len(data.validation)} validation images"
        say(f"    {counted} is known to \N{PLUS-MINUS SIGN} {known:.2g} points (95 %)")
    guessed = guessing(network, data.validation)
    if guessed is not None and fitted.validation <= guessed:
        figure = f"{model.facts.measured} {fitted.validation:.2f}"
        say(f"    WARNING: {figure} on validation is no better than guessing: nothing was learnt")
    return finish(network, fitted, draft, model.facts)
