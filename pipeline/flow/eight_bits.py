"""INT8 or FP8 in the flow: after training, and with training where that does not do. What is better is kept.

``export > quantize``, and where that misses what is asked for (validation accuracy by the budget, the scores' cosine by
equivalence), or only meets it with much of the network left out, ``qat > export > quantize`` once more.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from jetpress.deploy import console
from jetpress.pipeline.recipe.resolve import Plan
from jetpress.pipeline.recipe.sections.compression import EIGHT_BITS
from jetpress.pipeline.recipe.sections.export import ExportConfig
from jetpress.pipeline.store.artifact import Checkpoint, OnnxModel
from jetpress.pipeline.store.late import late_stages
from jetpress.pipeline.store.steps import Walk

with late_stages():
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
    def facts(self) -> dict[str, Any]:
        """Of the quantization; empty where it is only planned."""
        found: dict[str, Any] = self.onnx.facts.get("quantization", {})
        return found

    @property
    def points(self) -> float:
        """On validation images."""
        return float(self.facts["validation"]["int8"])

    @property
    def out(self) -> float:
        """Share of the weights that mixed precision left out."""
        layers = self.facts["layers"]
        whole = sum(one["weights"] for one in layers)
        return float(sum(one["weights"] for one in layers if one["why"] == "too sensitive") / max(1, whole))

    @property
    def rank(self) -> tuple[float, ...]:
        """Larger is better: the budget met, then with less left out, then more points."""
        return (1.0, -self.out, self.points) if self.facts["met"] else (0.0, self.points)


def in_int8(
    plan: Plan, folded: Checkpoint, exported: OnnxModel, teacher: Checkpoint, walk: Walk
) -> Quantized:
    """The exported network in eight bits, trained for it where that is needed and helps.

    Args:
        teacher: what training learns from.
    """
    recipe = plan.recipe
    found = Quantized(folded, exported, walk.step("quantize", quantize, recipe.quantize, folded, exported))
    if why := why_not_train(recipe.quantize.qat, found):
        walk.skip("qat", why)
        return found
    why = "; ".join(misses(found)) or 'quantize.qat = "always"'
    if found.facts:
        console.say(f"    training with rounding: {why}")
    trained = walk.step("qat", qat, plan.qat, folded, teacher, exported, found.onnx)
    again = walk.step("export, qat", export, recipe.export, trained)
    learnt = Quantized(
        trained, again, walk.step("quantize, qat", quantize, recipe.quantize, trained, again), f"{why}: kept"
    )
    if learnt.facts and found.facts and learnt.rank < found.rank:
        lost = f"not kept: {learnt.points:.2f} % with training, {found.points:.2f} % without"
        walk.skip("qat", lost)
        return replace(found, training=f"{why}: {lost}")
    return learnt


def why_not_train(wanted: str, found: Quantized) -> str:
    """Why there is no quantization-aware training; empty where there is."""
    if wanted == "always":
        return ""
    if wanted == "off":
        return 'quantize.qat = "off"'
    if not found.facts:
        return "tried only if quantizing after training misses what is asked for, or leaves out much of the network"
    if misses(found):
        return ""
    least, cosine = found.facts["validation"]["least"], found.facts["cosine"]
    enough = f"{least:.2f} % and {found.facts['least_cosine']} are enough"
    return f"{found.points:.2f} % and cosine {cosine:.4f} without it; {enough}"


def misses(found: Quantized) -> list[str]:
    """What quantization after training does not reach, in words."""
    facts, said = found.facts, list[str]()
    if not facts:
        return said
    if found.points < (least := facts["validation"]["least"]):
        said.append(f"{found.points:.2f} % of validation, the budget asks for {least:.2f} %")
    if facts["cosine"] < facts["least_cosine"]:
        said.append(
            f"cosine {facts['cosine']:.4f} of the scores to FP32's, equivalence asks for {facts['least_cosine']}"
        )
    if found.out > MUCH:
        said.append(f"{100 * found.out:.0f} % of the weights left out as too sensitive")
    return said


def dense_export(plan: Plan) -> ExportConfig:
    """How the dense network is exported: beside a quantized engine it runs in what the target has by default."""
    config, target = plan.recipe.export, plan.target
    if plan.recipe.build.precision not in EIGHT_BITS:
        return config
    return replace(config, fp16=target.default_precision == "fp16" and target.strongly_typed)
