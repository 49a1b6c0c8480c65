"""Real processes side by side: all accounted for, limits, one that measures alone, nothing left behind."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from jetpress.pipeline.sweep.workers import Ended, Task, Workers

ROOT = Path(__file__).resolve().parents[3]
SAYS = """
import json, os, socket, sys, time
line = socket.socket(fileno=int(sys.argv[-1]))
def say(**told):
    line.sendall(json.dumps(told).encode() + b"\\n")
"""


def tasks(folder: Path, *programs: str, **limits: float) -> list[Task]:
    return [
        Task(str(n), (sys.executable, "-c", SAYS + program), folder / f"{n}.log", folder, **limits)  # type: ignore[arg-type]
        for n, program in enumerate(programs)
    ]


def work(most: int, given: list[Task]) -> dict[str, Ended]:
    waiting, ended = [*given], dict[str, Ended]()
    Workers(most).work(
        lambda _: waiting.pop(0) if waiting else None, lambda task, how: ended.update({task.id: how})
    )
    return ended


def test_each_end_is_told_and_none_stops_the_others(tmp_path: Path) -> None:
    ended = work(
        3,
        tasks(
            tmp_path,
            'print("hello"); say(event="ended", exit_code=0)',
            "sys.exit(3)",
            "os.kill(os.getpid(), 9)",
            'line.sendall(b"no JSON\\n"); say(event="ended", exit_code=8)',
        ),
    )
    assert {name: (how.code, how.told.get("exit_code")) for name, how in ended.items()} == {
        "0": (0, 0),
        "1": (3, None),
        "2": (-9, None),
        "3": (0, 8),
    }
    assert (tmp_path / "0.log").read_text() == "hello\n"


@pytest.mark.parametrize(
    ("program", "limit", "why"),
    [
        ("time.sleep(30)", {"seconds": 0.5}, "ran longer than 0.5 s"),
        ("held = bytearray(200 * 2**20); time.sleep(30)", {"memory": 100 * 2**20}, "held more than 100 MiB"),
        (
            "open('big', 'wb').write(bytes(3 * 2**20)); time.sleep(30)",
            {"disk": 2**20},
            "held more than 1 MiB",
        ),
    ],
)
def test_limits_end_a_program(tmp_path: Path, program: str, limit: dict[str, float], why: str) -> None:
    (how,) = work(1, tasks(tmp_path, program, **limit)).values()
    assert how.code == -signal.SIGKILL
    assert why in how.why


COUNTS = """
until = time.monotonic() + 3
with open("ticks", "a") as out:
    while time.monotonic() < until and not os.path.exists("over"):
        out.write(f"{time.monotonic()}\\n"); out.flush(); time.sleep(0.01)
"""
MEASURES = """
time.sleep(0.5)
say(event="measuring"); line.recv(1)
time.sleep(0.1)
begun = time.monotonic(); time.sleep(0.6); ended = time.monotonic()
say(event="measured")
open("measured", "w").write(f"{begun} {ended}")
time.sleep(0.4)
open("over", "w")
"""


def test_one_that_measures_has_the_machine_for_itself(tmp_path: Path) -> None:
    ended = work(2, tasks(tmp_path, COUNTS, MEASURES))
    assert [how.code for how in ended.values()] == [0, 0]
    begun, over = map(float, (tmp_path / "measured").read_text().split())
    ticks = [float(tick) for tick in (tmp_path / "ticks").read_text().split()]
    assert not [tick for tick in ticks if begun < tick < over]
    assert [tick for tick in ticks if tick < begun]
    assert [tick for tick in ticks if tick > over]


def test_one_that_dies_while_it_measures_stops_nobody(tmp_path: Path) -> None:
    dies = 'say(event="measuring"); line.recv(1); os.kill(os.getpid(), 9)'
    ended = work(3, tasks(tmp_path, "time.sleep(0.5)", dies, 'say(event="measuring"); line.recv(1)'))
    assert [how.code for _, how in sorted(ended.items())] == [0, -9, 0]


def test_a_program_has_ended_though_a_process_that_it_left_holds_its_socket(tmp_path: Path) -> None:
    leaves = 'say(event="ended", exit_code=0); os.fork() or (os.setsid(), time.sleep(20)); os._exit(0)'
    began = time.monotonic()
    (how,) = work(1, tasks(tmp_path, leaves)).values()
    assert (how.code, how.told["exit_code"]) == (0, 0)
    assert time.monotonic() - began < 10


LISTENS = f"""
sys.path.insert(0, {str(ROOT)!r})
from jetpress.pipeline.sweep.cell import Line
line = Line(line.detach())
open(f"pid-{{os.getpid()}}", "w"); time.sleep(60)
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_no_program_outlives_whoever_began_it(tmp_path: Path, number: signal.Signals) -> None:
    program = f"""
import sys
from pathlib import Path
sys.path.insert(0, {str(ROOT)!r})
from tests.pipeline.sweep.test_workers import LISTENS, tasks, work
work(2, tasks(Path({str(tmp_path)!r}), LISTENS, LISTENS))
"""
    process = subprocess.Popen([sys.executable, "-c", program], stderr=subprocess.DEVNULL)
    while len(found := [*tmp_path.glob("pid-*")]) < 2:
        time.sleep(0.05)
    process.send_signal(number)
    process.wait(30)
    until = time.monotonic() + 20
    left = {int(path.name.removeprefix("pid-")) for path in found}
    while left and time.monotonic() < until:
        left = {pid for pid in left if _lives(pid)}
        time.sleep(0.05)
    assert not left


def _lives(pid: int) -> bool:
    """Not as a zombie that nobody has waited for yet."""
    try:
        return " Z " not in Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
