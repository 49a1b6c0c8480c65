"""How busy a machine is, and what helps on it."""

from __future__ import annotations

from pathlib import Path

import pytest

from jetpress.deploy.runner.board import machine
from jetpress.deploy.runner.board.identity import Board


def put(root: Path, **files: str) -> Board:
    """A machine's /proc."""
    for name, text in files.items():
        path = root / "proc" / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return Board(str(root))


def test_this_machine() -> None:
    seen = machine.look(Board("/"), 0.05)
    assert seen.cpus >= 1
    assert seen.in_words().startswith(f"{seen.cpus} processor")
    assert seen.busy is None or 0 <= seen.busy <= 1


def test_a_kernel_that_says_nothing(tmp_path: Path) -> None:
    seen = machine.look(Board(str(tmp_path)), 0.0)
    assert (seen.load, seen.waiting, seen.busy, seen.stolen, seen.virtual) == (None, None, None, None, False)
    assert not seen.is_busy()
    assert "busy" not in seen.in_words()


def test_load_pressure_and_a_hypervisor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    board = put(
        tmp_path,
        loadavg="2.50 1.00 0.50 3/200 99\n",
        pressure__cpu="some avg10=41.50 avg60=1.00 avg300=0.00 total=5\nfull avg10=0.00 avg60=0.00 total=0\n",
        cpuinfo="processor : 0\nflags\t\t: fpu sse hypervisor avx\n",
        stat="cpu  100 0 100 800 0 0 0 0 0 0\ncpu0 1 2 3\n",
    )
    monkeypatch.setattr(
        machine.time, "sleep", lambda _: put(tmp_path, stat="cpu  150 0 110 820 0 0 0 20 50 0\ncpu0 9\n")
    )
    seen = machine.look(board)
    assert (seen.load, seen.waiting, seen.virtual) == (2.5, 0.415, True)
    assert seen.busy == pytest.approx(0.8), "guest time is in user time already"
    assert seen.stolen == pytest.approx(0.2)
    assert seen.is_busy()
    for words in ("load 2.50", "42 % of the time", "80 % busy", "20 % taken by its host", "virtual machine"):
        assert words in seen.in_words()


@pytest.mark.parametrize(
    ("virtual", "lockable"), [(True, False), (False, False), (False, True), (True, True)]
)
def test_remedies_fit_the_machine(virtual: bool, lockable: bool) -> None:
    said = machine.remedy(machine.Machine(2, None, None, None, None, virtual), lockable)
    assert ("lock the clocks" in said) == lockable
    assert ("other guests" in said) == (virtual and not lockable)
    assert "stop other programs" in said
