"""docs/first_run.ipynb runs from top to bottom, and shows what its text says."""

from __future__ import annotations

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from tests.test_prose import ROOT


def test_the_notebook_runs_from_top_to_bottom(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JETPRESS_RUNS", str(tmp_path))
    notebook = nbformat.read(ROOT / "docs" / "first_run.ipynb", as_version=4)
    assert not any(cell.get("outputs") for cell in notebook.cells), "it is kept without outputs"
    NotebookClient(notebook, timeout=170, kernel_name="python3").execute(cwd=str(tmp_path))
    shown = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    assert not [output for output in shown if output.output_type == "error"]
    words = "".join(output.get("text", "") for output in shown)
    assert "multiply-adds:" in words
    assert str(tmp_path) in words, "it ran there"
    pictures = [output for output in shown if "<iframe" in output.get("data", {}).get("text/html", "")]
    assert len(pictures) >= 3
    (run,) = tmp_path.glob("first-host-*")
    assert (run / "report.html").is_file()
