"""Stage: what a file that was given is timed beside: itself, as it is, where the target's parser takes that.

Where it does not (an opset that came later, an operator that the parser lacks), the same file in FP32 as the parser
takes it.
"""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

from jetpress.deploy import console
from jetpress.deploy.preflight import compatibility
from jetpress.pipeline.recipe.configs import PreflightConfig
from jetpress.pipeline.store.artifact import OnnxModel


def twin(config: PreflightConfig, given: OnnxModel, lowered: OnnxModel, draft: Path) -> OnnxModel:
    """A copy of one of the two files."""
    found = compatibility.preflight(given.path / "model.onnx", config.target, precision="fp32")
    reasons = [
        f"{one.op + ': ' if one.op else ''}{one.what}" for one in found.problems if one.level == "error"
    ]
    if given.facts.inputs != lowered.facts.inputs:
        reasons.append("its inputs are others")
    chosen, said = (lowered, f"as lowered, in FP32: {reasons[0]}") if reasons else (given, "as it was given")
    if reasons:
        console.say(f"    the file as given does not run there ({len(reasons)} reasons): {reasons[0]}")
    for one in chosen.path.glob("model.onnx*"):
        shutil.copyfile(one, draft / one.name)
    return OnnxModel(draft, replace(chosen.facts, headline=said))
