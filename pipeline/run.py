"""The pipeline, top to bottom.

``run`` does the work; ``plan`` is the same walk without it: each step looks its result up and says what it
would do. A step's result is an artifact in the store, so whatever was done before is not done again.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from jetpress.deploy import console
from jetpress.deploy.device.device import Device
from jetpress.deploy.errors import BenchmarkInvalid
from jetpress.deploy.targets import Target, find
from jetpress.pipeline import summary
from jetpress.pipeline.data.digests import content
from jetpress.pipeline.engine.place import can_run
from jetpress.pipeline.flow.devices import bench_for_pruning, where, where_to_build
from jetpress.pipeline.flow.eight_bits import dense_export, in_int8
from jetpress.pipeline.flow.outcome import Outcome
from jetpress.pipeline.flow.rounds import prune_in_rounds
from jetpress.pipeline.flow.sparsity import sparsify_where_it_pays
from jetpress.pipeline.flow.teacher import other_teacher
from jetpress.pipeline.recipe.configs import BundleConfig, PreflightConfig, SourceConfig, Timing
from jetpress.pipeline.recipe.reading import Recipe
from jetpress.pipeline.recipe.resolve import Plan, resolve
from jetpress.pipeline.recipe.sections.compression import EIGHT_BITS
from jetpress.pipeline.store.late import late_stages
from jetpress.pipeline.store.needs import Needs
from jetpress.pipeline.store.steps import Doing, Looking, Step, Walk
from jetpress.pipeline.store.store import Store, until_whole

with late_stages():
    from jetpress.pipeline.stages.assess import assess
    from jetpress.pipeline.stages.assess_file import assess_file
    from jetpress.pipeline.stages.bench import bench
    from jetpress.pipeline.stages.build import build
    from jetpress.pipeline.stages.bundle import bundle
    from jetpress.pipeline.stages.equivalence import equivalence
    from jetpress.pipeline.stages.export import export
    from jetpress.pipeline.stages.fold import fold
    from jetpress.pipeline.stages.infer import infer
    from jetpress.pipeline.stages.preflight import preflight
    from jetpress.pipeline.stages.source import source
    from jetpress.pipeline.stages.train import train


def pipeline(plan: Plan, device: Device | None, walk: Walk) -> Outcome:
    """From a recipe to an engine and its numbers."""
    recipe, target, outcome = plan.recipe, plan.target, Outcome(plan)

    config = SourceConfig(recipe.model, recipe.data, recipe.seed, content(recipe))
    dense = walk.step("source", source, config)
    if "train" in plan.skipped:
        walk.skip("train", plan.skipped["train"])
    else:
        dense = walk.step("train", train, recipe.train, dense)
        outcome.tuned.append(("train", dense))
    outcome.dense = dense

    place = None if device is None else where(device, target, recipe.benchmark.power_mode)
    packing = BundleConfig(recipe.name, target, recipe.build, recipe.benchmark, recipe.seed)
    timer, teacher = bench_for_pruning(plan, place, packing), other_teacher(plan, walk) or dense
    best, outcome.rounds = prune_in_rounds(plan, dense, timer, walk, teacher)
    outcome.tuned += [(f"round {n}", one.tuned) for n, one in enumerate(outcome.rounds, 1) if one.tuned]
    best = sparsify_where_it_pays(best, dense, teacher, outcome, walk)
    folded = outcome.compressed = walk.step("fold", fold, None, best)

    outcome.onnx = walk.step("export", export, recipe.export, folded)
    outcome.dense_onnx = walk.step("export dense", export, dense_export(plan), dense)
    outcome.same = walk.step("equivalence", equivalence, recipe.equivalence, folded, outcome.onnx)
    outcome.dense_same = walk.step("same, dense", equivalence, recipe.equivalence, dense, outcome.dense_onnx)
    if recipe.build.precision in EIGHT_BITS:
        quantized = in_int8(plan, folded, outcome.onnx, teacher, walk)
        if quantized.network is not folded:
            folded = outcome.compressed = quantized.network
            outcome.tuned.append(("qat", folded))
            outcome.same = walk.step("same, qat", equivalence, recipe.equivalence, folded, quantized.floating)
        outcome.floating, outcome.onnx = quantized.floating, quantized.onnx
        outcome.training = quantized.training
        outcome.same_int8 = walk.step(
            f"same, {recipe.build.precision.upper()}", equivalence, recipe.equivalence, folded, quantized.onnx
        )
        outcome.accuracy = walk.step("assess", assess_file, None, dense, folded, quantized.onnx)
    else:
        outcome.accuracy = walk.step("assess", assess, None, dense, folded)
    walk.step("preflight", preflight, PreflightConfig(target, recipe.build.precision), outcome.onnx)
    outcome.bundle = walk.step("bundle", bundle, packing, folded, outcome.onnx, outcome.dense_onnx)

    if place is None:
        outcome.next = (
            f"copy {{bundle}} to the {target.title}, and run in it: python3 runner.pyz"
            "   (or run this again with DEVICE=user@host)"
        )
        walk.skip("build", "an engine is built on its own device, and none was given")
        walk.skip("benchmark", "no engine here")
        return outcome
    outcome.engine = walk.step("build", build, place, outcome.bundle)
    if not can_run(target):
        outcome.next = (
            f"copy {{bundle}} and {{engine}} to the {target.runtime.title} machine, and run there: "
            "python3 bundle/runner.pyz bench --bundle bundle --engines engine"
        )
        walk.skip("benchmark", "there is no NVIDIA GPU here to run the engine on")
        return outcome
    outcome.tried = walk.step("infer", infer, place, outcome.bundle, outcome.engine)
    timing = Timing(place, recipe.benchmark)
    try:
        outcome.numbers = walk.step("benchmark", bench, timing, outcome.bundle, outcome.engine)
    except BenchmarkInvalid as error:
        # All else is whole: the report says so, and the next run measures again.
        outcome.invalid = error.what
        walk.skip("benchmark", error.what)
    return outcome


def run(
    recipe: Recipe, target: str | Target, device: str | None = None, home: Path | None = None
) -> dict[str, Any]:
    """Run the pipeline and write the run's folder.

    Args:
        recipe: what to do.
        target: name of a target, or the record itself.
        device: ``user@host`` where the engine is built; None: here, if this machine is the target.
        home: folder of runs and store; None: ``$JETPRESS_RUNS`` or ``runs``.

    Returns:
        the run as plain JSON values, as in its ``report.json``; ``["folder"]`` says where that is

    Raises:
        JetpressError: see :mod:`jetpress.deploy.errors`. A budget that is not met raises nothing: see ``["verdict"]``.
    """
    plan = resolve(recipe, find(target) if isinstance(target, str) else target)
    folder = summary.folder(plan, home)
    store = Store(folder.parent / ".store")
    console.say(f"jetpress: {recipe.name} for {plan.target.title}")
    place = where_to_build(plan.target, device)

    def walk() -> dict[str, Any]:
        doing = Doing(store, needs)
        return summary.write(pipeline(plan, place, doing), folder, doing)

    with Needs(store, folder) as needs:
        report = until_whole(walk)
        needs.finished()
    return report


def plan(
    recipe: Recipe, target: str | Target, device: str | None = None, home: Path | None = None
) -> list[Step]:
    """What ``run`` would do: cached, will run (and how long it took last time) or skipped, and why."""
    resolved = resolve(recipe, find(target) if isinstance(target, str) else target)
    looking = Looking(Store(summary.folder(resolved, home).parent / ".store"))
    pipeline(resolved, where_to_build(resolved.target, device), looking)
    return looking.steps
