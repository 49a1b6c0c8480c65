"""TensorBoard and MLflow hold the figures of cells that have ended: read back with their own libraries."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from jetpress.pipeline.recipe.sections.tracking import TrackingConfig
from jetpress.pipeline.sweep.reading import load
from jetpress.pipeline.sweep.records import Record
from jetpress.pipeline.sweep.tracking import report

RECORD = Record(
    id="a1", name="digits ../ratio=0.5 host", recipe="digits", model=None, target="host", device=None, state="done",
    values={"prune.ratio": 0.5}, exit_code=8,
    figures={"accuracy": 98.5, "macs": 7, "latency_ms": None, "verdict": "met"},
)  # fmt: skip


@pytest.mark.skipif(not importlib.util.find_spec("tensorboard"), reason="the extra tensorboard")
def test_tensorboard(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    report(TrackingConfig(tensorboard=str(tmp_path)), RECORD)
    (folder,) = tmp_path.iterdir()
    found = EventAccumulator(str(folder)).Reload()
    assert sorted(found.Tags()["scalars"]) == ["accuracy", "exit_code", "macs"]
    assert [(one.step, one.value) for one in found.Scalars("accuracy")] == [(0, 98.5)]


@pytest.mark.skipif(not importlib.util.find_spec("mlflow"), reason="the extra mlflow")
def test_mlflow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from mlflow import MlflowClient

    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    report(TrackingConfig(mlflow=f"file://{tmp_path}"), RECORD)
    client = MlflowClient(f"file://{tmp_path}")
    experiment = client.get_experiment_by_name("jetpress")
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.data.metrics == {"accuracy": 98.5, "macs": 7.0, "exit_code": 8.0}
    assert run.data.params["prune.ratio"] == "0.5"
    assert run.info.run_name.endswith("-a1")


def test_a_server_that_is_away_is_said_and_ends_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    report(TrackingConfig(mlflow="nowhere://x"), RECORD)
    assert "WARNING: digits ../ratio=0.5 host is not reported" in capsys.readouterr().err


def test_its_folder_is_relative_to_the_sweep(tmp_path: Path) -> None:
    path = tmp_path / "s.toml"
    path.write_text('recipes = ["digits"]\ntargets = ["host"]\n[tracking]\ntensorboard = "figures"\n')
    assert load(path).tracking.tensorboard == str(tmp_path / "figures")
