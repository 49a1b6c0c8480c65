"""The pipeline of an ONNX file in hand, top to bottom: ``jetpress engine``. There is no network, no data, no training.

What is done to the file is what is done to an exported network, by the same passes; from the bundle on it is the same
walk (:mod:`jetpress.pipeline.run`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

from jetpress.benchmarks.report.record import RunReport
from jetpress.deploy.targets import Target
from jetpress.pipeline.data.given import Given, file_digest, given_samples
from jetpress.pipeline.flow.devices import target_of
from jetpress.pipeline.flow.outcome import Exports, Outcome
from jetpress.pipeline.recipe.configs import (
    BundleConfig,
    GivenConfig,
    LowerConfig,
    OnnxRun,
    Place,
    PreflightConfig,
    PruneFileConfig,
    QuantizeFileConfig,
    SameConfig,
)
from jetpress.pipeline.recipe.given import Pixels
from jetpress.pipeline.recipe.onnx_run import Shape, as_sizing, planned, reproduce
from jetpress.pipeline.recipe.resolve import Plan
from jetpress.pipeline.recipe.sections.compression import EIGHT_BITS
from jetpress.pipeline.run import done, on_device
from jetpress.pipeline.store import runs
from jetpress.pipeline.store.lazy import lazy_stages
from jetpress.pipeline.store.steps import Walk

with lazy_stages():
    from jetpress.pipeline.stages.bundle import bundle
    from jetpress.pipeline.stages.given import given
    from jetpress.pipeline.stages.halve import halve
    from jetpress.pipeline.stages.lower import lower
    from jetpress.pipeline.stages.preflight import preflight
    from jetpress.pipeline.stages.prune_file import prune_file
    from jetpress.pipeline.stages.quantize_file import quantize_file
    from jetpress.pipeline.stages.same import same
    from jetpress.pipeline.stages.samples import samples
    from jetpress.pipeline.stages.twin import twin

PIXELS = Pixels()


def from_file(plan: Plan, place: Place | None, walk: Walk) -> Outcome:
    """From an ONNX file to an engine and its numbers; ``place`` is where that is built, None where there is none."""
    recipe, target, told = plan.recipe, plan.target, plan.file
    assert told is not None
    pixels, precision = told.calibration.pixels, recipe.build.precision

    whole = file = walk.step("given", given, told.given, early=True)
    inputs = walk.step("samples", samples, told.calibration, file)
    lowering = LowerConfig(recipe.export, pixels, recipe.task)
    if told.prunes:
        least = recipe.budget.agreement / 100 if told.searches else None
        cut = PruneFileConfig(recipe.prune, recipe.equivalence, recipe.task, least)
        file = walk.step("prune", prune_file, cut, whole, inputs)
    lowered = walk.step("lower", lower, lowering, file)
    checking = SameConfig(recipe.equivalence, pixels)
    equal = walk.step("same", same, checking, file, lowered, inputs)

    made, equal_quantized = lowered, None
    if recipe.export.fp16:
        made = walk.step("FP16", halve, lowering, lowered, file, inputs)
        equal = walk.step("same, FP16", same, checking, file, made, inputs)
    elif precision in EIGHT_BITS:
        eight = QuantizeFileConfig(recipe.quantize, pixels)
        made = walk.step("quantize", quantize_file, eight, lowered, file, inputs)
        equal_quantized = walk.step(f"same, {precision.upper()}", same, checking, file, made, inputs)
    walk.step("preflight", preflight, PreflightConfig(target, precision), made)

    dense = walk.step("lower, dense", lower, lowering, whole) if told.prunes else lowered
    beside = walk.step("beside", twin, PreflightConfig(target, "fp32"), whole, dense)
    packing = BundleConfig(recipe.name, target, recipe.build, recipe.benchmark, recipe.seed, pixels=pixels)
    packed = walk.step("bundle", bundle, packing, inputs, made, beside)
    exports = Exports(beside, made, None, equal, equal_quantized)
    return Outcome(plan, exports, packed, on_device(plan, place, packed, inputs, walk))


def engine(
    model: str | Path,
    target: str | Target = "host",
    device: str | None = None,
    *,
    precision: str | None = None,
    calibration: Given = None,
    shapes: Mapping[str, Shape] | None = None,
    pixels: Pixels = PIXELS,
    input: str = "network",  # noqa: A002 - as the recipe calls it
    output: str = "scores",
    head: str | None = None,
    prune: float | Literal["auto"] | None = None,
    settings: Sequence[str] = (),
    home: Path | None = None,
) -> RunReport:
    """From an ONNX file to an engine (a bundle, where the engine is built elsewhere) and a report.

    Args:
        model: any ONNX file; weights may lie in files beside it.
        target: name of a target, or the record itself.
        device: ``user@host`` where the engine is built; None: here, if this machine is the target.
        precision: ``fp32``, ``fp16``, ``int8`` or ``fp8``; None: what the target has by default.
        calibration: a folder of images, an ``.npz`` with arrays by the names of inputs, ``file.py:function``, or the
            samples themselves: each a mapping of input name to array, or the array of the only input, or a batch as
            a loader gives it (``(inputs, target)``).
        shapes: input -> its shape, or its least, usual and largest shape; axes that the file leaves open need one.
        pixels: how an image of the folder becomes an input.
        input: ``uint8_nhwc``: camera frames in, normalised in the graph by ``pixels``.
        output: ``softmax`` or ``argmax`` over axis 1 of the first output; ``detections``: the search in the graph.
        head: how a detector's outputs are to be read, as ``task.head`` of a recipe: ``yolox``, ``yolov8``, ...
        prune: share of the multiply-adds that goes, without training: needs ``calibration``. ``auto``: the largest
            that keeps ``budget.agreement`` percent of the file's answers. There are no labels, so how near the outputs
            stay is known, and not what that costs in accuracy.
        settings: ``table.key=value`` of the tables export, quantize, equivalence, build, benchmark and budget.
        home: folder of runs and store; None: ``$JETPRESS_RUNS`` or ``runs``.

    Raises:
        JetpressError: see :mod:`jetpress.deploy.errors`; a file that cannot be taken is refused by name.
    """
    root = home or runs.home()
    found = target_of(target, device)
    sizes = {name: as_sizing(name, shape) for name, shape in (shapes or {}).items()}
    told = OnnxRun(
        GivenConfig(str(Path(model).resolve()), file_digest(Path(model)), sizes),
        given_samples(calibration, pixels, root),
        reproduce(
            model, found.name, precision, calibration, sizes, pixels, input, output, head, settings, prune
        ),
    )
    tables = {"export": {"input": input, "output": output}, "task": {"head": head} if head else {}}
    return done(planned(told, found, precision, settings, tables, prune), from_file, device, root)
