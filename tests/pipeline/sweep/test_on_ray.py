"""A real Ray cluster of two nodes on this machine: every program ends once, also when a node is lost.

The extra ``ray`` is 200 MB and not in the development group: `pip install 'jetpress[ray]'` runs this.
"""

from __future__ import annotations

import sys
import threading
import time
from pathlib import Path

import pytest

from jetpress.pipeline.sweep.reading import Sweep
from jetpress.pipeline.sweep.workers import Ended, Task

pytest.importorskip("ray", reason="the extra ray (200 MB)")
pytestmark = pytest.mark.filterwarnings("default")  # Ray's own

SAYS = """
import json, socket, sys, time
line = socket.socket(fileno=int(sys.argv[-1]))
time.sleep({seconds})
line.sendall(json.dumps({{"event": "ended", "exit_code": 0, "folder": sys.argv[1]}}).encode() + b"\\n")
"""


def test_a_lost_node_loses_no_cell(tmp_path: Path) -> None:
    import ray
    from ray.cluster_utils import Cluster as Nodes

    from jetpress.pipeline.sweep.on_ray import Cluster

    nodes = Nodes(initialize_head=True, head_node_args={"num_cpus": 1})
    second = nodes.add_node(num_cpus=2)
    try:
        crew = Cluster(nodes.address, Sweep(("digits",), ("host",), retries=3))
        waiting = [
            Task(
                str(n), (sys.executable, "-S", "-c", SAYS.format(seconds=0.5), str(n)), tmp_path / f"{n}.log"
            )
            for n in range(12)
        ]
        ended = list[tuple[str, Ended]]()

        def lose() -> None:
            while len(ended) < 2:
                time.sleep(0.1)
            nodes.remove_node(second, allow_graceful=False)

        loses = threading.Thread(target=lose)
        loses.start()
        crew.work(
            lambda _: waiting.pop() if waiting else None, lambda task, how: ended.append((task.id, how))
        )
        loses.join()
    finally:
        ray.shutdown()
        nodes.shutdown()
    assert sorted(int(name) for name, _ in ended) == [*range(12)]
    assert all(how.code == 0 and how.told["folder"] == name for name, how in ended)
