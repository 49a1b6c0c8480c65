"""Jobs of a batch: real processes, killed with their head and by themselves; none lost, none twice."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest

from jetpress.deploy.errors import RecipeError
from jetpress.pipeline.sweep.batch import QUEUE, Batch, jobs, read_job, run
from jetpress.pipeline.sweep.queue import Queue
from jetpress.pipeline.sweep.workers import Workers

ROOT = Path(__file__).resolve().parents[3]


def submit(folder: Path, name: str, text: str) -> None:
    """As docs/sweeps.md says: written elsewhere, then renamed."""
    draft = folder / f".{name}"
    draft.mkdir(parents=True)
    (draft / "job.toml").write_text(text)
    (folder / "incoming").mkdir(exist_ok=True)
    draft.rename(folder / "incoming" / name)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('recipe = "digits"\nonnx = "a.onnx"', "either recipe or onnx"),
        ("priority = 1", "either recipe or onnx"),
        ('recipe = "digits"\nminuts = 3', "there is no key 'minuts'"),
        ("recipe = ", "not valid TOML"),
    ],
)
def test_what_is_no_job_is_refused(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "job.toml").write_text(text)
    with pytest.raises(RecipeError) as raised:
        read_job(tmp_path)
    assert said in str(raised.value)


def test_the_highest_priority_comes_first_and_a_job_is_added_once(tmp_path: Path) -> None:
    with closing(Queue(tmp_path / "queue.sqlite")) as queue:
        assert [queue.add(name, priority) for name, priority in (("a", 0), ("b", 5), ("c", 5))] == [True] * 3
        assert not queue.add("a", 9)
        assert [job.name if (job := queue.take()) else None for _ in range(4)] == ["b", "c", "a", None]
        queue.end("b", "done", 0, "", 1.0, "runs/b")
        queue.again("b")
        queue.end("b", "failed", 4, "twice", 1.0, "")
        assert [(job.name, job.state) for job in queue.jobs()] == [
            ("a", "running"),
            ("b", "done"),
            ("c", "running"),
        ]


def test_bad_jobs_fail_alone_and_a_job_gets_no_secrets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A job's own code is given its own variables, its own home and no more."""
    monkeypatch.setenv("MY_TOKEN", "secret")
    submit(tmp_path, "typo", 'recipt = "digits"')
    submit(tmp_path, "missing", 'onnx = "nothing.onnx"\n[environment]\nOWN = "1"')
    ended = {job.name: job for job in run(tmp_path, Workers(1))}
    assert {name: (job.state, job.exit_code) for name, job in ended.items()} == {
        "typo": ("failed", 2),
        "missing": ("failed", 2),
    }
    assert "nothing.onnx" in ended["missing"].why
    assert [job.name for job in jobs(tmp_path)] == [job.name for job in ended.values()]
    with closing(Queue(tmp_path / "other.sqlite")) as queue:
        queue.add("missing", 0)
        batch = Batch(tmp_path, queue, ("python",))
        job = queue.take()
        assert job is not None
        place = tmp_path / "jobs" / "missing"
        given = batch.task(job, place, read_job(place)).environment
    assert given is not None
    assert given["HOME"] == str(place)
    assert given["OWN"] == "1"
    assert "MY_TOKEN" not in given


WORKS = """
import json, os, socket, sys, threading, time
from pathlib import Path
line = socket.socket(fileno=int(sys.argv[2]))
threading.Thread(target=lambda: line.recv(1) or os._exit(9), daemon=True).start()
folder = Path(sys.argv[1])
time.sleep({seconds})
if (folder / "ended.json").exists():
    (folder / "twice").touch()
(folder / "draft").write_text(json.dumps({{"exit_code": 0, "folder": str(folder)}}))
(folder / "draft").rename(folder / "ended.json")
"""
HEAD = """
import sys
sys.path.insert(0, {root!r})
from pathlib import Path
from jetpress.pipeline.sweep import batch
from jetpress.pipeline.sweep.workers import Workers
batch.run(Path({folder!r}), Workers(2), process=(sys.executable, "-c", {works!r}))
"""


def head(folder: Path, seconds: float) -> subprocess.Popen[bytes]:
    works = WORKS.format(seconds=seconds)
    program = HEAD.format(root=str(ROOT), works=works, folder=str(folder))
    with (folder / "err").open("ab") as err:
        return subprocess.Popen([sys.executable, "-c", program], stderr=err)


def test_after_kills_of_the_head_and_of_jobs_none_is_lost_and_none_is_twice(tmp_path: Path) -> None:
    for n in range(6):
        submit(tmp_path, f"job-{n}", 'recipe = "digits"')
    for _ in range(2):
        process = head(tmp_path, 0.3)
        until = time.monotonic() + 20
        while time.monotonic() < until and not _running(tmp_path):
            time.sleep(0.05)
        process.kill()
        process.wait()
    process = head(tmp_path, 0.3)
    assert process.wait(60) == 0, (tmp_path / "err").read_text()
    assert [(job.name, job.state) for job in jobs(tmp_path)] == [(f"job-{n}", "done") for n in range(6)]
    assert not [*tmp_path.glob("jobs/*/twice")]
    assert all(json.loads(path.read_bytes()) for path in tmp_path.glob("jobs/*/ended.json"))


def _running(folder: Path) -> bool:
    return (folder / QUEUE).exists() and any(job.state == "running" for job in jobs(folder))
