"""What a target makes of a recipe: its values where the recipe leaves them open, and what cannot pay there.

The target first refuses what it does not have, in a fixed order: one thing is said at a time, the same each time.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from jetpress.deploy.errors import RecipeError
from jetpress.deploy.targets import Target
from jetpress.pipeline.recipe.configs import OnnxRun
from jetpress.pipeline.recipe.reading import Recipe
from jetpress.pipeline.recipe.retraining import Retraining, finetuning, with_rounding, written
from jetpress.pipeline.recipe.sections.compression import EIGHT_BITS, PruneConfig, QuantizeConfig
from jetpress.pipeline.recipe.sections.device import BenchmarkConfig, BuildConfig, Precision
from jetpress.pipeline.recipe.sections.export import ExportConfig
from jetpress.pipeline.recipe.sections.training import FinetuneConfig

NEW_QDQ_SINCE, NEW_QDQ = 19, 20
"""The first opset whose Q/DQ take FP16 and FP8, and the one that is written then."""


@dataclass(frozen=True)
class Plan:
    """A recipe for one target: every value decided, and what will not be done, with the reason."""

    recipe: Recipe
    target: Target
    finetune: Retraining
    qat: Retraining
    skipped: Mapping[str, str] = field(hash=False)
    """Stage name -> why it is not for this target or this recipe."""
    file: OnnxRun | None = None
    """The ONNX file that it begins with; None: it begins with the recipe's network."""


def resolve(recipe: Recipe, target: Target) -> Plan:
    """Put the target's values where the recipe leaves them open, and say what cannot pay there.

    Raises:
        RecipeError: the recipe asks for what the target does not have.
    """
    target = target.built_for(recipe.build.compute_capabilities)
    _refuse_fp8(recipe, target)
    _refuse_dynamic(recipe, target)
    rest = _rest(recipe, target)
    opset = _opset(recipe, target, rest)
    precision = _precision(recipe, target)
    _refuse_ends(recipe.export, target)
    _refuse_provider(recipe.build, target)
    _refuse_for_boards(recipe.benchmark, target)
    _refuse_fp16_file(recipe.export, precision)
    budget = recipe.budget.accuracy_drop
    tuned = finetuning(recipe.finetune, recipe.train, budget)
    rounded = with_rounding(recipe.qat, tuned.training)
    decided = replace(
        recipe,
        prune=_prune(recipe, target, precision),
        finetune=_with_budget(written(recipe.finetune, tuned.training), budget),
        qat=written(recipe.qat, rounded.training),
        export=_export(recipe.export, target, opset, precision),
        quantize=_without_qat(_quantize(recipe.quantize, target, precision, rest, budget), recipe, tuned),
        build=replace(recipe.build, precision=precision),
    )
    return Plan(decided, target, tuned, rounded, _skipped(recipe, target))


def for_all(recipe: Recipe, targets: Sequence[Target]) -> Recipe:
    """The recipe with widths in multiples that fill the hardware of every target, where it leaves them open.

    Then one pruned and fine-tuned network serves all of them. A goal in time is measured on each target by itself.

    Raises:
        RecipeError: a target refuses the recipe.
    """
    asked = recipe.prune
    multiples = {resolve(recipe, target).recipe.prune.channel_multiple or 1 for target in targets}
    if len(multiples) < 2 or asked.channel_multiple or asked.ratio == 0 or asked.needs_time:
        return recipe
    return replace(recipe, prune=replace(asked, channel_multiple=math.lcm(*multiples)))


def _prune(recipe: Recipe, target: Target, precision: str) -> PruneConfig:
    """With what the recipe leaves to us."""
    asked = recipe.prune
    scope = asked.scope or ("measured" if asked.needs_time or asked.macs or asked.params else "uniform")
    return replace(asked, scope=scope, channel_multiple=asked.channel_multiple or target.multiple(precision))


def _refuse_fp8(recipe: Recipe, target: Target) -> None:
    """FP8 where the target has none, or written as it cannot be."""
    if recipe.build.precision != "fp8":
        return
    if why := target.why_not_fp8:
        ada = ', or set build.compute_capabilities = ["8.9"] (Ada)' if target.runtime.ahead_of_time else ""
        raise RecipeError(
            f'build.precision = "fp8" for {target.title}: {why}',
            f'take build.precision = "int8"{ada}'
            if "int8" in target.precisions
            else 'take build.precision = "fp16"',
        )
    if recipe.export.opset and recipe.export.opset < NEW_QDQ_SINCE:
        raise RecipeError(
            f"export.opset = {recipe.export.opset}, and Q/DQ take FP8 since opset {NEW_QDQ_SINCE}",
            f"leave export.opset out: {NEW_QDQ} is written then",
        )
    if recipe.quantize.method == "entropy":
        raise RecipeError(
            'quantize.method = "entropy" counts evenly spaced levels, and FP8 has none',
            'take "auto", "max", "percentile" or "mse"',
        )


def _refuse_dynamic(recipe: Recipe, target: Target) -> None:
    """Ranges that are found while the engine runs, where its runtime has none, or nothing learns them."""
    if recipe.quantize.method != "dynamic" or recipe.build.precision not in EIGHT_BITS:
        return
    if target.dialect(recipe.build.precision) != "onnxruntime":
        raise RecipeError(
            f'quantize.method = "dynamic" for {target.title}: TensorRT has no dynamic quantization. Its ranges are '
            "calibrated and constants of the engine, and its LSTM computes in FP16 or FP32",
            'take method = "auto", which leaves LSTMs in FP16, or build.precision = "fp16"',
        )
    if recipe.quantize.qat == "always":
        raise RecipeError(
            'quantize.method = "dynamic" and quantize.qat = "always" exclude each other',
            "training with rounding learns ranges that are calibrated",
        )


def _rest(recipe: Recipe, target: Target) -> Literal["fp16", "fp32"]:
    """What an INT8 or FP8 file computes the rest in.

    Raises:
        RecipeError: FP16 at an opset whose Q/DQ have none.
    """
    wanted, opset, precision = recipe.quantize.rest, recipe.export.opset, recipe.build.precision
    typed = target.strongly_typed and not target.flags(precision)
    can = typed and (opset is None or opset >= NEW_QDQ_SINCE)
    if precision not in EIGHT_BITS or wanted == "fp32" or (wanted is None and not can):
        return "fp32"
    if not can:
        raise RecipeError(
            f'quantize.rest = "fp16", and {target.title} needs no FP16 in the file, or the opset has none for Q/DQ',
            f"leave it out, or set export.opset = {NEW_QDQ} for a target without precision flags (rtx)",
        )
    return "fp16"


def _opset(recipe: Recipe, target: Target, rest: Literal["fp16", "fp32"]) -> int:
    """The opset of the file: the target's own, or the one whose Q/DQ take FP16 and FP8 where they are needed.

    Raises:
        RecipeError: the target's parser is older.
    """
    newer = rest == "fp16" or recipe.build.precision == "fp8"
    opset = recipe.export.opset or (NEW_QDQ if newer else target.opset)
    if opset > target.newest_opset:
        raise RecipeError(
            f"export.opset = {opset}, but {target.title} parses at most opset {target.newest_opset}",
            f"leave export.opset out: {target.opset} is written then",
        )
    return opset


def _precision(recipe: Recipe, target: Target) -> Precision:
    """What the engine runs in.

    Raises:
        RecipeError: the target does not.
    """
    asked = recipe.build.precision
    precision = target.default_precision if asked == "auto" else asked
    if precision not in target.precisions:
        raise RecipeError(
            f"build.precision = {precision!r}, but {target.title} runs {', '.join(target.precisions)}",
            "choose one of these, or leave it out",
        )
    return precision


def _refuse_provider(config: BuildConfig, target: Target) -> None:
    """The providers are ONNX Runtime's."""
    if config.provider != "cpu" and target.backend != "onnxruntime":
        raise RecipeError(
            f'build.provider = "{config.provider}" is for ONNX Runtime, and the engine of {target.title} is '
            f"{target.runtime.title}'s",
            "leave it out, or take --target host",
        )


def _refuse_for_boards(config: BenchmarkConfig, target: Target) -> None:
    """A GPU of its own memory copies, and only a Jetson has power modes."""
    if target.is_board:
        return
    if config.memory == "mapped":
        raise RecipeError(
            f'benchmark.memory = "mapped" is for boards, whose GPU has its memory with the CPU, not for {target.title}',
            "leave it out",
        )
    if config.power_modes is not None:
        raise RecipeError(
            f'benchmark.power_modes = "{config.power_modes}" is for boards: {target.title} has no power modes',
            "leave it out",
        )


def _refuse_ends(config: ExportConfig, target: Target) -> None:
    """Inputs and outputs that the target's TensorRT lacks."""
    if config.input == "uint8_nhwc" and not target.uint8_input:
        raise RecipeError(
            f'export.input = "uint8_nhwc", but TensorRT {target.tensorrt} of {target.title} has no UINT8 inputs',
            "leave export.input out, and normalise before the engine (TensorRT 8.5 is the first that has them)",
        )
    if config.output == "detections" and not target.suppression:
        raise RecipeError(
            f'export.output = "detections", but the TensorRT of {target.title} has no NonMaxSuppression of its own',
            "leave export.output out: the runner searches the raw boxes and scores (TensorRT 8.5 has it)"
            + ('; its plugin EfficientNMS_TRT does it with "efficient_nms"' if target.efficient_nms else ""),
        )
    if config.output == "efficient_nms" and not target.efficient_nms:
        raise RecipeError(
            f'export.output = "efficient_nms": {target.title} is not known to have the plugin EfficientNMS_TRT',
            'take "detections"'
            if target.suppression
            else "leave export.output out: the runner searches the raw boxes",
        )


def _refuse_fp16_file(config: ExportConfig, precision: Precision) -> None:
    """A file whose types are FP16 already has no place for Q/DQ."""
    if precision in EIGHT_BITS and config.fp16:
        raise RecipeError(
            f'build.precision = "{precision}" and export.fp16 = true: Q/DQ are put into an FP32 graph',
            "leave export.fp16 out; what is not in eight bits runs in FP16 where the target has it",
        )


def _with_budget(config: FinetuneConfig, budget: float) -> FinetuneConfig:
    """Another budget is no other training, unless it decides when to stop."""
    if config.stop_margin is None or config.accuracy_drop is not None:
        return config
    return replace(config, accuracy_drop=budget)


def _export(config: ExportConfig, target: Target, opset: int, precision: Precision) -> ExportConfig:
    fp16 = precision == "fp16" and target.strongly_typed
    return replace(
        config,
        opset=opset,
        ir_version=config.ir_version or (target.ir_version if opset <= target.opset else None),
        lower=target.lower if config.lower is None else config.lower,
        parser=target.tensorrt if config.parser is None else config.parser,
        int64_io=target.int64_io if config.int64_io is None else config.int64_io,
        fp16=fp16 if config.fp16 is None else config.fp16,
    )


def _quantize(
    config: QuantizeConfig,
    target: Target,
    precision: Precision,
    rest: Literal["fp16", "fp32"],
    budget: float,
) -> QuantizeConfig:
    return replace(
        config,
        dialect=config.dialect or target.dialect(precision),
        rest=rest,
        accuracy_drop=budget if config.accuracy_drop is None else config.accuracy_drop,
        qat="off" if config.method == "dynamic" else config.qat,
    )


def _without_qat(config: QuantizeConfig, recipe: Recipe, tuned: Retraining) -> QuantizeConfig:
    """Training with rounding is jetpress's own loop: it does not know the loss of another trainer."""
    unknown = tuned.training.trainer is not None and recipe.data.loss is None
    return replace(config, qat="off") if unknown and config.qat == "auto" else config


def _skipped(recipe: Recipe, target: Target) -> dict[str, str]:
    """Stages that have nothing to do, or that cannot pay."""
    skipped, sparsify = {}, recipe.sparsify
    if recipe.train.epochs == 0:
        skipped["train"] = "train.epochs = 0: the weights given are the dense baseline"
    if recipe.prune.ratio == 0:
        skipped["prune"] = "prune.ratio = 0"
    if sparsify.mode == "off":
        skipped["sparsify"] = 'sparsify.mode = "off"'
    elif sparsify.mode == "auto" and sparsify.pattern not in ("2:4", "1:4"):
        skipped["sparsify"] = (
            f'{sparsify.pattern} zeros buy no time on any target; for a study set sparsify.mode = "force"'
        )
    elif sparsify.mode == "auto" and target.why_not_sparse:
        skipped["sparsify"] = target.why_not_sparse
    return skipped
