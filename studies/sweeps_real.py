"""Searches, batches and a Ray cluster with real runs on the digits, killed on the way.

::

    python -m studies.sweeps_real search FOLDER [TRIALS]   a search is killed and goes on; another learns from it
    python -m studies.sweeps_real batch FOLDER             six jobs, of which two must fail; their head is killed
    python -m studies.sweeps_real ray FOLDER [S3]          two nodes that share nothing but a store; one is killed.
                                                           S3: address of a server; left out: one of moto's is begun
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from jetpress.pipeline.sweep import batch, queue, records, sweep
from jetpress.pipeline.sweep.reading import load
from studies.sweeps import RUNNER, prepared

SEARCH = """
recipes = ["small.toml"]
targets = ["host"]
[set]
"sparsify.mode" = "off"
"prune.rounds" = 1
"finetune.epochs" = 4
[search]
trials = {trials}
objectives = ["accuracy", "latency", "size"]
[search.space]
"prune.ratio" = {{ from = 0.2, to = 0.85 }}
"finetune.learning_rate" = {{ from = 0.0001, to = 0.1, log = true }}
"prune.criterion" = ["l2", "fpgm"]
"""
SWEEP = """
recipes = ["small.toml"]
targets = ["host", "orin-nano", "xavier"]
retries = 3
[set]
"sparsify.mode" = "off"
"prune.rounds" = 1
[grid]
"prune.ratio" = [0.25, 0.5]
"""
ENDS = "\ndef ends():\n    raise ValueError('no such layer')\n"
JOBS = {
    "good": 'recipe = "small.toml"\n',
    "other": 'recipe = "small.toml"\nset = ["prune.ratio=0.3"]\n',
    "urgent": 'recipe = "small.toml"\npriority = 9\nset = ["prune.ratio=0.6"]\n',
    "board": 'recipe = "small.toml"\ntarget = "xavier"\n',
    "broken": 'recipe = "small.toml"\nset = [\'model.builder="network.py:ends"\']\n',
    "greedy": 'recipe = "small.toml"\nmemory_mb = 100\n',
}


def cells_of(folder: Path) -> list[records.Record]:
    """Those that have ended."""
    found = (records.read(folder, path.parent.name) for path in folder.glob("cells/*/cell.json"))
    return [one for one in found if one is not None]


def search(folder: Path, trials: int) -> None:
    """Killed after a third of its trials; then the front, and one of its commands."""
    path, environment = prepared(folder, 100.0).with_name("search.toml"), runs(folder)
    path.write_text(SEARCH.format(trials=trials))
    place = sweep.folder_of(path, load(path), folder / "runs")
    command = [*RUNNER, "sweep", str(path), "--workers", "2", "-q"]
    head = subprocess.Popen(command, env=environment)
    while len(cells_of(place)) < trials // 3 and head.poll() is None:
        time.sleep(1)
    head.kill()
    head.wait()
    print(f"killed with {len(cells_of(place))} of {trials} trials ended")
    subprocess.run(command, env=environment, check=False)
    ended = cells_of(place)
    print(f"then {dict(Counter(one.state for one in ended))}")
    for one in ended:
        if one.state == "pruned":
            print(f"  {one.name}: {one.why}")
    told = subprocess.run(
        [*RUNNER, "results", str(path), "--json"], env=environment, capture_output=True, check=True
    )
    known = json.loads(told.stdout)
    rows = {row["id"]: row for row in known["cells"]}
    for identity in known["front"]:
        row = rows[identity]
        print(
            f"  front: {row['accuracy']:.2f} %, {row['latency_ms']:.3f} ms, {row['size_bytes']} bytes: {row['command']}"
        )
    again = shlex.split(rows[known["front"][0]]["command"])[2:]
    done = subprocess.run(
        [*RUNNER, "plan", *again, "--json"], env=environment, capture_output=True, check=True
    )
    states = Counter(step["state"] for step in json.loads(done.stdout)["steps"])
    print(f"the first command again would find: {dict(states)}")
    other = path.with_name("other.toml")
    other.write_text(SEARCH.format(trials=1))
    said = subprocess.run(
        [*RUNNER, "sweep", str(other)], env=environment, capture_output=True, text=True, check=False
    )
    print(f"another search learns from {said.stderr.count('  earlier ')} of them")


def jobs(folder: Path) -> None:
    """Their head is killed when the first has ended."""
    for name, text in JOBS.items():
        place = folder / "batch" / "incoming" / name
        prepared(place, 100.0)
        (place / "network.py").write_text((place / "network.py").read_text() + ENDS)
        (place / "job.toml").write_text(text)
    command = [*RUNNER, "batch", str(folder / "batch"), "--workers", "2", "-q"]
    head = subprocess.Popen(command)
    while not any(one.state in ("done", "failed") for one in known_jobs(folder)) and head.poll() is None:
        time.sleep(0.5)
    head.kill()
    head.wait()
    print(f"killed with {dict(Counter(one.state for one in known_jobs(folder)))}")
    subprocess.run(command, check=False)
    for one in sorted(known_jobs(folder), key=lambda one: one.ended or 0):
        print(f"  {one.name:<8} {one.state:<7} begun {one.tries} times, exit code {one.exit_code}: {one.why}")


def known_jobs(folder: Path) -> list[queue.Job]:
    """Those that were taken up."""
    return batch.jobs(folder / "batch") if (folder / "batch" / batch.QUEUE).is_file() else []


def runs(folder: Path) -> dict[str, str]:
    """The environment with its own folder of runs."""
    return {**os.environ, "JETPRESS_RUNS": str(folder / "runs")}


def cluster(folder: Path, s3: str) -> None:
    """Each node has a folder of its own at the same path: what they share is in the store alone."""
    path = prepared(folder, 100.0).with_name("ray.toml")
    path.write_text(SWEEP)
    (folder / "runs").mkdir(exist_ok=True)
    with served(s3) as address:
        shared = {
            "AWS_ENDPOINT_URL": address, "AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_DEFAULT_REGION": "us-east-1", "JETPRESS_STORE": "s3://jetpress/team",
        }  # fmt: skip
        os.environ.update(shared)
        import s3fs

        s3fs.S3FileSystem().mkdir("jetpress")
        first = node(folder, "a", "--head --port=6391")
        wait_for(
            lambda: (
                subprocess.run(
                    ray("status", "--address=127.0.0.1:6391"), capture_output=True, check=False
                ).returncode
                == 0
            )
        )
        second = node(folder, "b", "--address=127.0.0.1:6391")
        command = [*RUNNER, "sweep", str(path), "--ray", "127.0.0.1:6391", "-q"]
        head = subprocess.Popen(command, env=runs(folder))
        wait_for(lambda: any((folder / "b").glob("*sweep*/cells/*/log")) or head.poll() is not None)
        time.sleep(20)  # in the middle of its work
        began = sorted(one.parent.name for one in (folder / "b").glob("*sweep*/cells/*/log"))
        print(f"killed the second node, on which {began} ran")
        os.killpg(second.pid, signal.SIGKILL)
        code = head.wait()
        os.killpg(first.pid, signal.SIGKILL)
        place = sweep.folder_of(path, load(path), folder / "runs")
        print(f"exit code {code}; here: {sorted(one.name for one in (folder / 'runs').iterdir())}")
        for one in cells_of(place):
            ran, found = one.figures.get("stages_ran"), one.figures.get("stages_cached")
            print(f"  {one.id} {one.name}: {one.state}, {one.tries} tries, {ran} stages ran, {found} found")


def ray(*arguments: str) -> list[str]:
    """Ray's own command."""
    return [str(Path(sys.executable).with_name("ray")), *arguments]


def node(folder: Path, name: str, how: str) -> subprocess.Popen[bytes]:
    """A node with a mount of its own, in a process group of its own: all of it is killed at once."""
    (folder / name).mkdir(exist_ok=True)
    started = shlex.join(ray("start", *shlex.split(how), "--num-cpus=1", "--disable-usage-stats", "--block"))
    mounted = f"mount --bind {folder / name} {folder / 'runs'} && exec {started}"
    return subprocess.Popen(
        ["unshare", "--mount", "sh", "-c", mounted], env=runs(folder), start_new_session=True
    )


@contextmanager
def served(address: str) -> Iterator[str]:
    """The address of an S3 server."""
    if address:
        yield address
        return
    with subprocess.Popen(
        [sys.executable, "-m", "moto.server", "-p", "5391"], stderr=subprocess.DEVNULL
    ) as server:
        time.sleep(20)
        yield "http://127.0.0.1:5391"
        server.kill()


def wait_for(ready: object) -> None:
    """Until it is."""
    while not ready():  # type: ignore[operator]
        time.sleep(1)


def main(arguments: Mapping[int, str]) -> int:
    """One of them."""
    if arguments.get(2):
        shutil.rmtree(arguments[2], ignore_errors=True)
    match arguments.get(1), arguments.get(2, ""):
        case "search", folder:
            search(Path(folder).absolute(), int(arguments.get(3, "12")))
        case "batch", folder:
            jobs(Path(folder).absolute())
        case "ray", folder:
            cluster(Path(folder).absolute(), arguments.get(3, ""))
        case _:
            print(__doc__)
            return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(dict(enumerate(sys.argv))))
