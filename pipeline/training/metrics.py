"""Where the figures of a training go as it runs: one JSON line for each epoch, TensorBoard and MLflow on request.

The recipe's ``[tracking]`` asks for them. It reaches a stage by :func:`tracked` and not among its settings, because
it has no part in the result: a training that is done is not done again when it changes.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import asdict
from functools import partial
from pathlib import Path

from jetpress.deploy.console import say
from jetpress.deploy.errors import RecipeError, ToolMissing
from jetpress.pipeline.recipe.sections.tracking import TrackingConfig
from jetpress.pipeline.store.facts.network import Epoch

Entry = Mapping[str, float]
Sink = Callable[[Entry], None]
FILE = "metrics.jsonl"
NOWHERE = TrackingConfig()
Listener = Callable[[str, Entry], None]
_asked: ContextVar[TrackingConfig] = ContextVar("tracking", default=NOWHERE)
_listener: ContextVar[Listener | None] = ContextVar("listener", default=None)


@contextmanager
def tracked(config: TrackingConfig) -> Iterator[None]:
    """Every training within the block is reported as ``config`` asks."""
    before = _asked.set(config)
    try:
        yield
    finally:
        _asked.reset(before)


@contextmanager
def listening(listener: Listener) -> Iterator[None]:
    """Every training within the block tells ``listener`` its name and the entry of each epoch."""
    before = _listener.set(listener)
    try:
        yield
    finally:
        _listener.reset(before)


def write(folder: Path, curve: Sequence[Epoch]) -> None:
    """``metrics.jsonl``: one line for each epoch. No times: equal runs give equal files."""
    (folder / FILE).write_text("".join(json.dumps(asdict(entry)) + "\n" for entry in curve))


@contextmanager
def sinks(name: str, config: Mapping[str, object], done: int = 0) -> Iterator[Sink]:
    """Gives a function that takes the entry of an epoch to wherever :func:`tracked` asks for.

    Args:
        name: of this training, among others in the same place.
        config: its settings.
        done: epochs that were reported before it was interrupted.

    What cannot be reached later on is left out, and said: a training of hours must not end by it.

    Raises:
        ToolMissing: the package that is asked for is not installed.
        RecipeError: the place cannot be reached when the training begins.
    """
    opened: list[tuple[Sink, Callable[[], None]]] = []
    asked = _asked.get()
    if asked.tensorboard:
        opened.append(_tensorboard(Path(asked.tensorboard) / name, done))
    if asked.mlflow:
        opened.append(_mlflow(asked.mlflow, name, config))
    if (listener := _listener.get()) is not None:
        opened.append((partial(listener, name), lambda: None))

    def take(entry: Entry) -> None:
        for pair in [*opened]:
            try:
                pair[0](entry)
            except Exception as error:  # noqa: BLE001  of whatever library and network lies behind it
                opened.remove(pair)
                say(f"    WARNING: figures are no longer reported: {_first_line(error)}")

    try:
        yield take
    finally:
        for _, close in opened:
            with suppress(Exception):  # as above; the result is there already
                close()


def _tensorboard(folder: Path, done: int) -> tuple[Sink, Callable[[], None]]:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise ToolMissing(
            "tracking.tensorboard is set, and tensorboard is not installed",
            "pip install 'jetpress[tensorboard]', or leave the key out",
        ) from None
    writer = SummaryWriter(str(folder), purge_step=done + 1)

    def take(entry: Entry) -> None:
        for key, value in entry.items():
            if key != "epoch":
                writer.add_scalar(key, value, int(entry["epoch"]))
        writer.flush()

    return take, writer.close


def _mlflow(address: str, name: str, config: Mapping[str, object]) -> tuple[Sink, Callable[[], None]]:
    try:
        from mlflow import MlflowClient
    except ImportError:
        raise ToolMissing(
            "tracking.mlflow is set, and mlflow is not installed",
            "pip install 'jetpress[mlflow]', or leave the key out",
        ) from None
    try:
        client = MlflowClient(tracking_uri=address)
        known = client.get_experiment_by_name("jetpress")
        experiment = known.experiment_id if known else client.create_experiment("jetpress")
        run = client.create_run(experiment, run_name=name).info.run_id
        for key, value in config.items():
            client.log_param(run, key, value)
    except Exception as error:
        raise RecipeError(
            f"tracking.mlflow = {address}: {_first_line(error)}", "correct the address, or leave the key out"
        ) from error

    def take(entry: Entry) -> None:
        for key, value in entry.items():
            if key != "epoch":
                client.log_metric(run, key, value, step=int(entry["epoch"]))

    return take, lambda: client.set_terminated(run)


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
