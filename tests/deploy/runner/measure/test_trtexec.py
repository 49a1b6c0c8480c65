"""trtexec in turns with our loop: its summaries as people pasted them, its flags, and the plumbing."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jetpress.deploy.runner.__main__ import main
from jetpress.deploy.runner.cuda import gpu
from jetpress.deploy.runner.measure import trtexec
from jetpress.deploy.runner.system.failures import DeviceError, ToolMissing
from tests.deploy.api import fake
from tests.deploy.runner.plans import PLAN
from tests.deploy.runner_bundles import bundle
from tests.deploy.runner_schema import faults

PROBES = Path(__file__).parents[3] / "probes"
HELP_10 = "  --useSpinWait  ...\n  --noDataTransfers ...\n  --useCudaGraph ...\n  --noOverlap?"
HELP_11 = "  --noSpinWait ...\n  --includeDataTransfers ...\n  --noCudaGraph ...\n"
HELP_BOTH = HELP_10.replace("--noOverlap?", "") + HELP_11
DEFAULTS = {"transfers": True, "spin_wait": False, "cuda_graph": False, "overlap": True}
ALL = {"transfers": False, "spin_wait": True, "cuda_graph": True, "overlap": True}


@pytest.mark.parametrize(
    ("name", "throughput", "latency", "compute", "h2d"),
    [
        ("10.x_2024", 130.298, 7.16092, 7.14139, 0.00814819),
        ("8.6_2024", 32.7261, 30.7585, 30.333, 0.247559),
        ("8.4_2022", 28.9757, 34.916, 33.5995, 0.80957),
    ],
)
def test_recorded_summaries(name: str, throughput: float, latency: float, compute: float, h2d: float) -> None:
    found = trtexec.parse((PROBES / f"trtexec_{name}.txt").read_text())
    assert (found["throughput"], found["latency"], found["compute"], found["h2d"]) == (
        throughput, latency, compute, h2d,
    )  # fmt: skip
    assert set(found) == {"throughput", *trtexec.MEDIANS}


def test_every_recorded_summary_is_tried() -> None:
    assert len(list(PROBES.glob("trtexec_*"))) == 3


@given(st.text(max_size=300))
def test_anything_else_is_refused_and_never_breaks(said: str) -> None:
    with pytest.raises(DeviceError, match="cannot be read"):
        trtexec.parse(said)


@pytest.mark.parametrize(
    ("said", "knobs", "words"),
    [
        (HELP_10, DEFAULTS, []),
        (HELP_10, ALL, ["--noDataTransfers", "--useCudaGraph", "--useSpinWait"]),
        (HELP_11, DEFAULTS, ["--includeDataTransfers", "--noCudaGraph", "--noSpinWait"]),
        (HELP_11, ALL, []),
        (HELP_BOTH, DEFAULTS, ["--includeDataTransfers", "--noCudaGraph", "--noSpinWait"]),
        (HELP_BOTH, ALL, ["--noDataTransfers", "--useCudaGraph", "--useSpinWait"]),
    ],
    ids=["10", "10 all", "11", "11 all", "both", "both all"],
)
def test_knobs_are_written_out(said: str, knobs: dict[str, bool], words: list[str]) -> None:
    assert sorted(trtexec.flags(said, knobs)) == words


def test_a_trtexec_that_knows_a_knob_in_no_way_is_refused() -> None:
    with pytest.raises(DeviceError, match="neither"):
        trtexec.flags("usage", DEFAULTS)


STAND_IN = """#!{python}
import os, sys
if "--help" in sys.argv:
    print({help!r}); sys.exit(0)
open({calls!r}, "a").write(" ".join(sys.argv[1:]) + "\\n")
engine = next(word.split("=", 1)[1] for word in sys.argv if word.startswith("--loadEngine="))
assert os.path.getsize(engine) > 0
print("[I] Throughput: 2000 qps\\n[I] Latency: min = 0.1 ms, median = 0.375 ms, x\\n"
      "[I] GPU Compute Time: min = 0.1 ms, median = 0.25 ms, x")
"""


def test_both_take_turns_and_the_ratio_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The stand-in only prints: what is tested is who is asked what, when, and that its numbers are used."""
    root, calls = tmp_path / "board", tmp_path / "calls"
    tool = root / trtexec.PLACE
    tool.parent.mkdir(parents=True)
    tool.write_text(STAND_IN.format(python=sys.executable, help=HELP_10, calls=str(calls)))
    tool.chmod(0o755)
    monkeypatch.setenv("JETPRESS_BOARD", str(root))
    monkeypatch.setitem(sys.modules, "tensorrt", fake.module("10.3"))
    monkeypatch.setattr(gpu, "connect", fake.Gpu)
    monkeypatch.setattr(trtexec, "LEAST_S", 0.01)
    monkeypatch.setattr(trtexec, "WARM_UP_MS", 1)
    on_dla = {**PLAN["models"]["compressed"], "dla_core": 1, "precision": "fp16"}
    place = bundle(tmp_path / "b", batch="n", **PLAN | {"models": {**PLAN["models"], "compressed": on_dla}})
    assert main(["build", "--bundle", str(place)]) == 0
    capsys.readouterr()
    assert main(["bench", "--bundle", str(place), "--seconds", "0.05", "--against", "trtexec"]) in (0, 7)
    events: list[dict[str, Any]] = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [fault for event in events for fault in faults(event)] == []
    said = [event for event in events if event["event"] == "trtexec"]
    assert [event["model"] for event in said] == ["compressed", "dense"]
    for event in said:
        assert event["latency"]["ratio"] == pytest.approx(1.0), (
            "the fake GPU needs 0.375 ms, as the stand-in says"
        )
        assert event["compute"]["ratio"] == pytest.approx(0.5)
        assert event["compute"]["verdict"] == "slower", "trtexec's compute is the longer one"
        assert event["latency"]["verdict"] == "noise"
    asked = calls.read_text().splitlines()
    assert len(asked) == 2 * trtexec.TURNS
    assert f"--loadEngine={place}/engines/compressed.engine" in asked[0]
    assert "--shapes=images:2x3x16x16" in asked[0]
    assert "--duration=1" in asked[0]
    assert ["--useDLACore=1" in line for line in asked] == ["compressed.engine" in line for line in asked]


def test_where_there_is_none_it_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from jetpress.deploy.runner.board.identity import Board

    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ToolMissing, match="no trtexec") as caught:
        trtexec.find(Board(str(tmp_path)))
    assert "apt install" in caught.value.hint
