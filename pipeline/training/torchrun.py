"""A run under ``torchrun``: rank 0 walks the pipeline, speaks and writes; the others help it to train.

    torchrun --nproc-per-node=2 -m jetpress run recipes/digits.toml --target host

The others wait until rank 0 comes to a stage that is marked :func:`joint`. It tells them which, as JSON through the
rendezvous' own store; all run it, and only rank 0's result is kept. Every machine must see the same folder of runs.
"""

from __future__ import annotations

import functools
import importlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, redirect_stderr
from pathlib import Path
from typing import Any, ParamSpec, TypeVar, get_type_hints

from jetpress.deploy.errors import DeviceError, JetpressError
from jetpress.pipeline.data.ranks import AGAIN, joined, rank, store, world
from jetpress.pipeline.recipe.sections.fields import as_table
from jetpress.pipeline.store import artifact

P = ParamSpec("P")
T = TypeVar("T")

STAGES = "jetpress.pipeline.stages."
"""Where what rank 0 can ask the others to run lies."""
STOP = "stop"
POLL_S = 0.2
FAREWELL_S = 10.0


def joint(stage: Callable[P, T]) -> Callable[P, T]:
    """Mark a stage that all ranks run."""

    @functools.wraps(stage)
    def together(*arguments: P.args, **rest: P.kwargs) -> T:
        if world() == 1:
            return stage(*arguments, **rest)
        if rank() == 0:
            config, *inputs, draft = arguments
            _order(f"{stage.__module__}:{stage.__name__}", config, inputs, draft)  # type: ignore[arg-type]
        with joined():
            return stage(*arguments, **rest)

    return together


def serve() -> int:
    """What every rank but the first does: run the stages that rank 0 asks for, until it says stop.

    Returns:
        the exit code
    """
    signal.signal(signal.SIGTERM, lambda *_: os._exit(DeviceError.exit_code))  # torchrun: another rank failed
    number = 0
    try:
        while (order := _wait_for(f"order/{number}")) != STOP:
            with redirect_stderr(Path(os.devnull).open("w")):  # rank 0 speaks
                _obey(json.loads(order))
            number += 1
        store().add("gone", 1)
    except JetpressError as error:
        print(f"jetpress: rank {rank()}: {error}", file=sys.stderr, flush=True)
        return error.exit_code
    return 0


@contextmanager
def leading() -> Iterator[None]:
    """Rank 0's work. At its end the others may go; if it fails, they are ended by whoever started them."""
    yield
    if world() == 1:
        return
    store().set(f"order/{_orders()}", STOP)
    end = time.monotonic() + FAREWELL_S
    while store().add("gone", 0) < world() - 1 and time.monotonic() < end:
        time.sleep(POLL_S)


@contextmanager
def together(processes: int) -> Iterator[None]:
    """What torchrun does on one machine, begun by rank 0: the others are started here, and end with the block.

    Raises:
        DeviceError: they do not find each other, or one of them was lost.
    """
    if processes == 1:
        yield
        return
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    told = {"WORLD_SIZE": f"{processes}", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": f"{port}"}
    os.environ.update({**told, "RANK": "0", "LOCAL_RANK": "0"})
    others = [
        subprocess.Popen(
            [sys.executable, "-m", __name__], env={**os.environ, "RANK": f"{one}", "LOCAL_RANK": f"{one}"}
        )
        for one in range(1, processes)
    ]

    def watch(other: subprocess.Popen[bytes]) -> None:
        if other.wait():
            os.kill(os.getpid(), signal.SIGTERM)  # as torchrun tells the ranks that are left

    for other in others:
        threading.Thread(target=watch, args=(other,), daemon=True).start()
    store()  # waits for all
    with leading():
        yield


def _order(stage: str, config: object, inputs: list[artifact.Artifact[object]], draft: Path) -> None:
    """Rank 0 asks the others to run a stage."""
    told = {
        "stage": stage,
        "config": as_table(config),
        "inputs": [[type(one).__name__, str(one.path.resolve())] for one in inputs],
        "draft": str(draft.resolve()),
    }
    store().set(f"order/{_orders()}", json.dumps(told))
    store().add("orders", 1)


def _obey(order: Mapping[str, Any]) -> None:
    """Run the stage; what it writes is thrown away, what rank 0 has of an interrupted training is read."""
    from pydantic import TypeAdapter

    module, _, name = order["stage"].partition(":")
    assert module.startswith(STAGES)
    stage = getattr(importlib.import_module(module), name)
    for _, path in order["inputs"]:
        if not Path(path).is_dir():
            raise DeviceError(
                f"there is no {path} on this machine",
                "all machines need the same folder of runs: set JETPRESS_RUNS to one that they share",
            )
    inputs = [getattr(artifact, kind).open(Path(path)) for kind, path in order["inputs"]]
    config = TypeAdapter(get_type_hints(stage)["config"]).validate_python(order["config"])
    with tempfile.TemporaryDirectory() as scratch:
        Path(scratch, "state").symlink_to(Path(order["draft"], "state"))
        stage(config, *inputs, Path(scratch))


def _orders() -> int:
    """How many were given so far."""
    return int(store().add("orders", 0))


def _wait_for(key: str) -> str:
    """What rank 0 has put there; asking now and then, so that signals are heard however long it takes."""
    try:
        while not store().check([key]):
            time.sleep(POLL_S)
        return str(store().get(key).decode())
    except RuntimeError as error:
        raise DeviceError(f"rank 0 is gone: {str(error).splitlines()[0]}", AGAIN) from error


if __name__ == "__main__":
    sys.exit(serve())
