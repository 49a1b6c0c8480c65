"""``--target a,b``: which device is which, one table, and the worst exit code."""

from __future__ import annotations

import json
import subprocess
from collections import Counter
from pathlib import Path

import pytest

from jetpress.deploy.errors import RecipeError
from jetpress.pipeline.cli import main
from jetpress.pipeline.cli.several import WORST, Pair, pairs, worst
from tests.pipeline import small

ROOT = Path(__file__).resolve().parents[3]
TINY = (
    '[model]\nbuilder = "network.py:build"\n[data]\nsize = 8\nbatch_size = 512\ncalibration_images = 8\n'
    "sample_images = 8\n[train]\nepochs = 1\n[prune]\nrounds = 1\n[finetune]\nepochs = 1\n"
    "[benchmark]\nseconds = 0.2\nwarmup_ms = 1\nsessions = 1\nrounds = false\n"
)


@pytest.mark.parametrize(
    ("targets", "devices", "paired"),
    [
        ("host", [], [Pair("host")]),
        ("host", ["me@box"], [Pair("host", "me@box")]),
        ("host,xavier", [], [Pair("host"), Pair("xavier")]),
        ("host, xavier ,host", [], [Pair("host"), Pair("xavier")]),
        ("nano,xavier", ["xavier=a@b"], [Pair("nano"), Pair("xavier", "a@b")]),
        ("nano,xavier", ["xavier=a@b,nano=c@d"], [Pair("nano", "c@d"), Pair("xavier", "a@b")]),
        ("nano,xavier", ["xavier=a@b", "nano=c@d"], [Pair("nano", "c@d"), Pair("xavier", "a@b")]),
    ],
)
def test_targets_get_their_devices(targets: str, devices: list[str], paired: list[Pair]) -> None:
    assert pairs(targets, devices) == paired


@pytest.mark.parametrize(
    ("targets", "devices", "said"),
    [
        ("nano,xaver", [], "did you mean xavier"),
        ("nano,", [], "target"),
        ("nano,xavier", ["a@b"], "--device nano=a@b"),
        ("nano,xavier", ["xaver=a@b"], "did you mean 'xavier'?"),
        ("nano,xavier", ["host=a@b"], "not among the targets nano, xavier"),
        ("nano", ["a@b", "c@d"], "second device for nano"),
        ("nano,xavier", ["nano="], "names no device for nano"),
    ],
)
def test_what_is_not_clear_is_refused(targets: str, devices: list[str], said: str) -> None:
    with pytest.raises(RecipeError) as raised:
        pairs(targets, devices)
    assert said in str(raised.value)


def test_the_worst_code_of_several() -> None:
    assert worst([0, 8, 7]) == 8
    assert worst([8, 5]) == 5
    assert worst([0]) == 0
    assert set(WORST) == {0, *range(2, 10)}


SHARED = {"source", "train", "judge 1", "prune 1", "finetune 1", "fold", "assess"}
"""Done once for host (FP32, multiples of 16), orin-nano (FP16, 8, another opset) and xavier (8, its own opset)."""


def test_targets_share_all_that_needs_no_target_and_end_in_one_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("JETPRESS_RUNS", str(tmp_path / "runs"))
    small.model(tmp_path)
    (tmp_path / "tiny.toml").write_text(TINY)
    three = ["--target", "host,orin-nano,xavier", "--set", 'sparsify.mode="off"']
    code = main(["run", str(tmp_path / "tiny.toml"), *three, "--json"])
    told = capsys.readouterr()
    ended = json.loads(told.out)["runs"]
    assert [one["target"]["name"] for one in ended] == ["host", "orin-nano", "xavier"]
    ran = Counter(stage["name"] for one in ended for stage in one["stages"] if stage["state"] == "ran")
    assert {name: ran[name] for name in SHARED} == dict.fromkeys(SHARED, 1)
    assert ran["bundle"] == 3
    assert "one pruned network for 3 targets: widths in multiples of 16" in told.err
    table = told.err[told.err.index("RUN ") :].splitlines()
    assert [line.split()[1] for line in table] == ["TARGET", "host", "orin-nano", "xavier"]
    assert code in (0, 7, 8, 9)

    assert main(["plan", str(tmp_path / "tiny.toml"), *three]) == 0
    planned = capsys.readouterr().out
    assert planned.startswith("host:\n")
    assert "\norin-nano:\n" in planned
    assert "will run" not in planned

    assert main(["runs", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)["runs"]
    assert [(row["target"], row["state"]) for row in listed] == [
        (name, "finished") for name in ("host", "orin-nano", "xavier")
    ]


@pytest.mark.parametrize("goal", ["engine", "plan"])
def test_make_takes_several_targets_and_their_devices(goal: str) -> None:
    words = ["make", "-n", goal, "TARGET=nano,xavier", "DEVICE=xavier=me@box"]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True)
    assert "--target nano,xavier --device xavier=me@box" in done.stdout


def test_a_target_that_refuses_the_recipe_ends_all_before_the_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("JETPRESS_RUNS", str(tmp_path / "runs"))
    assert main(["run", "digits", "--target", "host,nano", "--set", "build.precision=fp8"]) == 2
    assert "fp8" in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()
