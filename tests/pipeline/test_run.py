"""The main job on real digits with a small network of the user's own: run, cached, planned, killed, broken."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest

from jetpress import Recipe, plan, run
from jetpress.benchmarks.report.record import RunReport, read
from jetpress.deploy.device import probe
from jetpress.deploy.errors import DeviceError, JetpressError, NothingGained, RecipeError
from jetpress.pipeline.cli import main
from jetpress.pipeline.store.steps import Step
from tests.deploy import sshd

ROOT = Path(__file__).parent.parent.parent

NETWORK = """
import torch
from torch import nn

def build(width=32):
    return nn.Sequential(
        nn.Conv2d(3, width, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU(),
        nn.Conv2d(width, 2 * width, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(2 * width), nn.ReLU(),
        nn.Conv2d(2 * width, 2 * width, 3, padding=1, bias=False), nn.BatchNorm2d(2 * width), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2 * width, 10),
    )
"""

RECIPE = """
name = "small"
[model]
builder = "net.py:build"
[data]
source = "digits"
size = 16
batch_size = 32
sample_images = 32
calibration_images = 16
[train]
precision = "float32"
epochs = 4
learning_rate = 0.1
[prune]
ratio = 0.5
rounds = 2
[finetune]
epochs = 1
[benchmark]
seconds = 0.2
warmup_ms = 20
max_seconds = 5.0
threads = 1
[budget]
accuracy_drop = 50.0
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("main-job")
    (folder / "net.py").write_text(NETWORK)
    (folder / "small.toml").write_text(RECIPE)
    return folder


def recipe(folder: Path, *sets: str) -> Recipe:
    return Recipe.load(folder / "small.toml", sets)


DISTURBED = {"benchmark"}
"""On a busy machine it may not tell which one is faster: then the next run measures again."""


def to_do(steps: list[Step]) -> set[str]:
    return {step.name for step in steps if step.state == "will run"} - DISTURBED


@pytest.fixture(scope="module")
def finished(folder: Path) -> RunReport:
    return run(recipe(folder), "host", home=folder / "runs")


def test_the_main_job_runs_to_an_engine_and_a_report(finished: RunReport) -> None:
    place = finished.folder
    assert place is not None
    assert read(place / "report.json") == finished
    assert finished.engine_built
    assert finished.verdict.met is True
    assert finished.ratios.macs > 2
    assert finished.ratios.size > 2
    assert finished.dense.test > 60
    assert finished.compressed.latency.n >= 64, "what was measured is there, busy machine or not"
    assert finished.compressed.latency.half_width > 0
    assert finished.ratios.latency.level == 95
    assert finished.benchmark.sessions >= 3
    assert finished.benchmark.machine
    assert finished.verdict.standing in ("met", "unknown", "unmeasured")
    assert {row.met for row in finished.equivalence} == {True}
    assert finished.sparsity.skipped.startswith("2:4 cannot pay")
    for name in ("report.html", "report.md", "report.json", "bundle/runner.pyz", "engine/engine.json"):
        assert (place / name).is_file()
    assert all(layer.after % 16 == 0 for layer in finished.layers)
    assert finished.predictions is not None
    agreement = finished.predictions.agreement
    assert (agreement.both + agreement.only_compressed) == sum(
        c.compressed for c in finished.predictions.classes
    )
    assert finished.round_times is not None
    assert [one.round for one in finished.round_times.rounds] == [one.round for one in finished.rounds]
    assert all(one.low <= one.ms <= one.high for one in finished.round_times.rounds)
    assert finished.layer_costs is not None
    for name, whole in (("dense", finished.dense), ("compressed", finished.compressed)):
        costs = [getattr(pair, name) for pair in finished.layer_costs.layers]
        assert sum(one.macs for one in costs) == whole.macs
        assert any(one.ms for one in costs)


def test_the_engine_is_as_accurate_as_the_network(finished: RunReport) -> None:
    place = finished.folder
    labels = np.load(place / "bundle" / "samples" / "labels.npy", allow_pickle=False)
    assert len(labels) == 32
    assert abs(finished.compressed.engine_accuracy - finished.compressed.test) < 25


def test_the_second_run_does_nothing(
    folder: Path, finished: RunReport, capsys: pytest.CaptureFixture[str]
) -> None:
    again = run(recipe(folder), "host", home=folder / "runs")
    said = capsys.readouterr().err
    again_done = {line.split(" ...")[0].strip() for line in said.splitlines() if " ..." in line}
    assert again_done <= DISTURBED
    assert said.count("  cached") >= sum(step.state != "skipped" for step in finished.stages) - 1
    if not again_done:
        assert again.digest == finished.digest


@pytest.mark.usefixtures("finished")
def test_a_network_that_was_not_compressed_is_not_measured_against_itself(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spoiled = ("prune.ratio=0.9", "prune.rounds=1", "finetune.learning_rate=1e-9", "budget.accuracy_drop=0.0")
    spoiled += ("benchmark.sessions=1",)
    result = run(recipe(folder, *spoiled), "host", home=folder / "runs")
    assert result.verdict.standing == "nothing compressed"
    assert result.headline is not None
    assert re.match(
        r"Nothing was compressed: round 1: .* points of validation accuracy lost", result.headline.title
    )
    assert result.folder is not None
    assert not list(result.folder.glob("bundle/dense*"))
    assert result.engine_built
    assert result.dense.latency is None
    assert result.ratios.latency is None
    monkeypatch.setenv("JETPRESS_RUNS", str(folder / "runs"))
    words = [w for change in spoiled for w in ("--set", change)]
    assert main(["run", str(folder / "small.toml"), *words]) == NothingGained.exit_code


@pytest.mark.usefixtures("finished")
def test_nothing_asked_is_no_failure(folder: Path) -> None:
    result = run(recipe(folder, "prune.ratio=0", "benchmark.sessions=1"), "host", home=folder / "runs")
    assert result.verdict.standing == "nothing to compress"
    assert result.headline is not None
    assert result.headline.title == "Nothing was to be compressed: prune.ratio = 0"
    assert result.compressed.latency is not None


def test_the_plan_knows_what_is_done(folder: Path, finished: RunReport) -> None:
    steps = plan(recipe(folder), "host", home=folder / "runs")
    assert not to_do(steps)
    fresh = plan(recipe(folder, "benchmark.seconds=0.4"), "host", home=folder / "runs")
    states = {step.name: step.state for step in fresh}
    assert states["train"] == "cached"
    assert states["build"] == "will run"
    longer = plan(recipe(folder, "train.epochs=9"), "host", home=folder / "runs")
    assert next(s for s in longer if s.name == "train").seconds is not None
    assert next(s for s in longer if s.name == "source").state == "cached"


@pytest.mark.usefixtures("finished")
def test_sparse_training_is_planned_with_its_time_done_once_and_in_the_report(folder: Path) -> None:
    """For a board: what its engine would do is not asked here."""
    asked = recipe(folder, "prune.regularize_epochs=2", "prune.rounds=1")
    step = next(s for s in plan(asked, "host", home=folder / "runs") if s.name == "regularize")
    assert step.state == "will run"
    assert step.seconds is not None  # by the epochs of earlier trainings
    result = run(asked, "nano", home=folder / "runs")
    curves = {curve.stage: len(curve.points) for curve in result.curves}
    assert list(curves.items())[:2] == [("train", 4), ("regularize", 2)]
    again = {s.name: s.state for s in plan(asked, "nano", home=folder / "runs")}
    assert again["regularize"] == "cached"
    other = recipe(folder, "prune.regularize_epochs=2", "prune.rounds=1", "prune.regularization=0.1")
    states = {s.name: s.state for s in plan(other, "nano", home=folder / "runs")}
    assert (states["train"], states["regularize"], states["prune 1"]) == ("cached", "will run", "will run")


def test_what_a_run_wrote_down_reproduces_it(folder: Path, finished: RunReport) -> None:
    written = finished.folder / "recipe.toml"
    assert str(written) in finished.reproduce
    assert not to_do(plan(Recipe.load(written), "host", home=folder / "runs"))


def test_reordered_keys_change_nothing(folder: Path, finished: RunReport) -> None:
    lines = (
        (folder / "small.toml")
        .read_text()
        .replace("epochs = 4\nlearning_rate = 0.1", "learning_rate = 0.1\nepochs = 4")
    )
    (folder / "reordered.toml").write_text(lines)
    steps = plan(Recipe.load(folder / "reordered.toml"), "host", home=folder / "runs")
    assert not to_do(steps)


def test_another_runtime_on_the_device_builds_and_tries_again(
    folder: Path, finished: RunReport, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Never an engine of before, and nothing that was trained."""
    known = probe.identity
    monkeypatch.setattr(
        probe, "identity", lambda facts: {**known(facts), "onnxruntime": "0.0.1", "l4t": "99.9"}
    )
    on_device = to_do(plan(recipe(folder), "host", home=folder / "runs"))
    assert on_device == {"build", "infer", "time rounds"}  # and bench, which `to_do` leaves out


@pytest.mark.parametrize(("target", "opset"), [("nano", 13), ("xavier", 17), ("orin-nano", 18), ("thor", 18)])
def test_a_board_gets_a_bundle_and_no_engine(
    folder: Path, finished: RunReport, target: str, opset: int
) -> None:
    result = run(recipe(folder, "sparsify.min_channels=16"), target, home=folder / "runs")
    place = result.folder
    assert not result.engine_built
    assert not (place / "engine").exists()
    assert "runner.pyz" in result.next
    assert "--device user@host" in result.next
    model = onnx.load(place / "bundle" / "model.onnx")
    assert [o.version for o in model.opset_import if not o.domain] == [opset]
    written = json.loads((place / "bundle" / "plan.json").read_text())
    assert written["target"]["name"] == target
    assert written["precision"] == "fp16"
    assert len((place / "bundle" / "README.txt").read_text().splitlines()) == 3
    can = target in ("orin-nano", "thor")
    assert any(layer.sparse for layer in result.sparsity.layers) == can
    models = written["models"]
    assert {name for name, one in models.items() if one["sparse"]} == ({"compressed"} if can else set())
    assert (models.get("not-sparse", {}).get("twin_of") == "compressed") == can


def test_a_broken_budget_keeps_the_last_good_round(folder: Path, finished: RunReport) -> None:
    """For a board: what its engine would do is not asked here."""
    hard = [
        "budget.accuracy_drop=0.0",
        "prune.ratio=0.75",
        "finetune.epochs=0",
        "prune.rounds=3",
        "prune.steps=even",
        "finetune.distill=0.0",
    ]
    result = run(recipe(folder, *hard), "nano", home=folder / "runs")
    rejected = [r for r in result.rounds if not r.kept and r.pruned]
    assert len(rejected) == 1
    assert "budget is 0" in rejected[0].why
    assert rejected[0].round == len(result.rounds)


def test_a_latency_budget_that_cannot_be_met_is_exit_code_8(folder: Path, finished: RunReport) -> None:
    arguments = ["run", str(folder / "small.toml"), "--json", "--set", "budget.latency_ms=0.000001"]
    done = jetpress(folder, *arguments)
    assert done.returncode == 8
    assert json.loads(done.stdout)["verdict"]["met"] is False
    assert "not met" in done.stderr


def test_rtx_is_built_without_a_gpu(folder: Path, finished: RunReport) -> None:
    pytest.importorskip("tensorrt_rtx", reason="the extra `rtx` is not installed")
    result = run(recipe(folder, "sparsify.mode='off'"), "rtx", home=folder / "runs")
    place = result.folder
    assert result.engine_built
    assert (place / "engine" / "compressed.engine").stat().st_size > 1000
    assert result.compressed.latency is None
    assert "RTX machine" in result.next


def test_an_rtx_engine_needs_no_device(folder: Path) -> None:
    with pytest.raises(RecipeError, match="ahead of time"):
        run(recipe(folder), "rtx", device="user@host", home=folder / "runs")


def jetpress(folder: Path, *arguments: str, **extra: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "JETPRESS_RUNS": str(folder / "runs"), "PYTHONPATH": str(ROOT), **extra}
    return subprocess.run(
        [sys.executable, "-m", "jetpress", *arguments],
        capture_output=True,
        text=True,
        env=environment,
        check=False,
    )


def test_report_prints_and_gc_keeps_what_runs_need(
    folder: Path, finished: RunReport, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert finished.folder is not None
    monkeypatch.setenv("JETPRESS_RUNS", str(folder / "runs"))
    assert main(["report", finished.folder.name]) == 0
    assert capsys.readouterr().out.startswith("# ")
    assert main(["gc"]) == 0
    assert {step.state for step in plan(recipe(folder), "host", home=folder / "runs")} == {
        "cached",
        "skipped",
    }


def test_a_flipped_bit_in_the_store_is_found_before_it_is_exported(
    folder: Path, finished: RunReport, capsys: pytest.CaptureFixture[str]
) -> None:
    digests = {step.name: step.digest for step in finished.stages}
    weights = folder / "runs" / ".store" / "objects" / digests["fold"] / "weights.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    shortly = ("benchmark.sessions=1", "benchmark.rounds=false")
    result = run(recipe(folder, "export.batch=2", *shortly), "host", home=folder / "runs")
    said = capsys.readouterr().err
    assert f"damaged, and made anew: {weights} has SHA-256" in said
    assert "  fold ..." in said
    assert "  train ..." not in said
    assert {step.name: step.digest for step in result.stages}["fold"] == digests["fold"]
    assert weights.read_bytes() == whole


def test_a_cut_report_is_said_and_made_anew(
    folder: Path, finished: RunReport, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = finished.folder
    text = (place / "report.json").read_text()
    (place / "report.json").write_text(text[: len(text) // 2])
    for command in (["report", place.name], ["compare", place.name, place.name]):
        done = jetpress(folder, *command)
        assert done.returncode == 2
        assert "report.json is damaged" in done.stderr
        assert "Traceback" not in done.stderr
    monkeypatch.setenv("JETPRESS_RUNS", str(folder / "runs"))
    assert main(["gc"]) == 0
    run(recipe(folder), "host", home=folder / "runs")
    assert json.loads((place / "report.json").read_text())["id"] == place.name


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGKILL])
def test_a_run_stopped_in_training_goes_on_after_the_last_epoch(
    folder: Path,
    finished: RunReport,
    stop: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """In a process of its own; the next one finds on the disk how far it was."""
    environment = {**os.environ, "JETPRESS_RUNS": str(folder / f"stopped-{stop}"), "PYTHONPATH": str(ROOT)}
    words = ["run", str(folder / "small.toml"), "--json"]
    words += ["--target", "nano", "--set", "prune.ratio=0"]  # what comes after training is not asked here
    command = [sys.executable, "-m", "jetpress", *words]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if "epoch 2/4" in line:  # the first one is kept by now
                process.send_signal(stop)
                break
        rest = process.stderr.read()
    assert process.returncode == (130 if stop == signal.SIGINT else -9)
    assert "Traceback" not in rest
    monkeypatch.setenv("JETPRESS_RUNS", environment["JETPRESS_RUNS"])
    code, said = main(words), capsys.readouterr()
    assert code == 0, said.err
    assert "going on after epoch" in said.err
    assert "epoch 1/4" not in said.err
    result = json.loads(said.out)
    digests = {stage.name: stage.digest for stage in finished.stages}
    assert {s["name"]: s["digest"] for s in result["stages"] if s["name"] == "train"} == {
        "train": digests["train"]
    }


def test_no_permission_is_exit_code_5(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    done = jetpress(folder, "run", str(folder / "small.toml"), JETPRESS_RUNS=str(tmp_path / "file" / "runs"))
    assert done.returncode == 5
    assert "Traceback" not in done.stderr


def test_a_network_that_is_none_is_exit_code_2(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("JETPRESS_RUNS", str(folder / "runs"))
    assert main(["run", str(folder / "small.toml"), "--set", "model.builder=torchvision:resnet19"]) == 2
    assert "resnet18" in capsys.readouterr().err


def test_errors_all_derive_from_one(folder: Path) -> None:
    assert issubclass(RecipeError, JetpressError)


@pytest.mark.skipif(bool(sshd.MISSING), reason=sshd.MISSING)
def test_a_device_behind_ssh_builds_and_measures(
    folder: Path, finished: RunReport, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same runner from the same bundle; and a board that is not the target is refused before anything is sent."""
    path = f"{Path(sys.executable).parent}:/usr/bin:/bin"
    with sshd.running(tmp_path / "s", {"PATH": path}) as server:
        monkeypatch.setenv("JETPRESS_SSH_CONFIG", str(server.config))
        result = run(recipe(folder), "host", device=server.name, home=folder / "runs")
        states = {step.name: step.state for step in result.stages}
        assert states["bundle"] == "cached"
        assert states["build"] == "ran"
        assert result.compressed.engine_accuracy == finished.compressed.engine_accuracy
        assert list((server.home / ".jetpress").iterdir())
        with pytest.raises(DeviceError, match="is not the target xavier"):
            run(recipe(folder), "xavier", device=server.name, home=folder / "runs")
