"""A release for a thousand boards: none is left without an engine, and it ends when its budget is spent."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from jetpress.deploy.errors import DeviceError, RecipeError
from jetpress.deploy.release.fleet import Fleet, Journal, Outcome, devices, roll_out, table, waves
from tests.deploy.release.boards import NEW, OLD, Boards


def test_a_thousand_boards(tmp_path: Path) -> None:
    boards, journal = Boards(tmp_path, 1000, 0.1, seed=3), Journal(tmp_path / "journal.jsonl")
    boards.faults.pop(boards.names[0], None)
    with boards.running():
        fleet = roll_out(boards.names, boards.act, journal, max_failures=500)
    serving = Counter(map(boards.serves, boards.names))
    assert set(serving) == {OLD, NEW}  # none without a working engine
    assert fleet.stopped == ""
    assert 60 < fleet.count("failed") < 140
    assert fleet.count("good") + fleet.count("failed") == 1000
    assert all(boards.serves(one.device) == NEW for one in fleet.outcomes if one.state == "good")
    assert boards.most <= 8
    assert f"{'good':<8} {fleet.count('good'):>7}" in "\n".join(table(fleet))
    # What was at fault is mended: those that failed are tried again, the others are left alone.
    failed, boards.faults = fleet.count("failed"), {}
    with boards.running():
        again = roll_out(boards.names, boards.act, journal, max_failures=1)
    assert again.count("good") == 1000
    assert set(map(boards.serves, boards.names)) == {NEW}
    assert sum(boards.calls.values()) == 1000 + failed


@pytest.mark.parametrize(("seed", "budget"), [(1, 1), (2, 2), (3, 2), (4, 5)])
def test_the_budget_is_never_exceeded(tmp_path: Path, seed: int, budget: int) -> None:
    boards = Boards(tmp_path, 60, 0.4, seed)
    with boards.running():
        fleet = roll_out(boards.names, boards.act, Journal(tmp_path / "j"), max_failures=budget)
    assert fleet.count("failed") <= budget
    assert fleet.stopped
    assert fleet.count("untried") > 0
    assert boards.most <= budget
    assert all(map(boards.serves, boards.names))
    assert all(boards.serves(one.device) == OLD for one in fleet.outcomes if one.state == "untried")


def test_a_canary_that_fails_is_the_only_one(tmp_path: Path) -> None:
    boards = Boards(tmp_path, 30, 0.0, seed=1)
    boards.faults[boards.names[0]] = "bad engine"
    with boards.running():
        fleet = roll_out(boards.names, boards.act, Journal(tmp_path / "j"), max_failures=5)
    assert (fleet.count("failed"), fleet.count("untried")) == (1, 29)
    assert fleet.stopped == "no device of the wave 'canary' is good"
    assert "crash: signal 11" in fleet.outcomes[0].said


def test_waves() -> None:
    names = [f"b{number}" for number in range(25)]
    assert [(title, len(part)) for title, part in waves(names)] == [("canary", 1), ("10 %", 3), ("rest", 21)]
    assert [name for _, part in waves(names) for name in part] == names
    assert [len(part) for _, part in waves(names[:1])] == [1]
    assert [len(part) for _, part in waves(names[:2])] == [1, 1]


def test_a_journal_that_was_cut_is_gone_on_with(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "folder" / "j")
    assert journal.read() == {}
    journal.write(Outcome("a", "begun"))
    journal.write(Outcome("a", "good", "slot 1", 0, 1.5))
    journal.write(Outcome("b", "begun"))
    journal.path.write_bytes(journal.path.read_bytes()[:-9])
    journal.write(Outcome("c", "failed", "why", 5, 0.5))
    assert {name: one.state for name, one in journal.read().items()} == {"a": "good", "c": "failed"}
    with journal.path.open("ab") as file:
        file.write(b'\xff\n[]\n{"device": 1}\n' + b"[" * 9999 + b"\n")
    assert set(journal.read()) == {"a", "c"}


def test_a_device_of_another_list_is_left_out(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "j")
    journal.write(Outcome("elsewhere", "good", "slot 1"))
    fleet = roll_out(["here"], lambda name: "slot 1", journal, 2)
    assert [one.device for one in fleet.outcomes] == ["here"]


@pytest.mark.parametrize("numbers", [(0, 1), (1, 0)])
def test_numbers_that_make_no_sense(tmp_path: Path, numbers: tuple[int, int]) -> None:
    with pytest.raises(RecipeError, match="must be 1 or more"):
        roll_out(["a"], lambda name: "", Journal(tmp_path / "j"), *numbers)


def test_names_are_read(tmp_path: Path) -> None:
    (tmp_path / "hosts.toml").write_text('devices = ["user@a", "b:22", "local"]')
    assert devices(tmp_path / "hosts.toml") == ("user@a", "b:22", "local")
    (tmp_path / "hosts.toml").write_text('devices = ["a b"]')
    with pytest.raises(DeviceError, match="cannot be a device"):
        devices(tmp_path / "hosts.toml")


@pytest.mark.parametrize("text", ["[" * 5000, "devices = " + "9" * 6000, "devices = [1e999]", "\xff"])
def test_a_list_that_is_none_is_one_message(tmp_path: Path, text: str) -> None:
    (tmp_path / "hosts.toml").write_text(text, encoding="latin-1")
    with pytest.raises(RecipeError):
        devices(tmp_path / "hosts.toml")


def test_many_alike_are_one_line() -> None:
    failed = [Outcome(f"d{number}", "failed", f"deploy on d{number}: disk full", 5) for number in range(40)]
    lines = table(Fleet((*failed, Outcome("e", "good", "slot 1")), ""))
    assert lines[1] == "failed        40  d0, d1, d2 and 37 more: deploy: disk full"
    assert json.dumps(lines)
