"""`jetpress runs`: every run's folder is listed, whatever has become of it."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from jetpress.pipeline import listing
from jetpress.pipeline.cli import main
from jetpress.pipeline.store.needs import Needs
from jetpress.pipeline.store.store import Store
from tests.benchmarks.runs import bare


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("JETPRESS_RUNS", str(tmp_path))
    return tmp_path


def finished(home: Path, name: str, **changes: object) -> Path:
    folder = home / name
    folder.mkdir()
    (folder / "report.json").write_text(json.dumps(bare() | changes))
    return folder


def test_runs_of_every_kind_are_listed(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    finished(home, "good-host-01234567")
    (finished(home, "cut-orin-nano-01234567") / "report.json").write_text('{"format": 1,')
    finished(home, "old-host-01234567", format=0)
    with Needs(Store(home / ".store"), home / "killed-agx-orin-01234567"):
        pass
    (home / "notes").mkdir()
    with Needs(Store(home / ".store"), home / "going-host-01234567"):
        rows = {row.id: row for row in listing.runs(home)}
        assert main(["runs"]) == 0
    assert {name: row.state for name, row in rows.items()} == {
        "good-host-01234567": "finished",
        "cut-orin-nano-01234567": "damaged",
        "old-host-01234567": "damaged",
        "killed-agx-orin-01234567": "unfinished",
        "going-host-01234567": "running",
    }
    assert rows["cut-orin-nano-01234567"].target == "orin-nano"
    assert rows["killed-agx-orin-01234567"].name == "killed"
    shown = capsys.readouterr()
    assert "damaged: report.json is damaged: it is not whole JSON" in shown.out
    assert "has format 0, this jetpress reads 1" in shown.out
    assert "5 runs" in shown.err


def test_speed_and_change_are_those_of_the_report(home: Path) -> None:
    ratio = {"value": 3.467, "low": 3.391, "high": 3.523}
    sizes = {"parameters": 4.0, "macs": 4.0, "size": 4.0}
    finished(home, "a-host-01234567", ratios={**sizes, "latency": ratio})
    finished(home, "b-host-01234567", ratios={**sizes, "latency": {**ratio, "state": "unknown"}})
    known, unknown = listing.runs(home)
    assert known.speed == listing.Speed(value=3.467, low=3.391, high=3.523, claimed=True)
    assert "3.47x (3.39 to 3.52)" in listing.table([known])[1]
    assert "3.47x (3.39 to 3.52), not claimed" in listing.table([unknown])[1]


def test_sizes_are_exact_and_count_a_file_once(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = finished(home, "a-host-01234567")
    (folder / "bundle").mkdir()
    (folder / "bundle" / "model.onnx").write_bytes(bytes(12345))
    (folder / "again.onnx").hardlink_to(folder / "bundle" / "model.onnx")
    (folder / "elsewhere").symlink_to("/usr")
    expected = (folder / "report.json").stat().st_size + 12345 + len(os.fsencode("/usr"))
    assert main(["runs", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["runs"][0]["bytes"] == expected
    assert told["store_bytes"] == 0


def test_without_runs_it_says_so(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["runs"]) == 0
    assert f"there are no runs in {home}/" in capsys.readouterr().err
    assert main(["runs", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["runs"] == []
