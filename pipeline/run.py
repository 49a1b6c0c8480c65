"""The pipeline, top to bottom.

``run`` does the work; ``plan`` is the same walk without it: each step looks its result up and says what it
would do. A step's result is an artifact in the store, so whatever was done before is not done again.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deploy import console, probe
from deploy.device import Device
from deploy.device import open as open_device
from deploy.errors import BenchmarkInvalid, RecipeError
from deploy.targets import Target, find
from pipeline import bundle, measure
from pipeline.artifact import Checkpoint
from pipeline.bench import Bench
from pipeline.content import SourceConfig, content
from pipeline.int8 import dense_export, in_int8
from pipeline.late import late
from pipeline.needs import Needs
from pipeline.outcome import Outcome
from pipeline.preflight import PreflightConfig, preflight
from pipeline.recipe import Plan, Recipe, resolve
from pipeline.rounds import needs_time, prune_in_rounds, too_much_lost
from pipeline.sections import EIGHT_BITS
from pipeline.steps import Doing, Looking, Step, Walk
from pipeline.store import Store, until_whole

if TYPE_CHECKING:
    from pipeline.assess import assess, assess_file
    from pipeline.baseline import source
    from pipeline.equivalence import equivalence
    from pipeline.export import export
    from pipeline.finetune import finetune
    from pipeline.fold import fold
    from pipeline.sparsify import sparsify
    from pipeline.train import train
else:  # these import torch, and a run that finds everything done needs none
    assess, assess_file = late("pipeline.assess:assess"), late("pipeline.assess:assess_file")
    source = late("pipeline.baseline:source")
    equivalence, export = late("pipeline.equivalence:equivalence"), late("pipeline.export:export")
    finetune, fold = late("pipeline.finetune:finetune"), late("pipeline.fold:fold")
    sparsify, train = late("pipeline.sparsify:sparsify"), late("pipeline.train:train")


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
    packing = bundle.BundleConfig(recipe.name, target, recipe.build, recipe.benchmark, recipe.seed)
    bench, teacher = bench_for_pruning(plan, place, packing), other_teacher(plan, walk) or dense
    best, outcome.rounds = prune_in_rounds(plan, dense, bench, walk, teacher)
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
    outcome.bundle = walk.step("bundle", bundle.bundle, packing, folded, outcome.onnx, outcome.dense_onnx)

    if place is None:
        outcome.next = (
            f"copy {{bundle}} to the {target.title}, and run in it: python3 runner.pyz"
            "   (or run this again with DEVICE=user@host)"
        )
        walk.skip("build", "an engine is built on its own device, and none was given")
        walk.skip("benchmark", "no engine here")
        return outcome
    outcome.engine = walk.step("build", measure.build, place, outcome.bundle)
    if not measure.can_run(target):
        outcome.next = (
            "copy {bundle} and {engine} to the RTX machine, and run there: "
            "python3 bundle/runner.pyz bench --bundle bundle --engines engine"
        )
        walk.skip("benchmark", "there is no NVIDIA GPU here to run the engine on")
        return outcome
    outcome.tried = walk.step("infer", measure.infer, place, outcome.bundle, outcome.engine)
    timing = measure.Timing(place, recipe.benchmark)
    try:
        outcome.numbers = walk.step("benchmark", measure.bench, timing, outcome.bundle, outcome.engine)
    except BenchmarkInvalid as error:
        # All else is whole: the report says so, and the next run measures again.
        outcome.invalid = error.what
        walk.skip("benchmark", error.what)
    return outcome


def where(device: Device, target: Target, power_mode: str | None = None) -> measure.Place:
    """The device as it is now, refused if it is not the target or not in this power mode."""
    found = probe.probe(device)
    if target.backend != "tensorrt_rtx":  # that is built ahead of time, on whatever machine
        probe.refuse_unless(found, target)
    if power_mode is not None:
        probe.refuse_unless_in(found, power_mode)
    return measure.Place(device.name, probe.identity(found))


def bench_for_pruning(plan: Plan, place: measure.Place | None, packing: bundle.BundleConfig) -> Bench | None:
    """Where widths are timed, if the goal is a time.

    Raises:
        RecipeError: the goal is a time, and there is no device to measure it on.
    """
    if not needs_time(plan.recipe.prune) or "prune" in plan.skipped:
        return None
    if place is None or not measure.can_run(plan.target):
        raise RecipeError(
            f"prune asks for a latency, which only the {plan.target.title} itself can tell",
            "give the device (DEVICE=user@host), or set prune.macs instead",
        )
    return Bench(place, packing, plan.recipe.export)


def other_teacher(plan: Plan, walk: Walk) -> Checkpoint | None:
    """The network that fine-tuning learns from, where it is not the dense one."""
    recipe, model = plan.recipe, plan.recipe.finetune.teacher
    if model is None:
        return None
    found = content(replace(recipe, model=model))
    return walk.step("teacher", source, SourceConfig(model, recipe.data, recipe.seed, found))


def sparsify_where_it_pays(
    best: Checkpoint, dense: Checkpoint, teacher: Checkpoint, outcome: Outcome, walk: Walk
) -> Checkpoint:
    """2:4 masks and their fine-tuning; the network as it was when the target or the budget says no."""
    plan = outcome.plan
    if "sparsify" in plan.skipped:
        walk.skip("sparsify", plan.skipped["sparsify"])
        return best
    masked = walk.step("sparsify", sparsify, plan.recipe.sparsify, best)
    if masked.facts.get("pruned") is False:
        walk.skip("finetune 2:4", "no layer is eligible")
        return best
    tuned = walk.step("finetune 2:4", finetune, plan.recipe.finetune, masked, teacher)
    outcome.tuned.append(("2:4", tuned))
    if why := too_much_lost(plan, dense, tuned):
        walk.skip("2:4", f"not kept: {why}")
        return best
    return tuned


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
        JetpressError: see :mod:`deploy.errors`. A budget that is not met raises nothing: see ``["verdict"]``.
    """
    from pipeline import summary

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
    from pipeline import summary

    resolved = resolve(recipe, find(target) if isinstance(target, str) else target)
    looking = Looking(Store(summary.folder(resolved, home).parent / ".store"))
    pipeline(resolved, where_to_build(resolved.target, device), looking)
    return looking.steps


def sensitivity(
    recipe: Recipe, target: str | Target, home: Path | None = None
) -> tuple[dict[str, Any], dict[str, Path]]:
    """What each group of channels and each block of the dense network is worth, measured.

    Returns:
        the facts of :mod:`pipeline.pruning.sensitivity`, and where the plot and the numbers are, by kind
    """
    from benchmarks.report.plots import sensitivity as drawn
    from pipeline import summary
    from pipeline.pruning.sensitivity import sensitivity as stage
    from pipeline.pruning.settings import SensitivityConfig

    plan = resolve(recipe, find(target) if isinstance(target, str) else target)
    folder = summary.folder(plan, home)
    config = SourceConfig(plan.recipe.model, plan.recipe.data, plan.recipe.seed, content(plan.recipe))
    measured = SensitivityConfig.of(replace(plan.recipe.prune, scope="measured"))

    def walk() -> dict[str, Any]:
        doing = Doing(store, needs)
        dense = doing.step("source", source, config)
        if "train" not in plan.skipped:
            dense = doing.step("train", train, plan.recipe.train, dense)
        return dict(doing.step("sensitivity", stage, measured, dense).facts)

    store = Store(folder.parent / ".store")
    with Needs(store, folder) as needs:
        facts = until_whole(walk)
    files = {"plot": folder / "sensitivity.svg", "numbers": folder / "sensitivity.json"}
    files["plot"].write_text(drawn(list(facts["groups"].values()), facts["unit"]))
    files["numbers"].write_text(json.dumps(facts, indent=1))
    return facts, files


def sparsity(recipe: Recipe, target: str | Target, home: Path | None = None) -> dict[str, Any]:
    """Which layers of the network as it is given may gain from 2:4 on the target, and why the others do not.

    Returns:
        ``skipped``: why none will (None where some may); ``layers``: see :func:`pipeline.sparsify.forecast`
    """
    from pipeline import summary
    from pipeline.sparsify import forecast

    plan = resolve(recipe, find(target) if isinstance(target, str) else target)
    if why := plan.skipped.get("sparsify"):
        return {"skipped": why, "layers": []}
    config = SourceConfig(plan.recipe.model, plan.recipe.data, plan.recipe.seed, content(plan.recipe))
    folder = summary.folder(plan, home)
    store = Store(folder.parent / ".store")

    def walk() -> list[dict[str, Any]]:
        given = Doing(store, needs).step("source", source, config)
        store.verify(given)
        return forecast(plan.recipe.sparsify, given)

    with Needs(store, folder) as needs:
        return {"skipped": None, "layers": until_whole(walk)}


def where_to_build(target: Target, device: str | None) -> Device | None:
    """The device given; this machine where the engine can be built here; otherwise None.

    Raises:
        RecipeError: an engine built ahead of time needs no device.
    """
    if target.backend == "tensorrt_rtx" and device:
        raise RecipeError("an RTX engine is built ahead of time, here", "leave the device out")
    if device is None and target.is_board and not probe.is_this_machine(target):
        return None
    return open_device(device)
