"""What sweeps share, whether every cell is accounted for, and what the scheduler costs.

::

    python -m studies.sweeps grid FOLDER WORKERS [DROP]   24 cells on the digits, which may lose so many points (1):
                                                   stages that ran, against 24 separate runs
    python -m studies.sweeps alone FOLDER          three of them by themselves, each with a store of its own
    python -m studies.sweeps cells [WORKERS]       1,000 simulated cells, 5 % of them failing
    python -m studies.sweeps overhead [ADDRESS]    what a cell costs beside what it does; with Ray where there is one
    python -m studies.sweeps day FOLDER            200 jobs, 10 kills of the head and 10 of jobs
"""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from jetpress.pipeline.sweep import batch, records, sweep
from jetpress.pipeline.sweep.on_ray import Cluster
from jetpress.pipeline.sweep.reading import Sweep, load
from jetpress.pipeline.sweep.workers import Ended, Task, Workers

NETWORK = """
from torch import nn

def build(width=32):
    return nn.Sequential(
        nn.Conv2d(3, width, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU(),
        nn.Conv2d(width, 2 * width, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(2 * width), nn.ReLU(),
        nn.Conv2d(2 * width, 2 * width, 3, padding=1, bias=False), nn.BatchNorm2d(2 * width), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2 * width, 10),
    )
"""
RECIPE = """
[model]
builder = "network.py:build"
[data]
size = 16
sample_images = 32
calibration_images = 16
[train]
precision = "float32"
epochs = 3
[finetune]
epochs = 1
[benchmark]
seconds = 0.3
max_seconds = 2
[budget]
accuracy_drop = {drop}
"""
SWEEP = """
recipes = ["small.toml"]
targets = ["host", "orin-nano", "orin-nx", "agx-orin", "xavier", "nano"]
[set]
"sparsify.mode" = "off"
[grid]
"prune.ratio" = [0.25, 0.4, 0.5, 0.6]
"""
RUNNER = [sys.executable, "-m", "jetpress.pipeline.cli"]
SAYS = """
import json, random, socket, sys, time
line = socket.socket(fileno=int(sys.argv[-1]))
time.sleep(random.Random(sys.argv[1]).uniform(0, 0.02))
"""
FAILS = {0: "sys.exit(3)", 1: "import os; os.kill(os.getpid(), 9)", 2: "raise ValueError('of the user')"}
ENDS = 'line.sendall(json.dumps({"event": "ended", "exit_code": 0, "folder": sys.argv[1]}).encode() + b"\\n")'


def prepared(folder: Path, drop: float) -> Path:
    """The sweep's file, with its recipe and network."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "network.py").write_text(NETWORK)
    (folder / "small.toml").write_text(RECIPE.format(drop=drop))
    (folder / "grid.toml").write_text(SWEEP)
    return folder / "grid.toml"


def grid(folder: Path, workers: int, drop: float) -> None:
    """Stages that ran, of those that 24 separate runs have."""
    path = prepared(folder, drop)
    began = time.monotonic()
    with_runs = {**os.environ, "JETPRESS_RUNS": str(folder / "runs")}
    subprocess.run([*RUNNER, "sweep", str(path), "--workers", str(workers), "-q"], check=True, env=with_runs)
    took = time.monotonic() - began
    place = sweep.folder_of(path, load(path), folder / "runs")
    ran, whole = Counter[str](), Counter[str]()
    for one in records.read_all(place):
        for stage in json.loads((Path(one.folder) / "report.json").read_bytes())["stages"]:
            ran[stage["name"]] += stage["state"] == "ran"
            whole[stage["name"]] += stage["state"] in ("ran", "cached")
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    took_cpu = used.ru_utime + used.ru_stime
    print(f"{workers} workers, {took:.0f} s, {took_cpu:.0f} s of processors")
    print(f"{ran.total()} stages ran, {whole.total()} in 24 separate runs")
    for name, count in whole.items():
        print(f"  {name:<14} {ran[name]:>3} of {count}")


def alone(folder: Path) -> None:
    """Runs by themselves execute what the sweep's reports list as ran or cached."""
    path = prepared(folder, 1.0)
    for target in ("host", "orin-nano", "nano"):
        place = {**os.environ, "JETPRESS_RUNS": str(folder / f"alone-{target}")}
        command = [*RUNNER, "run", str(path.parent / "small.toml"), "--target", target, "--json", "-q"]
        done = subprocess.run(
            [*command, "--set", 'sparsify.mode="off"'], env=place, capture_output=True, check=False
        )
        states = Counter(stage["state"] for stage in json.loads(done.stdout)["stages"])
        print(f"{target}: {dict(states)}")


def simulated(count: int, failing: int, folder: Path) -> list[Task]:
    """Cells that sleep a little; ``failing`` of 100 end in one of three ways that nobody wants."""
    bad = {*np.random.default_rng(0).choice(count, count * failing // 100, replace=False).tolist()}
    return [
        Task(
            str(n),
            (sys.executable, "-S", "-c", SAYS + (FAILS[n % 3] if n in bad else ENDS), str(n)),
            folder / f"{n}.log",
        )
        for n in range(count)
    ]


def cells(workers: int) -> None:
    """All accounted for."""
    with TemporaryDirectory() as folder:
        given = simulated(1000, 5, Path(folder))
        ended, began = list[tuple[str, Ended]](), time.monotonic()
        waiting = [*given]
        Workers(workers).work(
            lambda _: waiting.pop() if waiting else None, lambda task, how: ended.append((task.id, how))
        )
        took = time.monotonic() - began
    codes = Counter(how.code for _, how in ended)
    whole = sum(how.code == 0 and how.told.get("folder") == name for name, how in ended)
    print(f"1000 given, {len(ended)} ended, {len({name for name, _ in ended})} different ones, {took:.1f} s")
    print(f"exit codes {dict(codes)}; {whole} said their own name and ended well")


def overhead(address: str) -> None:
    """Seconds for each of 100 empty programs, by plain subprocesses, by our workers, and as Ray tasks."""
    empty = (sys.executable, "-S", "-c", "")
    with TemporaryDirectory() as folder:
        given = [Task(str(n), empty, Path(folder) / "log") for n in range(100)]
        began = time.monotonic()
        for _ in given:
            subprocess.run(empty, check=True)
        print(f"plain: {10 * (time.monotonic() - began):.1f} ms each")
        print(f"Workers(1): {10 * timed(Workers(1), given):.1f} ms each")
        if address:
            crew = Cluster(address, Sweep(("digits",), ("host",)))
            timed(crew, given)  # Ray begins its own workers first
            print(f"Cluster: {10 * timed(crew, given):.1f} ms each")
            print(f"Ray alone: {10 * by_ray(empty, len(given)):.1f} ms each")


def timed(crew: sweep.Crew, given: Sequence[Task]) -> float:
    """Seconds until all have ended."""
    waiting, began = [*given], time.monotonic()
    crew.work(lambda _: waiting.pop() if waiting else None, lambda *_: None)
    return time.monotonic() - began


def by_ray(command: Sequence[str], count: int) -> float:
    """Seconds for the same programs as plain Ray tasks."""
    import ray

    began = time.monotonic()
    task = ray.remote(num_cpus=1)(lambda: subprocess.run(command, check=True).returncode)
    ray.get([task.remote() for _ in range(count)])
    return time.monotonic() - began


WORKS = """
import json, os, random, socket, sys, threading, time
line = socket.socket(fileno=int(sys.argv[2]))
threading.Thread(target=lambda: line.recv(1) or os._exit(9), daemon=True).start()
folder = sys.argv[1]
open(folder + "/pid", "w").write(str(os.getpid()))
time.sleep(random.uniform(0.3, 1.5))
if os.path.exists(folder + "/ended.json"):
    open(folder + "/twice", "w")
open(folder + "/draft", "w").write(json.dumps({"exit_code": 0, "folder": folder}))
os.rename(folder + "/draft", folder + "/ended.json")
"""
HEAD = """
import sys
from pathlib import Path
from jetpress.pipeline.sweep import batch
from jetpress.pipeline.sweep.workers import Workers
batch.run(Path(sys.argv[1]), Workers(4), watch=True, process=(sys.executable, "-S", "-c", sys.argv[2]))
"""


def day(folder: Path) -> None:
    """200 jobs arrive; 20 times something is killed; all are there once at the end."""
    chance, killed, arrived = np.random.default_rng(0), Counter[str](), 0
    head, last = begun(folder), time.monotonic()
    while True:
        ahead = arrived < 10 * killed.total() + 5  # kills keep up with jobs, also where a head begins slowly
        if arrived < 200 and chance.random() < 0.5 and (ahead or not alive(folder)):
            arrived += 1
            submit(folder, f"job-{arrived:03d}", int(chance.integers(3)))
        if killed.total() < 20 and time.monotonic() - last > 2.0 and (folder / batch.QUEUE).exists():
            if (running := alive(folder)) and killed["head"] < 10 and chance.random() < 0.5:
                head.kill()
                head.wait()
                head, last = begun(folder), time.monotonic()
                killed["head"] += 1
            elif running and killed["job"] < 10:
                os.kill(running[0], signal.SIGKILL)
                last = time.monotonic()
                killed["job"] += 1
        time.sleep(0.05)
        if arrived == 200 and count(folder, "done", "failed") == 200:
            break
    head.send_signal(signal.SIGINT)
    head.wait()
    found = batch.jobs(folder)
    print(f"{len(found)} jobs, {dict(Counter(job.state for job in found))}, kills {dict(killed)}")
    print(f"begun {sum(job.tries for job in found)} times; done twice: {len([*folder.glob('jobs/*/twice')])}")


def begun(folder: Path) -> subprocess.Popen[bytes]:
    """Who keeps the queue."""
    with (folder.parent / f"{folder.name}.log").open("ab") as log:
        return subprocess.Popen([sys.executable, "-c", HEAD, str(folder), WORKS], stderr=log)


def submit(folder: Path, name: str, priority: int) -> None:
    """Written beside, then renamed."""
    (draft := folder / f".{name}").mkdir(parents=True)
    (draft / "job.toml").write_text(f'recipe = "digits"\npriority = {priority}\n')
    (folder / "incoming").mkdir(exist_ok=True)
    draft.rename(folder / "incoming" / name)


def alive(folder: Path) -> list[int]:
    """Processes of jobs that run now."""
    found = []
    for job in batch.jobs(folder) if (folder / batch.QUEUE).exists() else ():
        place = folder / "jobs" / job.name
        if job.state == "running" and (place / "pid").exists() and not (place / "ended.json").exists():
            pid = int((place / "pid").read_text() or 0)
            if pid and Path(f"/proc/{pid}").exists():
                found.append(pid)
    return found


def count(folder: Path, *states: str) -> int:
    """Jobs in one of these states."""
    return sum(job.state in states for job in batch.jobs(folder))


def main(arguments: Mapping[int, str]) -> int:
    """One of the measurements."""
    match arguments.get(1), arguments.get(2, ""), arguments.get(3, ""):
        case "grid", folder, workers:
            grid(Path(folder), int(workers), float(arguments.get(4, "1")))
        case "alone", folder, _:
            alone(Path(folder))
        case "cells", workers, _:
            cells(int(workers or 2))
        case "overhead", address, _:
            overhead(address)
        case "day", folder, _:
            day(Path(folder))
        case _:
            print(__doc__)
            return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(dict(enumerate(sys.argv))))
