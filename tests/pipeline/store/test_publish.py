"""The run's folder, when many runs of one recipe end together."""

from __future__ import annotations

import hashlib
import multiprocessing
import os
from pathlib import Path

import pytest

from jetpress.pipeline.store.artifact import Bundle, listing, verify
from jetpress.pipeline.store.facts.device import BundleFacts
from jetpress.pipeline.store.needs import Needs
from jetpress.pipeline.store.publish import clear, publish
from jetpress.pipeline.store.store import Damaged, Store

PROCESSES = 48
SIZE = 8 * 2**20


def packed(config: str, draft: Path) -> Bundle:
    """Eight files, 8 MB together."""
    (draft / "samples").mkdir()
    for number in range(8):
        (draft / "samples" / f"{config}{number}.npy").write_bytes(os.urandom(SIZE // 8))
    return Bundle(draft, BundleFacts("host", 18, 8))


def publish_alone(store: Store, made: Bundle, folder: Path) -> None:
    with store.locked(folder.name, "another process writes this run's folder"):
        clear(folder)
        publish(store, made, folder / "bundle")


def _end(root: str, digest: str, folder: str) -> None:
    store = Store(Path(root))
    with Needs(store, Path(folder)) as needs:
        needs.note(hashlib.sha256(str(os.getpid()).encode()).hexdigest())
        publish_alone(store, Bundle.open(store.objects / digest), Path(folder))
        needs.finished()
    assert listing(Path(folder, "bundle")) == listing(store.objects / digest)


def test_runs_that_end_at_once_all_end_whole(tmp_path: Path) -> None:
    store, folder = Store(tmp_path / ".store"), tmp_path / "run"
    folder.mkdir()
    made, _, _ = store.make(packed, "a")
    context = multiprocessing.get_context("fork")
    arguments = (str(store.root), made.digest, str(folder))
    processes = [context.Process(target=_end, args=arguments) for _ in range(PROCESSES)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0] * PROCESSES
    assert {path.name for path in folder.iterdir()} == {"bundle", "needs.json"}
    verify(made)


def test_a_newer_artifact_takes_the_place_of_the_copy(tmp_path: Path) -> None:
    store, folder = Store(tmp_path / ".store"), tmp_path / "run"
    folder.mkdir()
    publish_alone(store, store.make(packed, "a")[0], folder)
    (folder / ".bundle.draft").mkdir()  # a killed process
    (folder / ".report.json.77.tmp").touch()
    newer = store.make(packed, "b")[0]
    publish_alone(store, newer, folder)
    assert listing(folder / "bundle") == listing(newer.path)
    assert [path.name for path in folder.iterdir()] == ["bundle"]


def test_what_is_damaged_is_not_copied(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    made, _, _ = Store(tmp_path / ".store").make(packed, "a")
    file = made.path / "samples" / "a3.npy"
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(Damaged, match=r"a3\.npy has 1048575 bytes"):
        publish_alone(Store(tmp_path / ".store"), made, folder)
    assert not (folder / "bundle").exists()
    assert not made.path.exists()
