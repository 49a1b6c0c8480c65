from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path

import pytest

from jetpress import Recipe, run
from jetpress.deploy.errors import JetpressError, RecipeError, ToolMissing
from jetpress.pipeline.recipe.sections.tracking import TrackingConfig
from jetpress.pipeline.store.facts.network import Epoch
from jetpress.pipeline.training import metrics
from tests.pipeline.test_run import NETWORK, RECIPE

CURVE = [
    {"epoch": 1, "loss": 2.5, "learning_rate": 0.1, "validation": 20.0},
    {"epoch": 2, "loss": 1.5, "learning_rate": 0.05, "validation": 40.0},
]


def test_one_json_line_for_each_epoch(tmp_path: Path) -> None:
    metrics.write(tmp_path, [Epoch(**entry) for entry in CURVE])  # type: ignore[arg-type]
    assert [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()] == CURVE


def test_nothing_is_asked_for_and_nothing_is_imported() -> None:
    with metrics.sinks("x", {}) as report:
        report(CURVE[0])
    assert "mlflow" not in sys.modules


@pytest.mark.parametrize(
    ("package", "module"), [("tensorboard", "torch.utils.tensorboard"), ("mlflow", "mlflow")]
)
def test_a_missing_package_is_named_with_its_remedy(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, package: str, module: str
) -> None:
    monkeypatch.setitem(sys.modules, module, None)  # as the import system marks what cannot be imported
    asked = TrackingConfig(**{package: str(tmp_path)})
    with pytest.raises(ToolMissing, match=f"{package} is not installed") as caught:  # noqa: SIM117
        with metrics.tracked(asked), metrics.sinks("x", {}):
            pass
    assert f"jetpress[{package}]" in caught.value.hint
    assert caught.value.exit_code == 3


@pytest.mark.skipif(not importlib.util.find_spec("tensorboard"), reason="the extra tensorboard")
def test_tensorboard_reads_what_was_written(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    asked = TrackingConfig(tensorboard=str(tmp_path))
    with metrics.tracked(asked), metrics.sinks("first", {}) as report:
        for entry in CURVE:
            report(entry)
    with (
        metrics.tracked(asked),
        metrics.sinks("first", {}, done=1) as report,
    ):  # resumed after the first epoch
        report(CURVE[1] | {"loss": 1.25})
    found = EventAccumulator(str(tmp_path / "first")).Reload()
    assert [(one.step, one.value) for one in found.Scalars("loss")] == [(1, 2.5), (2, 1.25)]
    assert [one.value for one in found.Scalars("validation")] == [20.0, 40.0]


@pytest.mark.skipif(not importlib.util.find_spec("mlflow"), reason="the extra mlflow")
def test_mlflow_holds_what_was_reported(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from mlflow import MlflowClient

    address = f"file://{tmp_path}"
    monkeypatch.setenv(
        "MLFLOW_ALLOW_FILE_STORE", "true"
    )  # a server of its own would take the test half a minute
    for name in ("first", "second"):
        with metrics.tracked(TrackingConfig(mlflow=address)), metrics.sinks(name, {"epochs": 2}) as report:
            for entry in CURVE:
                report(entry)
    client = MlflowClient(address)
    experiment = client.get_experiment_by_name("jetpress")
    runs = client.search_runs([experiment.experiment_id])
    assert {run.info.run_name for run in runs} == {"first", "second"}
    assert all(run.info.status == "FINISHED" and run.data.params == {"epochs": "2"} for run in runs)
    history = client.get_metric_history(runs[0].info.run_id, "loss")
    assert [(one.step, one.value) for one in history] == [(1, 2.5), (2, 1.5)]


@pytest.mark.skipif(not importlib.util.find_spec("mlflow"), reason="the extra mlflow")
def test_an_address_that_leads_nowhere_is_said_at_once() -> None:
    asked = TrackingConfig(mlflow="nowhere://x")
    with pytest.raises(RecipeError, match="nowhere"), metrics.tracked(asked), metrics.sinks("x", {}):
        pass


def test_what_breaks_later_does_not_end_the_training(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    seen = []

    def breaking(entry: metrics.Entry) -> None:
        seen.append(entry)
        raise ConnectionError("the server is gone\nand more")

    def closing() -> None:
        raise ConnectionError

    monkeypatch.setattr(metrics, "_mlflow", lambda *a: (breaking, closing))
    with metrics.tracked(TrackingConfig(mlflow="http://gone")), metrics.sinks("x", {}) as report:
        for entry in CURVE:
            report(entry)
    assert len(seen) == 1
    assert "no longer reported: the server is gone" in capsys.readouterr().err


def test_a_run_reports_where_its_recipe_asks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody is there, or the package is missing: both are said when the training begins."""
    monkeypatch.setenv("JETPRESS_RUNS", str(tmp_path))
    (tmp_path / "net.py").write_text(NETWORK)
    (tmp_path / "small.toml").write_text(RECIPE + '[tracking]\nmlflow = "nowhere://x"\n')
    with pytest.raises(JetpressError, match=r"tracking\.mlflow"):
        run(Recipe.load(tmp_path / "small.toml"), "host")


def test_the_folder_is_relative_to_the_recipe(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text('[tracking]\ntensorboard = "figures"\n')
    assert Recipe.load(tmp_path / "a.toml").tracking.tensorboard == str(tmp_path / "figures")
