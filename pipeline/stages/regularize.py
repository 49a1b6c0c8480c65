"""Stage: make the dense network ready to lose channels, by sparse training.

What pruning will take away it takes from a network that has learnt to do without it: see
:mod:`jetpress.pipeline.training.penalty`. The dense network is the teacher, as in fine-tuning.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from jetpress.deploy.console import say
from jetpress.pipeline.data.loading import load
from jetpress.pipeline.network import models
from jetpress.pipeline.network.channels import analyse
from jetpress.pipeline.pruning.allocate import Room
from jetpress.pipeline.recipe.configs import RegularizeConfig
from jetpress.pipeline.store.artifact import Checkpoint
from jetpress.pipeline.training.distill import taught_by
from jetpress.pipeline.training.fit import finish, fit
from jetpress.pipeline.training.penalty import GroupPenalty
from jetpress.pipeline.training.torchrun import joint


@joint
def regularize(config: RegularizeConfig, model: Checkpoint, teacher: Checkpoint, draft: Path) -> Checkpoint:
    """Train ``model`` with the penalty on all channels that may go; its last epoch is the result.

    Facts: ``validation``, ``dense_validation`` (of ``model``) and ``training``.
    """
    network = models.load(model)
    data = load(network.data, network.seed, network.task)
    graph = analyse(network.module, models.example_inputs(network.model.inputs))
    groups = Room(config.multiple, config.ignore, config.limits).narrowable(graph)
    say(
        f"    {sum(group.units for group in groups)} channels of {len(groups)} groups are pulled towards zero"
    )
    fitted = fit(
        network,
        data,
        config.training,
        state=draft / "state",
        what="sparse training",
        teacher=taught_by(teacher, config.distillation),
        penalty=GroupPenalty(network.module, groups, config.strength),
    )
    return finish(network, fitted, draft, replace(model.facts, dense_validation=model.facts.dense))
