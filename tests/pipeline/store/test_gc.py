"""What runs need stays: noted before it is made, kept while they run, and after they were killed."""

from __future__ import annotations

import json
import multiprocessing
import os
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

from jetpress.pipeline.store.artifact import Checkpoint, verify
from jetpress.pipeline.store.collect import collect
from jetpress.pipeline.store.facts.network import CheckpointFacts
from jetpress.pipeline.store.needs import Needs, kept
from jetpress.pipeline.store.steps import Doing
from jetpress.pipeline.store.store import Store

FORK = multiprocessing.get_context("fork")


def first(config: str, draft: Path) -> Checkpoint:
    """Writes a megabyte."""
    (draft / "data").write_bytes(config.encode() * 2**20)
    return Checkpoint(draft, CheckpointFacts(0, 0))


def second(config: str, before: Checkpoint, draft: Path) -> Checkpoint:
    """Needs all of the first; fails as if its process had died when it is told to."""
    assert len((before.path / "data").read_bytes()) == 2**20
    (draft / "more").write_text(config)
    if config == "die":
        raise KeyboardInterrupt
    return Checkpoint(draft, CheckpointFacts(0, 0))


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / ".store")


def run(
    store: Store, name: str, one: str = "a", two: str = "b", between: Callable[[], object] = int
) -> Checkpoint:
    with Needs(store, store.root.parent / name) as needs:
        doing = Doing(store, needs)
        made = doing.step("first", first, one)
        between()
        made = doing.step("second", second, two, made)
        needs.finished()
        return made


def stages(store: Store) -> list[str]:
    return sorted(memo.stage for memo in store.known().values())


def test_what_a_run_needs_is_kept_and_the_rest_goes(store: Store) -> None:
    needed = run(store, "mine")
    store.make(first, "x")
    (store.drafts / "0ld").mkdir()
    found = collect(store)
    assert {folder.path.name for folder in found.gone} > {"0ld"}
    assert len(found.gone) == 2
    assert sum(folder.size for folder in found.gone) > 2**20
    assert {folder.stage for folder in found.stays} == {"first", "second"}
    assert stages(store) == ["first", "second"]
    verify(needed)
    assert not list(store.drafts.iterdir())
    assert not list(store.locks.iterdir())


def test_a_dry_run_says_the_same_and_removes_nothing(store: Store) -> None:
    run(store, "mine")
    store.make(first, "x")
    before = sorted(path for path in store.root.rglob("*") if path.is_file())
    told = collect(store, everything=True, dry_run=True)
    assert sorted(path for path in store.root.rglob("*") if path.is_file()) == before
    assert [folder.path for folder in told.gone] == [
        folder.path for folder in collect(store, everything=True).gone
    ]
    assert len(told.gone) == 3
    assert not store.known()


def test_a_killed_run_loses_neither_what_it_made_nor_its_draft_nor_what_the_run_before_needed(
    store: Store,
) -> None:
    run(store, "mine", "a", "b")
    with pytest.raises(KeyboardInterrupt):
        run(store, "mine", "c", "die")
    collect(store)
    assert stages(store) == ["first", "first", "second"]
    assert len(list(store.drafts.iterdir())) == 1
    assert run(store, "mine", "c", "b").facts == CheckpointFacts(0, 0)
    found = collect(store)
    assert stages(store) == ["first", "second"]  # the run that came to its end needs these two
    assert len(found.gone) == 2  # the first stage's, and the draft; both second stages made the same bytes


def test_two_runs_of_one_recipe_do_not_forget_each_other(store: Store) -> None:
    folder = store.root.parent / "mine"
    with Needs(store, folder) as one, Needs(store, folder) as other:
        Doing(store, one).step("first", first, "a")
        Doing(store, other).step("first", first, "b")
        one.finished()
        collect(store)
        assert stages(store) == ["first", "first"]
        other.finished()
    assert len(kept(store, folder).keys) == 2


def test_old_needs_count_no_more_but_the_folder_stays(store: Store) -> None:
    run(store, "old", "a")
    run(store, "new", "b")
    file = store.root.parent / "old" / "needs.json"
    told = json.loads(file.read_text())
    file.write_text(json.dumps({**told, "used": time.time() - 8 * 86400}))
    assert not collect(store, older_than=9).gone
    assert len(collect(store, older_than=7).gone) == 1  # both share the second stage's bytes
    assert file.exists()


@pytest.mark.parametrize(
    "damage", ["{}", "null", '{"keys": [1], "used": 0}', '{"keys"', "[" * 100_000, "\xff", ""]
)
def test_damaged_needs_keep_what_the_report_names(
    store: Store, damage: str, capsys: pytest.CaptureFixture[str]
) -> None:
    made = run(store, "mine")
    folder = store.root.parent / "mine"
    (folder / "report.json").write_text(
        json.dumps({"stages": [{"digest": made.digest}, {"digest": None}, 3]})
    )
    (folder / "needs.json").write_bytes(damage.encode("latin-1"))
    assert len(collect(store).gone) == 1
    assert "needs.json is damaged" in capsys.readouterr().err
    assert stages(store) == ["second"]
    run(store, "mine")  # and a run mends it
    capsys.readouterr()
    assert not collect(store).gone
    assert capsys.readouterr().err == ""


def test_a_cut_report_beside_damaged_needs_is_no_traceback(store: Store) -> None:
    run(store, "mine")
    folder = store.root.parent / "mine"
    (folder / "report.json").write_text('{"stages": [')
    (folder / "needs.json").write_text("")
    assert len(collect(store).gone) == 2


def _run_when_told(root: str, there: Connection) -> None:
    def pause() -> None:
        there.send("first is made")
        there.recv()

    there.send(run(Store(Path(root)), "other", between=pause).digest)


@pytest.mark.parametrize("everything", [False, True])
def test_a_run_in_another_process_keeps_all_that_it_has_begun(store: Store, everything: bool) -> None:
    here, there = FORK.Pipe()
    process = FORK.Process(target=_run_when_told, args=(str(store.root), there))
    process.start()
    assert here.recv() == "first is made"
    run(store, "idle", "c", "d")
    found = collect(store, everything=everything)
    assert len(found.gone) == (2 if everything else 0)
    assert "first" in {folder.stage for folder in found.stays}
    here.send("go on")
    digest = here.recv()
    process.join()
    verify(Checkpoint(store.objects / digest))
    assert process.exitcode == 0
    assert len(collect(store, everything=True).gone) == (2 if everything else 4)  # now it runs no more


def _run_often(root: str, number: int, until: float) -> None:
    while time.time() < until:
        text = f"{number}{time.time()}"
        verify(run(Store(Path(root)), f"run-{number}", text[-1], text))


def test_runs_and_gc_at_once(store: Store) -> None:
    """Four processes make what they can while a fifth removes all that it may."""
    until = time.time() + 3
    processes = [FORK.Process(target=_run_often, args=(str(store.root), n, until)) for n in range(4)]
    for process in processes:
        process.start()
    removed = 0
    while any(process.is_alive() for process in processes):
        removed += len(collect(store, everything=True).gone)
    assert [process.exitcode for process in processes] == [0] * 4
    assert removed > 4
    assert not collect(store, everything=True).stays
    assert not list(store.locks.iterdir())


def test_weights_that_were_given_in_memory_go_unless_a_run_may_read_them(store: Store) -> None:
    weights = store.given / f"{'0' * 64}.safetensors"
    weights.parent.mkdir(parents=True)
    weights.write_bytes(b"weights")
    with Needs(store, store.root.parent / "mine-host-0123abcd"):
        collect(store)
        assert weights.is_file()
    collect(store, dry_run=True)
    assert weights.is_file()
    collect(store)
    assert not weights.is_file()


def test_nothing_is_there(store: Store) -> None:
    found = collect(store)
    assert (found.gone, found.stays) == ([], [])
    assert not os.path.lexists(store.root)
