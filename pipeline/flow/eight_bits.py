"""INT8 or FP8 in the flow: after training, and with training where that does not do. What is better is kept.

``export > quantize``, and where that misses what is asked for (validation accuracy by the budget, the scores' cosine by
equivalence), or only meets it with much of the network left out, ``qat > export > quantize`` once more.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from jetpress.deploy import console
from jetpress.pipeline.recipe.resolve import Plan
from jetpress.pipeline.recipe.sections.compression import EIGHT_BITS
from jetpress.pipeline.recipe.sections.export import ExportConfig
from jetpress.pipeline.store.artifact import Checkpoint, OnnxModel
from jetpress.pipeline.store.facts.onnx_file import TOO_SENSITIVE, Quantization
from jetpress.pipeline.store.lazy import lazy_stages
from jetpress.pipeline.store.steps import Walk

with lazy_stages():
    from jetpress.pipeline.stages.export import export
    from jetpress.pipeline.stages.qat import qat
    from jetpress.pipeline.stages.quantize import quantize

MUCH = 0.25
"""Share of the weights left out as too sensitive from which training is tried, although the rest is met."""


@dataclass(frozen=True)
class Quantized:
    """The network that was quantized, and its graphs without and with Q/DQ."""

    network: Checkpoint
    floating: OnnxModel
    onnx: OnnxModel
    training: str = ""
    """Why it was trained with rounding, and whether that was kept; empty where it was not tried."""

    @property
    def known(self) -> Quantization | None:
        """What came of it; None where it is only planned."""
        return self.onnx.known.quantization if self.onnx.known else None


def out(found: Quantization) -> float:
    """Share of the weights that mixed precision left out."""
    lost = sum(one.weights for one in found.layers if one.why == TOO_SENSITIVE)
    return lost / max(1, sum(one.weights for one in found.layers))


def rank(found: Quantization) -> tuple[float, ...]:
    """Larger is better: the budget met, then with less left out, then more points."""
    points = found.points.int8
    return (1.0, -out(found), points) if found.met else (0.0, points)


def in_int8(
    plan: Plan, folded: Checkpoint, exported: OnnxModel, teacher: Checkpoint, walk: Walk
) -> Quantized:
    """The exported network in eight bits, trained for it where that is needed and helps.

    Args:
        teacher: what training learns from.
    """
    recipe = plan.recipe
    found = Quantized(folded, exported, walk.step("quantize", quantize, recipe.quantize, folded, exported))
    if why := why_not_train(recipe.quantize.qat, found.known):
        walk.skip("qat", why)
        return found
    why = "; ".join(misses(found.known)) if found.known else ""
    why = why or 'quantize.qat = "always"'
    if found.known:
        console.say(f"    training with rounding: {why}")
    trained = walk.step("qat", qat, plan.qat, folded, teacher, exported, found.onnx)
    again = walk.step("export, qat", export, recipe.export, trained)
    learnt = Quantized(
        trained, again, walk.step("quantize, qat", quantize, recipe.quantize, trained, again), f"{why}: kept"
    )
    before, after = found.known, learnt.known
    if before and after and rank(after) < rank(before):
        points = after.points.int8, before.points.int8
        lost = f"not kept: {points[0]:.2f} % with training, {points[1]:.2f} % without"
        walk.skip("qat", lost)
        return replace(found, training=f"{why}: {lost}")
    return learnt


def why_not_train(wanted: str, found: Quantization | None) -> str:
    """Why there is no quantization-aware training; empty where there is. ``found``: without it, where that is known."""
    if wanted == "always":
        return ""
    if wanted == "off":
        return 'quantize.qat = "off"'
    if found is None:
        return "tried only if quantizing after training misses what is asked for, or leaves out much of the network"
    if misses(found):
        return ""
    enough = f"{found.points.least:.2f} % and {found.least_cosine} are enough"
    return f"{found.points.int8:.2f} % and cosine {found.cosine:.4f} without it; {enough}"


def misses(found: Quantization) -> list[str]:
    """What quantization after training does not reach, in words."""
    points, said = found.points, list[str]()
    if points.int8 < points.least:
        said.append(f"{points.int8:.2f} % of validation, the budget asks for {points.least:.2f} %")
    if found.cosine < found.least_cosine:
        said.append(
            f"cosine {found.cosine:.4f} of the scores to FP32's, equivalence asks for {found.least_cosine}"
        )
    if (share := out(found)) > MUCH:
        said.append(f"{100 * share:.0f} % of the weights left out as too sensitive")
    return said


def dense_export(plan: Plan) -> ExportConfig:
    """How the dense network is exported: beside a quantized engine it runs in what the target has by default."""
    config, target = plan.recipe.export, plan.target
    if plan.recipe.build.precision not in EIGHT_BITS:
        return config
    return replace(config, fp16=target.default_precision == "fp16" and target.strongly_typed)
