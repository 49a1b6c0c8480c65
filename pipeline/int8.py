"""INT8 in the flow: after training, and with training where that misses the budget. What is best is kept.

``export > quantize``, and where validation accuracy misses the budget ``qat > export > quantize`` once more.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from pipeline.artifact import Checkpoint, OnnxModel
from pipeline.late import late
from pipeline.recipe import Plan
from pipeline.sections import ExportConfig
from pipeline.steps import Walk

if TYPE_CHECKING:
    from pipeline.quantize import quantize
else:
    quantize = late("pipeline.quantize:quantize")


@dataclass(frozen=True)
class Quantized:
    """The network that was quantized, and its graph with Q/DQ."""

    network: Checkpoint
    onnx: OnnxModel

    @property
    def points(self) -> float:
        """On validation images; known once it was made."""
        return float(self.onnx.facts.get("quantization", {}).get("validation", {}).get("int8", 0.0))


def in_int8(plan: Plan, folded: Checkpoint, exported: OnnxModel, walk: Walk) -> Quantized:
    """The exported network in INT8."""
    return Quantized(folded, walk.step("quantize", quantize, plan.recipe.quantize, folded, exported))


def dense_export(plan: Plan) -> ExportConfig:
    """How the dense network is exported: beside an INT8 engine it runs in what the target has by default."""
    config, target = plan.recipe.export, plan.target
    if plan.recipe.build.precision != "int8":
        return config
    return replace(config, fp16=target.default_precision == "fp16" and target.strongly_typed)
