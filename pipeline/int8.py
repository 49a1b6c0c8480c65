"""INT8 in the flow: after training, and with training where that does not do. What is better is kept.

``export > quantize``, and where validation accuracy misses the budget, or only meets it with much of the network left
out, ``qat > export > quantize`` once more.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from pipeline.artifact import Checkpoint, OnnxModel
from pipeline.late import late
from pipeline.recipe import Plan
from pipeline.sections import ExportConfig
from pipeline.steps import Walk

if TYPE_CHECKING:
    from pipeline.export import export
    from pipeline.qat import qat
    from pipeline.quantize import quantize
else:
    export, qat, quantize = (late(f"pipeline.{name}:{name}") for name in ("export", "qat", "quantize"))

MUCH = 0.25
"""Share of the weights left out of INT8 from which training is tried, although the budget is met."""


@dataclass(frozen=True)
class Quantized:
    """The network that was quantized, and its graphs without and with Q/DQ."""

    network: Checkpoint
    floating: OnnxModel
    onnx: OnnxModel

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
    """The exported network in INT8, trained for it where that is needed and helps.

    Args:
        teacher: what training learns from.
    """
    recipe = plan.recipe
    found = Quantized(folded, exported, walk.step("quantize", quantize, recipe.quantize, folded, exported))
    if why := why_not_train(recipe.quantize.qat, found):
        walk.skip("qat", why)
        return found
    trained = walk.step("qat", qat, recipe.qat, folded, teacher, exported, found.onnx)
    again = walk.step("export, qat", export, recipe.export, trained)
    learnt = Quantized(trained, again, walk.step("quantize, qat", quantize, recipe.quantize, trained, again))
    if learnt.facts and found.facts and learnt.rank < found.rank:
        walk.skip("qat", f"not kept: {learnt.points:.2f} % with training, {found.points:.2f} % without")
        return found
    return learnt


def why_not_train(wanted: str, found: Quantized) -> str:
    """Why there is no quantization-aware training; empty where there is."""
    if wanted == "always":
        return ""
    if wanted == "off":
        return 'quantize.qat = "off"'
    if not found.facts:
        return "tried only if quantizing after training misses the budget, or leaves out much of the network"
    if not found.facts["met"] or found.out > MUCH:
        return ""
    return f"{found.points:.2f} % without it, {found.facts['validation']['least']:.2f} % are enough"


def dense_export(plan: Plan) -> ExportConfig:
    """How the dense network is exported: beside an INT8 engine it runs in what the target has by default."""
    config, target = plan.recipe.export, plan.target
    if plan.recipe.build.precision != "int8":
        return config
    return replace(config, fp16=target.default_precision == "fp16" and target.strongly_typed)
