"""What a target made of a recipe, in words: for who asks with ``-v``."""

from __future__ import annotations

from collections.abc import Iterator

from jetpress.pipeline.recipe.configs import Place
from jetpress.pipeline.recipe.resolve import Plan


def decisions(plan: Plan, place: Place | None) -> Iterator[str]:
    """Lines: what was decided, and why."""
    recipe, target = plan.recipe, plan.target
    parser = f"TensorRT {target.tensorrt}" if target.tensorrt else target.runtime.title
    config, quantized = recipe.export, recipe.quantize
    yield f"ONNX opset {config.opset}: {parser} parses up to {target.newest_opset}"
    if config.lower:
        yield f"written as primitives, which it lacks: {', '.join(config.lower)}"
    yield f"precision {recipe.build.precision}: it has {', '.join(target.precisions)}"
    if config.fp16:
        yield "FP16 is in the file: this TensorRT takes types from the graph"
    if recipe.build.precision in ("int8", "fp8"):
        yield f"Q/DQ as {quantized.dialect} reads them, the rest in {quantized.rest}"
    if "prune" not in plan.skipped:
        yield f"widths in multiples of {recipe.prune.channel_multiple}, in at most {recipe.prune.rounds} rounds"
    for stage, why in plan.skipped.items():
        yield f"{stage} is skipped: {why}"
    if place is None:
        yield "no device: it ends with a bundle"
    else:
        known = ", ".join(f"{key} {value}" for key, value in place.identity.items() if value)
        yield f"built and measured on {place.device or 'this machine'}: {known}"
