"""Runtimes that are here are asked themselves."""

from __future__ import annotations

from pathlib import Path

import pytest

from jetpress.deploy.onnx_file import guard
from jetpress.deploy.preflight import graph, trial
from jetpress.deploy.preflight.compatibility import preflight
from jetpress.deploy.preflight.verdict import explain
from jetpress.deploy.targets import find
from studies.hard_graphs import SAMPLE, node, small
from tests.deploy.preflight.graphs import (
    HARD,
    SAME,
    custom,
    said,
    verdict,
)


def test_the_host_is_asked_itself(tmp_path: Path) -> None:
    found = verdict(tmp_path, [node("Relu", ["x"], ["y"])], [SAMPLE], [SAME], target="host", trial=None)
    assert found.ok
    assert found.trial is not None
    assert found.trial.by == "ONNX Runtime"
    assert "asked ONNX Runtime" in explain(found)[1]
    path = tmp_path / "model.onnx"
    path.write_bytes(custom("com.acme", "Warp").SerializeToString())
    found = preflight(path, find("host"))
    assert not found.ok
    assert "Warp" in said(found)


def test_tensorrt_rtx_builds_for_a_gpu_that_is_not_here(tmp_path: Path) -> None:
    pytest.importorskip("tensorrt_rtx")
    found = verdict(tmp_path, [node("Relu", ["x"], ["y"])], [SAMPLE], [SAME], target="orin-nano", trial=True)
    assert found.ok
    assert found.trial is not None
    assert (found.trial.stage, found.trial.ok) == ("build", True)
    HARD["NonZero"].write(tmp_path / "model.onnx")
    found = preflight(tmp_path / "model.onnx", find("orin-nano"), trial=True)
    assert found.ok
    assert "says nothing about the board" in said(found, "note")
    assert not preflight(tmp_path / "model.onnx", find("rtx")).ok
    HARD["MaxPool over 4 dimensions"].write(tmp_path / "model.onnx")
    assert "cannot parse it" in said(preflight(tmp_path / "model.onnx", find("rtx")))


def test_a_runtime_that_is_not_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trial.importlib.util, "find_spec", lambda name: None)
    found = verdict(tmp_path, [node("Relu", ["x"], ["y"])], [SAMPLE], [SAME], trial=True)
    assert found.ok
    assert "not installed" in said(found, "note")


def test_a_runtime_that_does_not_end(tmp_path: Path) -> None:
    small([node("Relu", ["x"], ["y"])], [SAMPLE], [SAME])(tmp_path / "model.onnx")
    read = graph.inferred(guard.check_onnx(tmp_path / "model.onnx"))
    found = trial.attempt("onnxruntime", read, limit_s=0.01)
    assert found is not None
    assert found.ok is None
    assert "did not finish" in found.error


def test_a_runtime_that_takes_too_much_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trial, "MOST_MEMORY", 2**26)
    found = verdict(tmp_path, [node("Relu", ["x"], ["y"])], [SAMPLE], [SAME], target="host", trial=True)
    assert "did not finish within 0.1 GiB of memory" in said(found, "warning")
    assert "--no-trial" in explain(found)[-1]


def test_what_was_not_tried_is_said(tmp_path: Path) -> None:
    found = verdict(tmp_path, [node("Relu", ["x"], ["y"])], [SAMPLE], [SAME], target="host", trial=False)
    assert found.ok
    assert "ONNX Runtime was not asked: --no-trial" in said(found, "note")


def test_modules_where_the_user_stands_are_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    HARD["Resize linear"].write(tmp_path / "model.onnx")
    for name in ("onnx.py", "numpy.py", "deploy.py"):
        (tmp_path / name).write_text("open('canary', 'w').write('run')")
    monkeypatch.chdir(tmp_path)
    assert preflight(Path("model.onnx"), find("host"), trial=True).ok
    assert not (tmp_path / "canary").exists()
