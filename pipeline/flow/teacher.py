"""The network that fine-tuning learns from."""

from __future__ import annotations

from dataclasses import replace

from jetpress.pipeline.data.digests import input_digests
from jetpress.pipeline.recipe.configs import SourceConfig
from jetpress.pipeline.recipe.resolve import Plan
from jetpress.pipeline.store.artifact import Checkpoint
from jetpress.pipeline.store.lazy import lazy_stages
from jetpress.pipeline.store.steps import Walk

with lazy_stages():
    from jetpress.pipeline.stages.source import source


def other_teacher(plan: Plan, walk: Walk) -> Checkpoint | None:
    """The network that fine-tuning learns from, where it is not the dense one."""
    recipe, model = plan.recipe, plan.recipe.finetune.teacher
    if model is None:
        return None
    found = input_digests(replace(recipe, model=model))
    config = SourceConfig(model, recipe.data, recipe.seed, found, trains=False, loss=False, task=recipe.task)
    return walk.step("teacher", source, config, early=True)
