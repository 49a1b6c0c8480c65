"""2:4 in the flow: masks where the target can gain from them, kept where the budget allows it."""

from __future__ import annotations

from jetpress.pipeline.flow.rounds import too_much_lost
from jetpress.pipeline.recipe.resolve import Plan
from jetpress.pipeline.store.artifact import Checkpoint
from jetpress.pipeline.store.lazy import lazy_stages
from jetpress.pipeline.store.steps import Walk

with lazy_stages():
    from jetpress.pipeline.stages.finetune import finetune
    from jetpress.pipeline.stages.sparsify import sparsify


def sparsify_where_it_pays(
    plan: Plan, best: Checkpoint, dense: Checkpoint, teacher: Checkpoint, walk: Walk
) -> tuple[Checkpoint, list[Checkpoint]]:
    """2:4 masks and their fine-tuning; the network as it was when the target or the budget says no.

    Returns:
        the network, and what was trained for it, kept or not
    """
    if "sparsify" in plan.skipped:
        walk.skip("sparsify", plan.skipped["sparsify"])
        return best, []
    masked = walk.step("sparsify", sparsify, plan.recipe.sparsify, best)
    if masked.known and masked.known.pruned is False:
        walk.skip("finetune 2:4", "no layer is eligible")
        return best, []
    tuned = walk.step("finetune 2:4", finetune, plan.finetune, masked, teacher)
    if why := too_much_lost(plan, dense, tuned):
        walk.skip("2:4", f"not kept: {why}")
        return best, [tuned]
    return tuned, [tuned]
