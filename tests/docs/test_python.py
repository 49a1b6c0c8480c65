"""Every Python block of these pages runs, those of a page after each other: a page is one session."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.docs.commands import fences

PAGES = ["docs/library.md"]


@pytest.mark.parametrize("page", PAGES)
def test_a_page_is_one_session_in_python(
    page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {"__name__": "__main__"}
    blocks = fences(page, "python")
    assert blocks
    for block in blocks:
        exec(compile(block, page, "exec"), names)
    assert "channels removed" in capsys.readouterr().out
