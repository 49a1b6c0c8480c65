"""The pipeline, top to bottom.

``run`` does the work; ``plan`` is the same walk without it: each step looks its result up and says what it
would do. A step's result is an artifact in the store, so whatever was done before is not done again.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import count
from pathlib import Path

from jetpress.benchmarks.report.record import RunReport
from jetpress.deploy import console
from jetpress.deploy.errors import not_ended
from jetpress.deploy.targets import Target
from jetpress.pipeline import summary
from jetpress.pipeline.data.digests import identified, source_config
from jetpress.pipeline.engine.place import can_run
from jetpress.pipeline.flow.before_training import check_before_training
from jetpress.pipeline.flow.decisions import decisions
from jetpress.pipeline.flow.devices import bench_for_pruning, target_of, video_digest, where
from jetpress.pipeline.flow.eight_bits import dense_export, in_int8
from jetpress.pipeline.flow.measured import session, unanswered
from jetpress.pipeline.flow.outcome import Exports, Networks, OnDevice, Outcome
from jetpress.pipeline.flow.round_times import Rounds, timed
from jetpress.pipeline.flow.rounds import prune_in_rounds
from jetpress.pipeline.flow.sparsity import sparsify_where_it_pays
from jetpress.pipeline.flow.teacher import other_teacher
from jetpress.pipeline.flow.verdict import untouched
from jetpress.pipeline.recipe.configs import BundleConfig, Place, PreflightConfig, Timing
from jetpress.pipeline.recipe.reading import Recipe
from jetpress.pipeline.recipe.resolve import Plan, resolve
from jetpress.pipeline.recipe.sections.compression import EIGHT_BITS
from jetpress.pipeline.store.artifact import Bundle, Checkpoint, Samples
from jetpress.pipeline.store.durations import Durations
from jetpress.pipeline.store.lazy import lazy_stages
from jetpress.pipeline.store.needs import Needs
from jetpress.pipeline.store.runs import alike, run_folder
from jetpress.pipeline.store.steps import Doing, Looking, Step, Walk
from jetpress.pipeline.store.store import Store, until_whole
from jetpress.pipeline.training import metrics

with lazy_stages():
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


def pipeline(plan: Plan, place: Place | None, walk: Walk) -> Outcome:
    """From a recipe to an engine and its numbers; ``place`` is where that is built, None where there is none."""
    plan = identified(plan)
    recipe, target, tuned = plan.recipe, plan.target, list[tuple[str, Checkpoint]]()

    packing = BundleConfig(recipe.name, target, recipe.build, recipe.benchmark, recipe.seed)
    timer = bench_for_pruning(plan, place, packing)
    dense = walk.step("source", source, source_config(recipe), early=True)
    teacher = other_teacher(plan, walk)
    check_before_training(plan, dense, walk)

    if "train" in plan.skipped:
        walk.skip("train", plan.skipped["train"])
    else:
        dense = walk.step("train", train, recipe.train, dense)
        tuned.append(("train", dense))

    teacher = teacher or dense
    best, rounds = prune_in_rounds(plan, dense, timer, walk, teacher)
    tuned += [("regularize", one.start) for one in rounds[:1] if one.start and one.start is not dense]
    tuned += [(f"round {n}", one.tuned) for n, one in enumerate(rounds, 1) if one.tuned]
    best, sparse = sparsify_where_it_pays(plan, best, dense, teacher, walk)
    tuned += [("2:4", one) for one in sparse]
    as_it_was = untouched(plan, dense, best, rounds, sparse)
    folded = walk.step("fold", fold, None, best)

    onnx = walk.step("export", export, recipe.export, folded)
    same = walk.step("equivalence", equivalence, recipe.equivalence, folded, onnx)
    dense_onnx, dense_same, floating = onnx, same, onnx
    if as_it_was is not None:
        walk.skip("export dense", f"nothing was compressed, nothing to compare with: {as_it_was}")
    else:
        dense_onnx = walk.step("export dense", export, dense_export(plan), dense)
        dense_same = walk.step("same, dense", equivalence, recipe.equivalence, dense, dense_onnx)
    same_quantized, training, name = None, "", f"same, {recipe.build.precision.upper()}"
    if recipe.build.precision in EIGHT_BITS:
        quantized = in_int8(plan, folded, onnx, teacher, walk)
        if quantized.network is not folded:
            folded = quantized.network
            tuned.append(("qat", folded))
            same = walk.step("same, qat", equivalence, recipe.equivalence, folded, quantized.floating)
        onnx, floating, training = quantized.onnx, quantized.floating, quantized.training
        same_quantized = walk.step(name, equivalence, recipe.equivalence, folded, onnx)
        accuracy = walk.step("assess", assess_file, None, dense, folded, onnx)
    else:
        accuracy = walk.step("assess", assess, None, dense, folded)
    walk.step("preflight", preflight, PreflightConfig(target, recipe.build.precision), onnx)
    packing = replace(packing, alone=as_it_was is not None)
    packed = walk.step("bundle", bundle, packing, folded, onnx, dense_onnx)

    networks = Networks(dense, folded, rounds, tuned, as_it_was)
    exports = Exports(dense_onnx, onnx, dense_same, same, same_quantized, training)
    device = on_device(plan, place, packed, folded, walk)
    files = Rounds(rounds, dense_onnx, floating)
    times, untimed = timed(plan, place, packing, packed, files, walk)
    device = replace(device, rounds=times, untimed=untimed)
    return Outcome(plan, exports, packed, device, networks, accuracy)


def on_device(
    plan: Plan, place: Place | None, packed: Bundle, tested: Checkpoint | Samples, walk: Walk
) -> OnDevice:
    """From the bundle to an engine and its numbers; what is left to do by hand where it ends before that."""
    if place is None:
        walk.skip("build", "an engine is built on its own device, and none was given")
        walk.skip("benchmark", "no engine here")
        by_hand = f"copy {{bundle}} to the {plan.target.title}, and run in it: python3 runner.pyz"
        return OnDevice(next=f"{by_hand}   (or run this again with --device user@host)")
    engine = walk.step("build", build, place, packed)
    if not can_run(plan.target):
        walk.skip("benchmark", "there is no NVIDIA GPU here to run the engine on")
        by_hand = (
            f"copy {{bundle}} and {{engine}} to the {plan.target.runtime.title} machine, and run there: "
        )
        command = "python3 bundle/runner.pyz bench --bundle bundle --engines engine"
        return OnDevice(engine, next=by_hand + command)
    tried = walk.step("infer", infer, place, packed, engine, tested)
    film = video_digest(plan.recipe.benchmark.video)
    for attempt in count():
        timing = Timing(place, plan.recipe.benchmark, attempt, film)
        numbers = walk.step("benchmark", bench, timing, packed, engine)
        # What an earlier run measured, and what did not tell what was asked, is measured again.
        if walk.steps[-1].state != "cached" or not unanswered(session(numbers), plan.recipe.budget):
            break
    return OnDevice(engine, tried, numbers)


def run(
    recipe: Recipe, target: str | Target, device: str | None = None, home: Path | None = None
) -> RunReport:
    """Run the pipeline and write the run's folder.

    Args:
        recipe: what to do.
        target: name of a target, or the record itself; ``board``: what the device says that it is.
        device: ``user@host`` where the engine is built; None: here, if this machine is the target.
        home: folder of runs and store; None: ``$JETPRESS_RUNS`` or ``runs``.

    Returns:
        the record that its ``report.json`` holds; ``folder`` says where that is, ``to_dict()`` gives plain values

    Raises:
        JetpressError: see :mod:`jetpress.deploy.errors`. A budget that is not met raises nothing: see ``verdict``.
    """
    return done(resolve(recipe, target_of(target, device)), pipeline, device, home)


@not_ended()
def done(
    plan: Plan, way: Callable[[Plan, Place | None, Walk], Outcome], device: str | None, home: Path | None
) -> RunReport:
    """Walk one way to its end and write the run's folder."""
    folder = run_folder(plan, home)
    store = Store(folder.parent / ".store")
    console.say(f"jetpress: {plan.recipe.name} for {plan.target.title}")
    durations = Durations(store.durations, alike(plan, device))

    def outlook() -> list[Step]:
        looking = Looking(store, durations)
        way(plan, place, looking)
        return looking.steps

    def walk() -> RunReport:
        doing = Doing(store, needs, durations, overall, outlook)
        return summary.write(way(plan, place, doing), folder, doing)

    tracked = metrics.tracked(plan.recipe.tracking)
    with console.whole() as overall, Needs(store, folder) as needs, tracked:
        place = where(plan, device)
        for line in decisions(plan, place):
            console.detail(f"  {line}")
        report = until_whole(walk)
        needs.finished()
    return report


@not_ended()
def plan(
    recipe: Recipe, target: str | Target, device: str | None = None, home: Path | None = None
) -> list[Step]:
    """What ``run`` would do: cached, will run (and how long runs like it took) or skipped, and why.

    What can be known before training is looked at: the network is built, filled, tried on the data and exported.

    Raises:
        JetpressError: what ``run`` would say before it trains.
    """
    resolved = resolve(recipe, target_of(target, device))
    folder = run_folder(resolved, home)
    store = Store(folder.parent / ".store")
    durations = Durations(store.durations, alike(resolved, device))

    def walk() -> list[Step]:
        looking = Looking(store, durations, Doing(store, needs, durations))
        pipeline(resolved, place, looking)
        return looking.steps

    with Needs(store, folder) as needs:
        place = where(resolved, device)
        for line in decisions(resolved, place):
            console.detail(f"  {line}")
        return until_whole(walk)
