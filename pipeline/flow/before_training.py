"""What can be known before training is known before training: what cannot come to a good end costs seconds, not hours.

Network, weights and classes are held against the data by the ``source`` stage, the device by
:mod:`jetpress.pipeline.flow.devices`. Here the network as it is given is exported and held against the target's parser
(training changes no operator), channels are removed from it as in the last round, the validation split is held against
the budget, and the disk against what a run writes.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from jetpress.benchmarks.accuracy import FULL, samples_for
from jetpress.deploy.errors import DeviceError, RecipeError, StageError
from jetpress.pipeline.flow.eight_bits import dense_export
from jetpress.pipeline.pruning.steps import Goal, goal
from jetpress.pipeline.recipe.configs import PreflightConfig, SensitivityConfig
from jetpress.pipeline.recipe.resolve import Plan
from jetpress.pipeline.recipe.sections.compression import EIGHT_BITS
from jetpress.pipeline.store.artifact import Checkpoint
from jetpress.pipeline.store.facts.network import CheckpointFacts, Pruning
from jetpress.pipeline.store.lazy import lazy_stages
from jetpress.pipeline.store.steps import Walk

with lazy_stages():
    from jetpress.pipeline.stages.export import export
    from jetpress.pipeline.stages.preflight import preflight
    from jetpress.pipeline.stages.prune import prune
    from jetpress.pipeline.stages.sensitivity import sensitivity

COPIES, COPIES_A_ROUND = 12, 2
"""Of the weights: by stages, as bundle and engines, in the run's folder (9.2, measured, with one round of the default
recipe), and while it trains (the optimizer's state, the best epoch)."""
MOST = 0.9
"""Share of the channels that is tried to remove where no share of each layer is asked for."""
SURELY_TOO_LITTLE = 0.25
"""Of what a run may need; pruned networks are smaller than the dense one that is counted with."""
FEWEST = 2
"""Images that a budget must be worth, for one of them not to decide."""


def check_before_training(plan: Plan, given: Checkpoint, walk: Walk) -> None:
    """Refuse what cannot end well with the network as it is given, and warn of what may not.

    Raises:
        RecipeError: it does not export at the target's opset, or the target's parser does not take it.
        DeviceError: the disk is too full.
    """
    for trainer in {plan.recipe.train.trainer, plan.finetune.training.trainer} - {None}:
        _check_trainer(str(trainer))
    config, trained = dense_export(plan), "train" not in plan.skipped
    precision = plan.recipe.build.precision
    if precision in EIGHT_BITS:
        precision = plan.target.default_precision
    if trained and config.fp16:  # which layers FP16 can hold depends on weights that are not there yet
        config, precision = replace(config, fp16=False), "fp32"
    with _said_of_the_network():
        exported = walk.step("try export", export, config, given, early=True)
        walk.step("try preflight", preflight, PreflightConfig(plan.target, precision), exported, early=True)
        cut = _tried_to_prune(plan, given, walk)
    if cut is not None and cut.known is not None and cut.known.pruned is False:
        _nothing_to_remove(plan, cut.known.pruning or Pruning(), walk)
    if given.known is not None:
        if line := few_images(given.known, plan.recipe.budget.accuracy_drop):
            walk.warn(line)
        if line := little_space(given.known, plan.recipe.prune.rounds, walk.store.root):
            walk.warn(line)


def _tried_to_prune(plan: Plan, given: Checkpoint, walk: Walk) -> Checkpoint | None:
    """What pruning leaves of the network as it is given, by its widths alone; None where nothing is to be pruned.

    Raises:
        StageError: no group of channels can be removed.
    """
    asked = plan.recipe.prune
    if "prune" in plan.skipped:
        return None
    whole = goal(asked, plan.recipe.export.batch, None)
    exact = (
        whole.kind == "ratio" and asked.scope == "uniform"
    )  # elsewhere one layer may lose more than another
    plain = replace(asked, scope="uniform", criterion="l2", reconstruct=False)
    config = Goal("ratio", asked.ratio if exact else MOST).at(plain, asked.ratio if exact else MOST)
    judged = walk.step("try judge", sensitivity, SensitivityConfig.of(config), given, early=True)
    return walk.step("try prune", prune, config, given, judged, early=True)


def _nothing_to_remove(plan: Plan, found: Pruning, walk: Walk) -> None:
    """Refuse where nothing else is done to the network, else warn."""
    kept = {**found.left, **found.fixed, **found.refused}
    reasons = "; ".join(f"{layer}: {why}" for layer, why in list(kept.items())[:3])
    more = f"; and {len(kept) - 3} more" if len(kept) > 3 else ""
    line = (
        f"no channel can be removed from this network ({reasons or 'it has no layers with channels'}{more})"
    )
    if plan.recipe.build.precision in EIGHT_BITS or "sparsify" not in plan.skipped:
        walk.warn(line)
        return
    raise RecipeError(
        f"before anything was trained: {line}, and nothing else would be compressed",
        "prune.ratio = 0 exports and measures it as it is; prune.channel_multiple = 1 removes single channels",
    )


def _check_trainer(reference: str) -> None:
    """A trainer of the user's own is there, and asks for nothing that it is not given."""
    from jetpress.pipeline.training import own  # with PyTorch

    own.opened(reference)


@contextmanager
def _said_of_the_network() -> Iterator[None]:
    """What a stage cannot do with the network as it is given is a fault of what was given."""
    try:
        yield
    except StageError as error:
        raise RecipeError(f"before anything was trained: {error.what}", error.hint) from error


def few_images(facts: CheckpointFacts, budget: float) -> str:
    """Why the splits are too small for a budget of so many points; empty where they are not."""
    data = facts.data
    if data is None or budget <= 0 or not facts.mean:
        return ""
    count, split = min((data.validation, "validation"), (data.test, "test"))
    if not count or budget * count / FULL >= FEWEST:
        return ""
    return (
        f"{count} {split} images: each is {FULL / count:.2g} points, and the budget is {budget:g}: one image decides. "
        f"About {samples_for(budget)} would tell a drop of {budget:g} points from chance"
    )


def little_space(facts: CheckpointFacts, rounds: int, folder: Path) -> str:
    """Why the disk below ``folder`` may be too small for a run; empty where it is large enough.

    Raises:
        DeviceError: it is too small.
    """
    need = 4 * facts.parameters * (COPIES + COPIES_A_ROUND * rounds)
    folder = folder.absolute()
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    if free >= need:
        return ""
    line = (
        f"{free / 2**20:.0f} MiB are free in {folder}, a run of this network may need {need / 2**20:.0f} MiB"
    )
    if free < SURELY_TOO_LITTLE * need:
        raise DeviceError(
            line, "`jetpress gc` removes what no run needs; or set JETPRESS_RUNS to a folder on a larger disk"
        )
    return line
