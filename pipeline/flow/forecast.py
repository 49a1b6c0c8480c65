"""What a network shows before it is compressed: what each layer is worth, and which ones may gain from 2:4."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING

from jetpress.deploy.targets import Target, find
from jetpress.pipeline.data.digests import source_config
from jetpress.pipeline.recipe.configs import SensitivityConfig
from jetpress.pipeline.recipe.reading import Recipe
from jetpress.pipeline.recipe.resolve import resolve
from jetpress.pipeline.store.facts.network import SensitivityFacts
from jetpress.pipeline.store.lazy import lazy_stages
from jetpress.pipeline.store.needs import Needs
from jetpress.pipeline.store.runs import run_folder
from jetpress.pipeline.store.steps import Doing
from jetpress.pipeline.store.store import Store, until_whole

if TYPE_CHECKING:
    from jetpress.pipeline.stages.sparsify import Prospect

with lazy_stages():
    from jetpress.pipeline.stages.sensitivity import sensitivity as stage
    from jetpress.pipeline.stages.source import source
    from jetpress.pipeline.stages.train import train


def sensitivity(
    recipe: Recipe, target: str | Target, home: Path | None = None
) -> tuple[SensitivityFacts, dict[str, Path]]:
    """What each group of channels and each block of the dense network is worth, measured.

    Returns:
        what was measured, and where the plot and the numbers are, by kind
    """
    from jetpress.benchmarks.report.plots import sensitivity as drawn

    plan = resolve(recipe, find(target) if isinstance(target, str) else target)
    folder = run_folder(plan, home)
    config = source_config(plan.recipe)
    measured = SensitivityConfig.of(replace(plan.recipe.prune, scope="measured"))

    def walk() -> SensitivityFacts:
        doing = Doing(store, needs)
        dense = doing.step("source", source, config)
        if "train" not in plan.skipped:
            dense = doing.step("train", train, plan.recipe.train, dense)
        return doing.step("sensitivity", stage, measured, dense).facts

    store = Store(folder.parent / ".store")
    with Needs(store, folder) as needs:
        facts = until_whole(walk)
    files = {"plot": folder / "sensitivity.svg", "numbers": folder / "sensitivity.json"}
    files["plot"].write_text(drawn(list(facts.groups.values())))
    files["numbers"].write_text(json.dumps(asdict(facts), indent=1))
    return facts, files


def sparsity(recipe: Recipe, target: str | Target, home: Path | None = None) -> tuple[str, list[Prospect]]:
    """Which layers of the network as it is given may gain from 2:4 on the target, and why the others do not.

    Returns:
        why none will (empty where some may), and every layer
    """
    from jetpress.pipeline.stages.sparsify import forecast

    plan = resolve(recipe, find(target) if isinstance(target, str) else target)
    if why := plan.skipped.get("sparsify"):
        return why, []
    config = source_config(plan.recipe)
    folder = run_folder(plan, home)
    store = Store(folder.parent / ".store")

    def walk() -> list[Prospect]:
        given = Doing(store, needs).step("source", source, config)
        store.verify(given)
        return forecast(plan.recipe.sparsify, given)

    with Needs(store, folder) as needs:
        return "", until_whole(walk)
