"""Stage: will the target's TensorRT take this file? Asked before anything is sent to a board."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

from jetpress.deploy import console
from jetpress.deploy.errors import StageError
from jetpress.deploy.preflight import compatibility, verdict
from jetpress.deploy.preflight.verdict import Verdict
from jetpress.pipeline.recipe.configs import PreflightConfig
from jetpress.pipeline.store.artifact import Clearance, OnnxModel
from jetpress.pipeline.store.facts.onnx_file import ClearanceFacts


def preflight(config: PreflightConfig, onnx_model: OnnxModel, draft: Path) -> Clearance:
    """Hold the file against the operator tables of the target's parser.

    Raises:
        StageError: it will not run there; the first reason and its remedy are in the message.
    """
    found = cleared(onnx_model.path / "model.onnx", config)
    lines = verdict.explain(found)
    warned = any(one.level == "warning" for one in found.problems)
    for line in lines[1:]:
        (console.say if warned else console.detail)(f"    {line}")
    (draft / "preflight.json").write_text(json.dumps(asdict(found), indent=1, default=str))
    nodes = sum(found.nodes.values())
    table = f"TensorRT {found.table}{' (derived)' if found.derived else ''}" if found.table else found.backend
    return Clearance(draft, ClearanceFacts(f"{nodes} nodes, all taken by {table}"))


def cleared(path: Path, config: PreflightConfig) -> Verdict:
    """What the preflight says of a file that the target takes.

    Raises:
        StageError: it does not; the first reason and its remedy are in the message.
    """
    found = compatibility.preflight(path, config.target, precision=config.precision)
    if not found.ok:
        lines = verdict.explain(found)
        raise StageError(f"preflight: {lines[0]}", " ".join(line.strip() for line in lines[1:4]))
    return found
