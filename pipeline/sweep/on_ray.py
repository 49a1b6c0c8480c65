"""The cells of a sweep as tasks of a Ray cluster: Ray says where and when, and begins a task of a lost node again.

The folder of runs must be the same on every node, at the same path (NFS or another shared disk), and jetpress
installed there. A cell needs processors and GPUs as the sweep says; one that measures a board needs
``device:<user@host>`` where a node of the cluster offers it (``ray start --resources '{"device:me@orin": 1}'``).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from jetpress.deploy import console
from jetpress.deploy.errors import DeviceError, ToolMissing
from jetpress.pipeline.sweep.reading import Sweep
from jetpress.pipeline.sweep.workers import Ended, Task, Told, Workers, unheard

LISTEN_S = 0.2
AHEAD = 2
"""Tasks that are given to Ray for each processor: one runs, one is at hand."""


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

    def work(
        self,
        take: Callable[[Sequence[Task]], Task | None],
        ended: Callable[[Task, Ended], None],
        more: Callable[[], bool] = lambda: False,
        heard: Callable[[Task, Told], str] = unheard,
    ) -> None:
        """Run programs as tasks until there are none. What they say of their work stays on their node."""
        del heard
        running: dict[Any, Task] = {}
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
                for reference in done:
                    ended(running.pop(reference), self._result(reference))
        finally:
            for reference in running:
                self._ray.cancel(reference, force=True)

    def _room(self) -> int:
        processors = int(self._ray.cluster_resources().get("CPU", 1))
        return max(AHEAD * processors // self._sweep.cpus, 1)

    def _begin(self, task: Task) -> Any:
        offered = self._ray.cluster_resources()
        device = f"device:{task.device}"
        needs = {device: 1} if task.device and device in offered else {}
        remote = self._ray.remote(
            num_cpus=self._sweep.cpus,
            num_gpus=self._sweep.gpus,
            max_retries=self._sweep.retries,
            resources=needs,
        )(on_node)
        return remote.remote(task)

    def _result(self, reference: Any) -> Ended:
        try:
            result: Ended = self._ray.get(reference)
        except self._ray.exceptions.RayError as error:
            first = str(error).strip().splitlines()[0]
            console.detail(f"  {first}")
            return Ended(-1, {"error": f"Ray lost it: {first}"}, 0.0)
        return result


def on_node(task: Task) -> Ended:
    """Run a program on the node that this is called on; it dies with the worker."""
    waiting, found = [task], list[Ended]()
    Workers(1).work(lambda _: waiting.pop() if waiting else None, lambda _, how: found.append(how))
    return found[0]
