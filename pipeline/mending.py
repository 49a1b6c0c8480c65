"""What ``jetpress engine`` would mend by itself in a file that a target's parser does not take as it is."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import onnx

from jetpress.deploy.errors import JetpressError
from jetpress.deploy.onnx_file import guard
from jetpress.deploy.preflight.compatibility import preflight
from jetpress.deploy.preflight.verdict import Verdict
from jetpress.deploy.targets import Target, find
from jetpress.pipeline.graph.exporting import opset_of, write
from jetpress.pipeline.graph.foreign import as_taken, opset_for
from jetpress.pipeline.graph.shapes import settle
from jetpress.pipeline.recipe.reading import Recipe
from jetpress.pipeline.recipe.resolve import resolve
from jetpress.pipeline.recipe.sections.data import DataConfig


def mends(path: Path, target_name: str) -> list[str]:
    """Lines: what is wrong with the file as it is and right with what ``jetpress engine`` makes of it, and the rest."""
    target = find(target_name)
    before = _errors(preflight(path, target, trial=False))
    if not before:
        return []
    command = f"`jetpress engine {path.name} --target {target.name}`"
    try:
        after = _errors(_lowered(path, target))
    except JetpressError as error:
        return [
            f"engine:  {command} needs more to mend it: {error.what.splitlines()[0]}",
            f"         hint: {error.hint}",
        ]
    mended = [reason for reason in before if reason not in after]
    lines = [f"engine:  {command} mends {reason}" for reason in mended]
    return [*lines, *(f"engine:  it stays: {reason}" for reason in before if reason in after)]


def _lowered(path: Path, target: Target) -> Verdict:
    guard.check_onnx(path.resolve())
    proto = onnx.load(path)
    inputs, _ = settle(proto, {})
    export = opset_for(resolve(Recipe(name="check"), target).recipe.export, opset_of(proto))
    model, _ = as_taken(proto, inputs, export, DataConfig())
    with tempfile.TemporaryDirectory() as folder:
        write(model, Path(folder) / "model.onnx")
        return preflight(Path(folder) / "model.onnx", target, trial=False)


def _errors(found: Verdict) -> list[str]:
    return list(dict.fromkeys(_reasons(found)))


def _reasons(found: Verdict) -> Iterator[str]:
    for one in found.problems:
        if one.level == "error":
            yield f"{one.op + ': ' if one.op else ''}{one.what}"
