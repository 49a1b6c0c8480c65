from __future__ import annotations

import errno
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from jetpress.deploy.errors import DeviceError, TrustError
from jetpress.pipeline.store import store as store_module
from jetpress.pipeline.store.artifact import Checkpoint, verify
from jetpress.pipeline.store.facts.network import CheckpointFacts
from jetpress.pipeline.store.store import Damaged, Store, until_whole, write_atomically


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


WHOLE = {"digest": "0" * 64, "seconds": 1, "stage": "s", "made": 1}
WRONG = [{"digest": 3}, {"digest": "../../x"}, {"seconds": float("nan")}, {"made": 10**400}, {"stage": None}]
DAMAGED = [
    "{}",
    "null",
    "[]",
    "{half",
    "",
    "\xff",
    "[" * 100_000,
    *(json.dumps(WHOLE | one) for one in WRONG),
]


@pytest.mark.parametrize("damage", DAMAGED)
def test_a_damaged_memo_is_said_and_made_again(
    tmp_path: Path, counter: Path, damage: str, capsys: pytest.CaptureFixture[str]
) -> None:
    store = Store(tmp_path / "s")
    made, _, _ = store.make(stage, Config("a", str(counter)))
    file = next(store.memos.iterdir())
    file.write_bytes(damage.encode("latin-1"))
    assert store.known() == {}
    assert f"{file} is damaged" in capsys.readouterr().err
    again, _, cached = store.make(stage, Config("a", str(counter)))
    assert (again.digest, cached) == (made.digest, False)
    assert store.known().keys() == {file.stem}


def flip(file: Path) -> None:
    """The lowest bit of the first byte."""
    whole = file.read_bytes()
    file.write_bytes(bytes([whole[0] ^ 1]) + whole[1:])


@pytest.mark.parametrize("damage", ["flip", "cut", "empty", "gone"])
def test_a_damaged_description_is_found_when_it_is_opened(
    tmp_path: Path, counter: Path, damage: str, capsys: pytest.CaptureFixture[str]
) -> None:
    store = Store(tmp_path / "s")
    made, _, _ = store.make(stage, Config("a", str(counter)))
    file = made.path / "artifact.json"
    text = file.read_bytes()
    file.write_bytes({"cut": text[:-9], "flip": b"[" + text[1:]}.get(damage, b""))
    if damage == "gone":
        file.unlink()
    again, _, cached = store.make(stage, Config("a", str(counter)))
    assert (again, cached) == (made, False)
    assert "damaged, and made anew" in capsys.readouterr().err
    verify(again)


def chain(store: Store, counter: Path, text: str) -> Checkpoint:
    before = store.make(stage, Config("a", str(counter)))[0]
    between = store.make(after, Config("b", ""), before)[0]
    return store.make(after, Config(text, ""), between)[0]


def test_a_damaged_input_is_read_before_it_is_used_and_made_anew(
    tmp_path: Path, counter: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    chain(Store(tmp_path / "s"), counter, "c")
    store = Store(tmp_path / "s")
    between = store.make(after, Config("b", ""), store.make(stage, Config("a", str(counter)))[0])[0]
    flip(between.path / "text")
    assert chain(store, counter, "c").digest  # nothing runs, so nothing is read
    made = until_whole(lambda: chain(store, counter, "d"))
    assert (made.path / "text").read_text() == "abd"
    assert counter.read_text() == "x"  # all else was found
    said = capsys.readouterr().err
    assert f"damaged, and made anew: {between.path / 'text'} has SHA-256" in said
    assert "starting again" in said
    verify(between)


def test_what_is_damaged_again_is_a_failing_disk(tmp_path: Path, counter: Path) -> None:
    store = Store(tmp_path / "s")

    def walk() -> Checkpoint:
        between = store.make(after, Config("b", ""), store.make(stage, Config("a", str(counter)))[0])[0]
        flip(between.path / "text")
        store._whole.clear()  # as another process would find it
        return store.make(after, Config("c", ""), between)[0]

    with pytest.raises(TrustError, match="the second time") as told:
        until_whole(walk)
    assert told.value.exit_code == 6
    assert not isinstance(told.value, Damaged)


def test_a_damaged_object_does_not_win_over_the_same_bytes_made_anew(tmp_path: Path, counter: Path) -> None:
    store = Store(tmp_path / "s")
    made, _, _ = store.make(stage, Config("a", str(counter)))
    flip(made.path / "text")
    other = tmp_path / "other"
    other.touch()
    same, _, cached = store.make(stage, Config("a", str(other)))
    assert (same, cached) == (made, False)
    verify(same)


def test_every_object_is_read_once(tmp_path: Path, counter: Path) -> None:
    chain(Store(tmp_path / "s"), counter, "c")
    store = Store(tmp_path / "s")
    between = store.make(after, Config("b", ""), store.make(stage, Config("a", str(counter)))[0])[0]
    store.make(after, Config("d", ""), between)
    flip(between.path / "text")
    store.make(after, Config("e", ""), between)
    with pytest.raises(Damaged):
        Store(tmp_path / "s").make(after, Config("f", ""), between)


def test_a_draft_begins_empty_but_for_how_far_a_training_had_come(tmp_path: Path, counter: Path) -> None:
    store = Store(tmp_path / "s")
    draft = store.drafts / store.key(stage, Config("a", str(counter)), ())
    (draft / "state").mkdir(parents=True)
    (draft / "state" / "epoch").touch()
    (draft / "device").mkdir()
    (draft / ".runner.pyz.1.tmp").touch()
    (draft / "link").symlink_to(tmp_path)
    made, _, _ = store.make(stage, Config("a", str(counter)))
    assert {str(path.relative_to(made.path)) for path in made.path.rglob("*")} == {
        "state", "state/epoch", "text", "artifact.json",
    }  # fmt: skip
    assert counter.exists()


def _same(root: str, folder: str, number: int) -> None:
    Store(Path(root)).make(stage, Config("same", str(Path(folder) / str(number))))


def test_keys_that_give_the_same_bytes_at_once(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    workers = [context.Process(target=_same, args=(str(tmp_path / "s"), str(tmp_path), n)) for n in range(8)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(30)
        assert worker.exitcode == 0
    store = Store(tmp_path / "s")
    assert len(store.known()) == 8
    (only,) = store.objects.iterdir()
    verify(Checkpoint(only))
    assert not list(store.drafts.iterdir())


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
    assert made.facts.inputs["text"] == "a"


def test_a_full_disk_is_a_message_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(handle: int) -> None:
        raise OSError(28, "No space left on device", str(tmp_path))

    monkeypatch.setattr(store_module.os, "fsync", full)
    with pytest.raises(DeviceError, match="full"):
        write_atomically(tmp_path / "x" / "file", "content")
    assert not list((tmp_path / "x").iterdir())


def test_a_disk_that_fills_up_anywhere_leaves_nothing_half(
    tmp_path: Path, counter: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At each file that is flushed, folder that is made and name that is given, in turn."""
    config, calls, limit = Config("a", str(counter)), 0, sys.maxsize

    def limited(act: Callable[..., object]) -> Callable[..., object]:
        def call(*given: Any, **more: Any) -> object:
            nonlocal calls
            calls += 1
            if calls >= limit:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return act(*given, **more)

        return call

    for name in ("fsync", "mkdir", "rename", "replace"):
        monkeypatch.setattr(os, name, limited(getattr(os, name)))
    Store(tmp_path / "warm").make(stage, config)  # what a process does once is done
    calls = 0
    expected = Store(tmp_path / "whole").make(stage, config)[0].digest
    every = calls
    assert every > 8
    for number in range(1, every + 1):
        calls, limit = 0, number
        with pytest.raises((OSError, DeviceError)) as caught:
            Store(tmp_path / str(number)).make(stage, config)
        assert isinstance(caught.value, DeviceError) or caught.value.errno == errno.ENOSPC
        limit = sys.maxsize
        store = Store(tmp_path / str(number))
        for path in store.objects.glob("*"):
            verify(Checkpoint.open(path))
        assert store.make(stage, config)[0].digest == expected
        assert not list(store.drafts.iterdir())
