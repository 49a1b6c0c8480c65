"""What was worked out of a source file is read again, and never of another one, nor where it was damaged."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from jetpress.pipeline.store import remembered as subject
from jetpress.pipeline.store import symbols
from jetpress.pipeline.store.remembered import remembered


@pytest.fixture
def notes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    subject._folder.cache_clear()
    yield tmp_path / "cache" / "jetpress" / "symbols"
    subject._folder.cache_clear()


def counted(file: Path, name: str = "a") -> tuple[object, bool]:
    """What is told of the file, and whether it was worked out anew."""
    made = []

    def make(text: str) -> list[str]:
        made.append(text)
        return [text.upper()]

    return remembered(file, name, make), bool(made)


def test_it_is_worked_out_once(notes: Path, tmp_path: Path) -> None:
    file = tmp_path / "a.py"
    file.write_text("x = 1")
    assert counted(file) == (["X = 1"], True)
    assert counted(file) == (["X = 1"], False)
    file.write_text("x = 2")
    assert counted(file) == (["X = 2"], True)
    assert counted(file, "another") == (["X = 2"], True)
    assert len(list(notes.iterdir())) == 2, "an older text of the same file is not kept"


def test_a_damaged_note_is_worked_out_again(notes: Path, tmp_path: Path) -> None:
    file = tmp_path / "a.py"
    file.write_text("x = 1")
    counted(file)
    (note,) = notes.iterdir()
    whole = note.read_bytes()
    for at in range(len(whole)):
        note.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        assert counted(file) == (["X = 1"], True)
        note.write_bytes(whole[:at])
        assert counted(file) == (["X = 1"], True)


def test_where_nothing_can_be_kept_it_is_worked_out_each_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    subject._folder.cache_clear()
    assert counted(tmp_path / "file") == ([""], True)
    assert counted(tmp_path / "file") == ([""], True)
    subject._folder.cache_clear()


def test_a_module_comes_back_as_it_was_read(notes: Path) -> None:
    root = Path(symbols.__file__).parents[3]
    fresh = symbols.read(root, "jetpress.pipeline.store.symbols")
    again = symbols.read(root, "jetpress.pipeline.store.symbols")
    assert len(list(notes.iterdir())) == 1
    assert fresh is not None
    assert fresh == again
    assert fresh.defined["read"][0].chains
