"""The cells of a sweep as tasks of a Ray cluster: Ray says where and when, and begins a task of a lost node again.

Nodes share the folder of runs (NFS or another shared disk, at the same path), or what ``JETPRESS_STORE`` names;
jetpress is installed on each. A cell needs processors and GPUs as the sweep says; one that works on a board needs
``device:<user@host>`` where a node of the cluster offers it (``ray start --resources '{"device:me@orin": 1}'``): Ray
gives that to one cell at a time.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from jetpress.deploy import console
from jetpress.deploy.errors import DeviceError, ToolMissing
from jetpress.pipeline.store.runs import home
from jetpress.pipeline.sweep.reading import Sweep
from jetpress.pipeline.sweep.workers import Ended, Task, Told, Workers, unheard

LISTEN_S = 0.2
AHEAD = 2
"""Tasks that are given to Ray for each that it has room for: one runs, one is at hand."""
HANDED_ON = ("JETPRESS_", "AWS_", "OMP_NUM_THREADS")
"""What variables begin with that a cell gets from here; all others are those of its node."""


class Cluster:
    """A Ray cluster.

    Args:
        address: as ``ray.init`` takes it.
        sweep: says what a cell needs.

    Raises:
        ToolMissing: Ray is not installed.
        DeviceError: the cluster cannot be reached.
    """

    def __init__(self, address: str, sweep: Sweep) -> None:
        try:
            import ray
            from ray.util.queue import Queue
        except ImportError:
            raise ToolMissing(
                "Ray is not installed", "pip install 'jetpress[ray]', or take --workers N"
            ) from None
        self._ray: Any = ray
        self._sweep = sweep
        try:
            ray.init(address=address, ignore_reinit_error=True, log_to_driver=False, logging_level="ERROR")
        except (ConnectionError, RuntimeError, ValueError) as error:
            raise DeviceError(
                f"no Ray cluster at {address}: {str(error).splitlines()[0]}",
                "`ray start --head` begins one; `ray status` shows it",
            ) from None
        needed = {"CPU": sweep.cpus, "GPU": sweep.gpus}
        nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        if not any(all(node.get(kind, 0) >= count for kind, count in needed.items()) for node in nodes):
            asked = f"{sweep.cpus} processors and {sweep.gpus} GPUs"
            console.say(f"  WARNING: no node has {asked} now: cells wait until one of the cluster has")
        self._said: Any = Queue(actor_options={"num_cpus": 0}) if sweep.search else None
        """What cells say of their work, for a search that ends hopeless trials."""

    def work(
        self,
        take: Callable[[Sequence[Task]], Task | None],
        ended: Callable[[Task, Ended], None],
        more: Callable[[], bool] = lambda: False,
        heard: Callable[[Task, Told], str] = unheard,
    ) -> None:
        """Run programs as tasks until there are none."""
        running: dict[Any, Task] = {}
        hopeless: dict[str, str] = {}
        try:
            while True:
                while len(running) < self._room():
                    task = take([*running.values()])
                    if task is None:
                        break
                    running[self._begin(task)] = task
                if not running and not more():
                    return
                done, _ = self._ray.wait([*running], num_returns=1, timeout=LISTEN_S) if running else ((), ())
                self._listen(running, heard, hopeless)
                for reference in done:
                    task = running.pop(reference)
                    ended(task, self._result(reference, hopeless.get(task.id, "")))
        finally:
            for reference in running:
                self._ray.cancel(reference, force=True)

    def _room(self) -> int:
        there = self._ray.cluster_resources()
        room = int(there.get("CPU", 1)) // self._sweep.cpus
        if self._sweep.gpus:
            room = min(room, int(there.get("GPU", 0)) // self._sweep.gpus)
        # A trial that is at hand was chosen before what runs now has taught anything.
        return max(room * (1 if self._sweep.search else AHEAD), 1)

    def _begin(self, task: Task) -> Any:
        device = f"device:{task.device}"
        needs = {device: 1} if task.device and device in self._ray.cluster_resources() else {}
        remote = self._ray.remote(
            num_cpus=self._sweep.cpus,
            num_gpus=self._sweep.gpus,
            max_retries=self._sweep.retries,
            resources=needs,
        )(on_node)
        return remote.remote(task, handed_on(), self._said)

    def _listen(
        self, running: Mapping[Any, Task], heard: Callable[[Task, Told], str], hopeless: dict[str, str]
    ) -> None:
        """Ask about what cells said of their work, and end those that are hopeless."""
        if self._said is None or not (waiting := self._said.qsize()):
            return
        found = {task.id: (reference, task) for reference, task in running.items()}
        for identity, told in self._said.get_nowait_batch(waiting):
            if identity in found and identity not in hopeless:
                reference, task = found[identity]
                if why := heard(task, told):
                    hopeless[identity] = why
                    self._ray.cancel(reference, force=True)

    def _result(self, reference: Any, why: str) -> Ended:
        try:
            result: Ended = self._ray.get(reference)
        except self._ray.exceptions.RayError as error:
            first = (str(error).strip().splitlines() or [type(error).__name__])[0]
            console.detail(f"  {first}")
            return Ended(-1, {} if why else {"error": f"Ray lost it: {first}"}, 0.0, why)
        return result


def handed_on() -> dict[str, str]:
    """Variables that a cell gets from whoever began the sweep."""
    given = {name: value for name, value in os.environ.items() if name.startswith(HANDED_ON)}
    return {**given, "JETPRESS_RUNS": str(home().absolute())}


def on_node(task: Task, given: Mapping[str, str], said: Any) -> Ended:
    """Run a program on the node that this is called on; it dies with the worker."""
    for name, text in task.needs.items():
        if not Path(name).exists():
            Path(name).parent.mkdir(parents=True, exist_ok=True)
            Path(name).write_text(text)

    def heard(task: Task, told: Told) -> str:
        if said is not None:
            said.put((task.id, told))
        return ""

    here = replace(task, command=(sys.executable, *task.command[1:]), environment={**os.environ, **given})
    waiting, found = [here], list[Ended]()
    Workers(1).work(
        lambda _: waiting.pop() if waiting else None, lambda _, how: found.append(how), heard=heard
    )
    return found[0]
