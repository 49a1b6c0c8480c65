"""Where the figures of a training go as it runs: one JSON line for each epoch, TensorBoard and MLflow on request.

``JETPRESS_TENSORBOARD`` names a folder, ``JETPRESS_MLFLOW`` a tracking address (``http://...``,
``sqlite:///mlflow.db``). They are no keys of the recipe, because they have no part in the result.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from deploy.errors import ToolMissing

Entry = Mapping[str, float]
Sink = Callable[[Entry], None]
FILE = "metrics.jsonl"


def write(folder: Path, curve: Sequence[Entry]) -> None:
    """``metrics.jsonl``: one line for each epoch. No times: equal runs give equal files."""
    (folder / FILE).write_text("".join(json.dumps(entry) + "\n" for entry in curve))


@contextmanager
def sinks(name: str, config: Mapping[str, Any], done: int = 0) -> Iterator[Sink]:
    """Gives a function that takes the entry of an epoch to wherever the environment asks for.

    Args:
        name: of this training, among others in the same place.
        config: its settings.
        done: epochs that were reported before it was interrupted.

    Raises:
        ToolMissing: the package that is asked for is not installed.
    """
    opened: list[tuple[Sink, Callable[[], None]]] = []
    if folder := os.environ.get("JETPRESS_TENSORBOARD"):
        opened.append(_tensorboard(Path(folder) / name, done))
    if address := os.environ.get("JETPRESS_MLFLOW"):
        opened.append(_mlflow(address, name, config))

    def take(entry: Entry) -> None:
        for sink, _ in opened:
            sink(entry)

    try:
        yield take
    finally:
        for _, close in opened:
            close()


def _tensorboard(folder: Path, done: int) -> tuple[Sink, Callable[[], None]]:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise ToolMissing(
            "JETPRESS_TENSORBOARD is set, and tensorboard is not installed",
            "pip install 'jetpress[tensorboard]', or unset it",
        ) from None
    writer = SummaryWriter(str(folder), purge_step=done + 1)

    def take(entry: Entry) -> None:
        for key, value in entry.items():
            if key != "epoch":
                writer.add_scalar(key, value, int(entry["epoch"]))
        writer.flush()

    return take, writer.close


def _mlflow(address: str, name: str, config: Mapping[str, Any]) -> tuple[Sink, Callable[[], None]]:
    try:
        from mlflow import MlflowClient
    except ImportError:
        raise ToolMissing(
            "JETPRESS_MLFLOW is set, and mlflow is not installed",
            "pip install 'jetpress[mlflow]', or unset it",
        ) from None
    client = MlflowClient(tracking_uri=address)
    known = client.get_experiment_by_name("jetpress")
    experiment = known.experiment_id if known else client.create_experiment("jetpress")
    run = client.create_run(experiment, run_name=name).info.run_id
    for key, value in config.items():
        client.log_param(run, key, value)

    def take(entry: Entry) -> None:
        for key, value in entry.items():
            if key != "epoch":
                client.log_metric(run, key, value, step=int(entry["epoch"]))

    return take, lambda: client.set_terminated(run)
