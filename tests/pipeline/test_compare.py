"""`jetpress compare`: side by side where both can run, refused where the ruler differs, else what was recorded."""

from __future__ import annotations

import json
import random
import re
import shutil
import sys
from pathlib import Path
from typing import Any

import onnx
import pytest
from pydantic import TypeAdapter

from jetpress.deploy.errors import BenchmarkInvalid, DeviceError, RecipeError
from jetpress.deploy.runner.__main__ import main as runner
from jetpress.pipeline.cli import main
from jetpress.pipeline.compare import Compared, compare, in_words
from tests.benchmarks.runs import bare
from tests.deploy import sshd
from tests.deploy.runner_bundles import bundle, network, seal

KNOBS = {"backend": "onnxruntime", "version": "1", "threads": 1, "batch": 2, "transfers": False, "spin_wait": True,
         "cuda_graph": False, "overlap": False, "streams": 1, "power_mode": None, "clocks_locked": False}  # fmt: skip

BRIEFLY = {"seconds": 0.3, "runs": 64, "warmup_ms": 50, "warmup_max_ms": 500, "max_seconds": 2.0}
"""Three sessions: they tell a network that is several times as fast."""


def a_run(runs: Path, name: str, *, width: int = 8, median: float = 1.0, **changes: Any) -> Path:
    """A finished run's folder with a real engine; its recorded samples scatter around ``median``."""
    folder = runs / name
    place = bundle(folder / "bundle", threads=changes.pop("threads", 1), benchmark=BRIEFLY)
    onnx.save(network(width), place / "model.onnx")
    seal(place)
    assert runner(["build", "--bundle", str(place), "--out", str(folder / "engine")]) == 0
    draw = random.Random(name)
    samples = [median * draw.gauss(1, 0.02) for _ in range(320)]
    report = bare()
    report["compressed"]["samples_ms"] = samples
    report["benchmark"] = {"verdict": "valid", "reasons": [], "knobs": KNOBS}
    (folder / "report.json").write_text(json.dumps(report))
    return folder


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("runs")
    a_run(root, "wide", width=48, median=2.0)
    a_run(root, "narrow", width=8)
    a_run(root, "two-threads", width=8, threads=2)
    return root


@pytest.fixture(autouse=True)
def _home(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JETPRESS_RUNS", str(runs))


def test_the_narrow_network_is_faster_side_by_side(capsys: pytest.CaptureFixture[str]) -> None:
    code = main(["compare", "wide", "narrow", "--json"])
    found = json.loads(capsys.readouterr().out)
    assert code == 0
    assert found["interleaved"] is True
    assert found["sessions"] >= 3
    (ratio,) = found["against_first"]
    assert (found["first"], ratio["run"], ratio["verdict"], ratio["level"]) == (
        "wide",
        "narrow",
        "faster",
        95,
    )
    assert 1 < ratio["interval"][0] <= ratio["ratio"] <= ratio["interval"][1]
    wide, narrow = found["runs"]
    assert (wide["run"], narrow["run"]) == ("wide", "narrow")
    assert wide["median_ms"] > narrow["median_ms"]
    told = TypeAdapter(Compared).validate_python(found)
    assert "narrow is faster than wide" in in_words(told)
    assert "side by side" in in_words(told)


def test_three_side_by_side_each_against_the_first() -> None:
    found = compare("narrow", "wide", "narrow")
    assert [one.run for one in found.runs] == ["narrow", "wide", "narrow"]
    assert [one.run for one in found.against_first] == ["wide", "narrow"]
    assert found.against_first[0].verdict == "slower"
    low, high = found.against_first[1].interval
    assert low < 1.1
    assert high > 0.9
    assert len(re.findall(r"^  (narrow|wide): median ", in_words(found), re.MULTILINE)) == 3


def test_differing_knobs_are_refused_and_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", "narrow", "two-threads"]) == 7
    said = capsys.readouterr().err
    assert "not measured alike: threads: 1 and 2" in said
    assert "Traceback" not in said


def foreign(folder: Path, copy: Path, **report: Any) -> Path:
    """The same run, as if its engines had been built and measured on another machine."""
    shutil.copytree(folder, copy)
    stamp = json.loads((copy / "engine" / "engine.json").read_text()) | {"device": "Orin"}
    (copy / "engine" / "engine.json").write_text(json.dumps(stamp))
    recorded = json.loads((copy / "report.json").read_text())
    (copy / "report.json").write_text(json.dumps(recorded | report))
    return copy


def test_what_cannot_run_here_is_compared_as_it_was_recorded(
    runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one, other = foreign(runs / "wide", tmp_path / "a"), foreign(runs / "narrow", tmp_path / "b")
    found = compare(str(one), str(other))
    assert "built with onnxruntime" in found.why
    assert found.interleaved is False
    (ratio,) = found.against_first
    assert (ratio.verdict, ratio.state, ratio.level) == ("faster", "known", None)
    assert ratio.ratio == pytest.approx(2.0, rel=0.02)
    assert "not side by side" in in_words(found)
    assert compare(str(one), str(one)).against_first[0].verdict == "noise"
    with pytest.raises(DeviceError):
        compare(str(one), str(other), device="local")  # asked for by name: then there is no other way


@pytest.mark.parametrize(
    ("benchmark", "said"),
    [
        ({"verdict": "valid", "reasons": [], "knobs": KNOBS | {"power_mode": "15W", "cuda_graph": True}},
         "cuda_graph: False and True; power_mode: None and 15W"),
        (None, "nothing was measured"),
    ],
    ids=["knobs", "none"],
)  # fmt: skip
def test_recorded_numbers_that_may_not_be_compared(
    runs: Path, tmp_path: Path, benchmark: dict[str, Any] | None, said: str
) -> None:
    one = foreign(runs / "wide", tmp_path / "a")
    other = foreign(runs / "narrow", tmp_path / "b", benchmark=benchmark)
    with pytest.raises(BenchmarkInvalid, match=said):
        compare(str(one), str(other))


def test_recorded_numbers_that_may_not_be_quoted_are_shown_with_their_reason(
    runs: Path, tmp_path: Path
) -> None:
    one = foreign(runs / "wide", tmp_path / "a")
    busy = {"verdict": "invalid", "reasons": ["the machine was busy"], "knobs": KNOBS}
    found = compare(str(one), str(foreign(runs / "narrow", tmp_path / "b", benchmark=busy)))
    assert found.is_known
    assert "b: median" in in_words(found)
    assert "not a number to quote (the machine was busy)" in in_words(found)


def test_one_run_is_nothing_to_compare() -> None:
    with pytest.raises(RecipeError, match="nothing to compare"):
        compare("wide")


def test_two_machines_are_not_one(runs: Path, tmp_path: Path) -> None:
    with pytest.raises(BenchmarkInvalid, match=r"device: .* and Orin"):
        compare("wide", str(foreign(runs / "narrow", tmp_path / "b")))


def test_a_run_without_an_engine(tmp_path: Path) -> None:
    (tmp_path / "report.json").write_text(json.dumps(bare()))
    with pytest.raises(RecipeError, match="no engine to compare"):
        compare(str(tmp_path), "narrow")


def test_a_damaged_report_is_named(runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cut = foreign(runs / "narrow", tmp_path / "cut")
    text = (cut / "report.json").read_text()
    for damaged in (text[:-200], "{}", text.replace('"format": 1', '"format": 0')):
        (cut / "report.json").write_text(damaged)
        for command in (["compare", str(cut), str(cut)], ["report", str(cut)]):
            assert main(command) == RecipeError.exit_code
            said = capsys.readouterr()
            assert "report.json" in said.err
            assert "hint: run it again" in said.err
            assert said.out == ""


@pytest.mark.skipif(bool(sshd.MISSING), reason=sshd.MISSING)
def test_on_a_device(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Side by side behind a real sshd; then `device show` says what is there, and `device clean` empties it."""
    path = f"{Path(sys.executable).parent}:/usr/bin:/bin"
    with sshd.running(tmp_path / "s", {"PATH": path, "OMP_NUM_THREADS": "1"}) as server:
        monkeypatch.setenv("JETPRESS_SSH_CONFIG", str(server.config))
        assert main(["compare", "wide", "narrow", "--device", server.name]) in (0, 7)
        capsys.readouterr()
        assert main(["device", "show", server.name]) == 0
        shown = capsys.readouterr().out
        assert f"{server.home}/.jetpress" in shown
        assert "targets that fit" in shown
        assert main(["device", "show", server.name, "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["files"] > 10
        assert main(["device", "clean", server.name]) == 0
        assert "is empty; it held" in capsys.readouterr().err
        assert list(server.home.iterdir()) == []
        assert main(["device", "clean", server.name, "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["files"] == 0
