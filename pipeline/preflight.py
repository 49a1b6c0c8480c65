"""Stage: will the target's TensorRT take this file? Asked before anything is sent to a board."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from deploy import console
from deploy import preflight as tables
from deploy.errors import StageError
from deploy.preflight import verdict
from deploy.targets import Target
from pipeline.artifact import Clearance, OnnxModel


@dataclass(frozen=True)
class PreflightConfig:
    """For whom, and in which precision."""

    target: Target
    precision: str


def preflight(config: PreflightConfig, onnx_model: OnnxModel, draft: Path) -> Clearance:
    """Hold the file against the operator tables of the target's parser.

    Raises:
        StageError: it will not run there; the first reason and its remedy are in the message.
    """
    found = tables.preflight(onnx_model.path / "model.onnx", config.target, precision=config.precision)
    lines = verdict.explain(found)
    if not found.ok:
        raise StageError(f"preflight: {lines[0]}", " ".join(line.strip() for line in lines[1:4]))
    for line in lines[1:]:
        console.say(f"    {line}")
    (draft / "preflight.json").write_text(json.dumps(asdict(found), indent=1, default=str))
    nodes = sum(found.nodes.values())
    table = f"TensorRT {found.table}{' (derived)' if found.derived else ''}" if found.table else found.backend
    return Clearance(draft, {"headline": f"{nodes} nodes, all taken by {table}"})
