from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import textwrap
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from jetpress.pipeline.store import store as store_module
from jetpress.pipeline.store.artifact import Checkpoint, verify
from jetpress.pipeline.store.facts.network import CheckpointFacts
from jetpress.pipeline.store.store import Store, write_atomically


@dataclass(frozen=True)
class Config:
    text: str
    counter: str


def stage(config: Config, draft: Path) -> Checkpoint:
    """Counts how often it really runs."""
    time.sleep(0.05)
    with Path(config.counter).open("a") as file:
        file.write("x")
    (draft / "text").write_text(config.text)
    return Checkpoint(draft, CheckpointFacts(1, 1, {"text": config.text}))


def after(config: Config, before: Checkpoint, draft: Path) -> Checkpoint:
    """A stage with an input."""
    (draft / "text").write_text((before.path / "text").read_text() + config.text)
    return Checkpoint(draft, CheckpointFacts(1, 1))


@pytest.fixture
def counter(tmp_path: Path) -> Path:
    path = tmp_path / "counter"
    path.touch()
    return path


def test_what_was_made_is_not_made_again(tmp_path: Path, counter: Path) -> None:
    store = Store(tmp_path / "s")
    first, memo, cached = store.make(stage, Config("a", str(counter)))
    again, _, cached_again = store.make(stage, Config("a", str(counter)))
    assert (cached, cached_again) == (False, True)
    assert first == again
    assert memo.seconds >= 0.05
    assert counter.read_text() == "x"
    verify(first)
    assert not list(store.drafts.iterdir())


def test_configuration_and_inputs_decide(tmp_path: Path, counter: Path) -> None:
    store = Store(tmp_path / "s")
    one, _, _ = store.make(stage, Config("a", str(counter)))
    two, _, _ = store.make(stage, Config("b", str(counter)))
    assert one.digest != two.digest
    x, _, _ = store.make(after, Config("c", ""), one)
    y, _, _ = store.make(after, Config("c", ""), two)
    assert x.digest != y.digest
    assert store.make(after, Config("c", ""), one)[2]


def test_a_damaged_memo_or_a_missing_object_is_made_again(tmp_path: Path, counter: Path) -> None:
    store = Store(tmp_path / "s")
    made, _, _ = store.make(stage, Config("a", str(counter)))
    next(store.memos.iterdir()).write_text("{half")
    assert not store.make(stage, Config("a", str(counter)))[2]
    (made.path / "artifact.json").unlink()
    (made.path / "text").unlink()
    made.path.rmdir()
    assert not store.make(stage, Config("a", str(counter)))[2]


def _work(root: str, counter: str) -> None:
    Store(Path(root)).make(stage, Config("same", counter))


def test_eight_processes_make_it_once(tmp_path: Path, counter: Path) -> None:
    context = multiprocessing.get_context("fork")
    workers = [context.Process(target=_work, args=(str(tmp_path / "s"), str(counter))) for _ in range(8)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(30)
        assert worker.exitcode == 0
    assert counter.read_text() == "x"


def test_a_killed_process_leaves_no_half_object_and_no_lock(tmp_path: Path, counter: Path) -> None:
    script = textwrap.dedent(f"""
        import time
        from pathlib import Path
        from jetpress.pipeline.store.store import Store
        from tests.pipeline.store import test_store
        def slow(config, draft):
            (draft / "half").write_text("half")
            print("inside", flush=True)
            time.sleep(60)
        slow.__module__, slow.__name__ = test_store.__name__, "stage"
        slow.__annotations__ = {{"return": test_store.Checkpoint}}
        Store(Path({str(tmp_path / "s")!r})).make(slow, test_store.Config("a", {str(counter)!r}))
    """)
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "inside\n"
        os.kill(process.pid, signal.SIGKILL)
    store = Store(tmp_path / "s")
    assert not store.objects.exists()
    started = time.monotonic()
    made, _, cached = store.make(stage, Config("a", str(counter)))
    assert not cached
    assert time.monotonic() - started < 5
    assert made.facts.content["text"] == "a"


def test_a_full_disk_is_a_message_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from jetpress.deploy.errors import DeviceError

    def full(handle: int) -> None:
        raise OSError(28, "No space left on device", str(tmp_path))

    monkeypatch.setattr(store_module.os, "fsync", full)
    with pytest.raises(DeviceError, match="full"):
        write_atomically(tmp_path / "x" / "file", "content")
    assert not list((tmp_path / "x").iterdir())
