"""Where runs lie: a folder for each recipe and target, and the store among them."""

from __future__ import annotations

import hashlib
import os
import platform
from pathlib import Path

from jetpress.pipeline.recipe.resolve import Plan
from jetpress.pipeline.recipe.sections.fields import as_table
from jetpress.pipeline.store.artifact import canonical


def home() -> Path:
    """Folder of all runs."""
    return Path(os.environ.get("JETPRESS_RUNS", "runs"))


def run_folder(plan: Plan, root: Path | None) -> Path:
    """The folder of a plan's run: the same recipe (or file) and target always give the same one."""
    told = [as_table(plan.recipe), plan.target.name, *([as_table(plan.file)] if plan.file else [])]
    digest = hashlib.sha256(canonical(told).encode()).hexdigest()[:8]
    return (root or home()) / f"{plan.recipe.name}-{plan.target.name}-{digest}"


def alike(plan: Plan, device: str | None) -> str:
    """What makes two runs take as long: recipe, network, data, target, device and this machine; settings may differ."""
    recipe, machine = plan.recipe, [platform.node(), platform.machine(), os.cpu_count()]
    work = [recipe.name, as_table(recipe.model), as_table(recipe.data), plan.target.name, device]
    work += [plan.file.given.path] if plan.file else []
    return canonical([*work, *machine])
