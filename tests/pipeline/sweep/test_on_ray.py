"""A real Ray cluster of two nodes on this machine: what is lost, what is shared out, what is ended.

The extra ``ray`` is 200 MB and not in the development group: `pip install 'jetpress[ray]'` runs this.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from jetpress.pipeline.sweep.reading import SearchConfig, Sweep
from jetpress.pipeline.sweep.workers import Ended, Task, Told
from tests.deploy.sshd import free_port

ray = pytest.importorskip("ray", reason="the extra ray (200 MB)")
pytestmark = pytest.mark.filterwarnings("default")  # Ray's own

SAYS = """
import json, os, socket, sys, time
folder, name = sys.argv[1:3]
line = socket.socket(fileno=int(sys.argv[-1]))
def say(**told):
    line.sendall(json.dumps(told).encode() + b"\\n")
def log(what):
    with open(folder + "/said", "a") as file:
        file.write(f"{name} {what} {raylet}\\n")
with open(f"/proc/{os.getppid()}/stat") as worker:
    raylet = worker.read().rpartition(")")[2].split()[1]
log("begins")
"""
ENDS = """
log("ends")
say(event="ended", exit_code=0, folder=os.environ.get("CUDA_VISIBLE_DEVICES", ""))
"""
PORTS = ("metrics_agent_port", "metrics_export_port", "dashboard_agent_listen_port", "runtime_env_agent_port")
"""Ray waits 15 s for its agents to choose them, and gives up on a busy machine."""
BOARD = "me@orin"


def ports() -> dict[str, int]:
    return {name: free_port() for name in PORTS}


@pytest.fixture(scope="module")
def nodes() -> Iterator[Any]:
    from ray.cluster_utils import Cluster as Nodes

    offered = {f"device:{BOARD}": 1}
    made = Nodes(
        initialize_head=True,
        head_node_args={"num_cpus": 2, "num_gpus": 4, "resources": offered, "include_dashboard": False}
        | ports(),
    )
    made.second = made.add_node(num_cpus=2, **ports())
    yield made
    ray.shutdown()
    made.shutdown()


def tasks(folder: Path, count: int, program: str, device: str | None = None) -> list[Task]:
    command = (sys.executable, "-S", "-c", SAYS + program + ENDS, str(folder))
    return [Task(f"{n}", (*command, f"{n}"), folder / f"{n}.log", device=device) for n in range(count)]


def work(nodes: Any, sweep: Sweep, given: list[Task], ended: list[tuple[str, Ended]], **more: Any) -> None:
    from jetpress.pipeline.sweep.on_ray import Cluster

    waiting = [*given]
    Cluster(nodes.address, sweep).work(
        lambda _: waiting.pop(0) if waiting else None,
        lambda task, how: ended.append((task.id, how)),
        **more,
    )


def said(folder: Path) -> list[tuple[str, str, int]]:
    """Who began or ended, and under which node's raylet."""
    lines = [line.split() for line in (folder / "said").read_text().splitlines()]
    return [(name, what, int(raylet)) for name, what, raylet in lines]


def test_one_board_is_never_used_by_two(nodes: Any, tmp_path: Path) -> None:
    ended = list[tuple[str, Ended]]()
    given = tasks(tmp_path, 4, "time.sleep(0.3)", device=BOARD)
    work(nodes, Sweep(("digits",), ("orin-nano",)), given, ended)
    assert len(ended) == 4
    found = said(tmp_path)
    assert [what for _, what, _ in found] == ["begins", "ends"] * 4
    assert all(one[0] == other[0] for one, other in zip(found[::2], found[1::2], strict=True))


def test_a_cell_gets_the_gpus_that_it_asks_for(nodes: Any, tmp_path: Path) -> None:
    ended = list[tuple[str, Ended]]()
    work(nodes, Sweep(("digits",), ("host",), gpus=2), tasks(tmp_path, 2, "time.sleep(0.5)"), ended)
    seen = sorted(how.told["folder"] for _, how in ended)
    assert all(len(one.split(",")) == 2 for one in seen), seen


def test_a_hopeless_trial_is_ended_on_its_node(nodes: Any, tmp_path: Path) -> None:
    search = SearchConfig({"prune.ratio": [0.3, 0.5]})
    program = 'say(event="epoch", validation=float(name)); time.sleep(300 if name == "1" else 0.1)'
    ended = list[tuple[str, Ended]]()

    def heard(task: Task, told: Told) -> str:
        return "hopeless: by the test" if task.id == "1" and told["validation"] == 1.0 else ""

    began = time.monotonic()
    work(nodes, Sweep(("digits",), ("host",), search=search), tasks(tmp_path, 3, program), ended, heard=heard)
    assert time.monotonic() - began < 60
    assert {name: how.why for name, how in ended} == {"0": "", "1": "hopeless: by the test", "2": ""}


def test_a_lost_node_loses_no_cell_and_none_is_done_twice(nodes: Any, tmp_path: Path) -> None:
    ended = list[tuple[str, Ended]]()
    (lost,) = nodes.second.all_processes["raylet"]
    (tmp_path / "said").touch()

    def lose() -> None:
        while not any(raylet == lost.process.pid for _, _, raylet in said(tmp_path)):
            time.sleep(0.05)
        nodes.remove_node(nodes.second, allow_graceful=False)

    loses = threading.Thread(target=lose)
    loses.start()
    work(nodes, Sweep(("digits",), ("host",), retries=3), tasks(tmp_path, 12, "time.sleep(1)"), ended)
    loses.join()
    assert sorted(int(name) for name, _ in ended) == [*range(12)]
    assert all(how.code == 0 for _, how in ended)
    whole = [name for name, what, _ in said(tmp_path) if what == "ends"]
    assert sorted(whole, key=int) == [str(n) for n in range(12)]
    begun = [name for name, what, _ in said(tmp_path) if what == "begins"]
    assert len(begun) > 12, "the node was lost while nothing ran on it"
