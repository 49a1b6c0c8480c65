"""Every Markdown file is readable in an editor, and its links lead somewhere."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
WIDTH = 120


def pages() -> list[str]:
    """The repository's Markdown files, as git knows them."""
    done = subprocess.run(
        ["git", "ls-files", "-z", "*.md"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return [name for name in done.stdout.split("\0") if name and (ROOT / name).is_file()]


def prose(text: str) -> list[tuple[int, str]]:
    """Numbered lines, without tables and fenced code, which cannot be wrapped."""
    found, fenced = [], False
    for number, line in enumerate(text.splitlines(), 1):
        if line.lstrip().startswith("```"):
            fenced = not fenced
        elif not fenced and not line.lstrip().startswith("|"):
            found.append((number, line))
    return found


def test_tables_and_code_are_exempt_and_nothing_else() -> None:
    assert prose("a\n| b |\n```sh\nc\n```\n- d") == [(1, "a"), (6, "- d")]


@pytest.mark.parametrize("page", pages())
def test_no_line_of_prose_is_too_long(page: str) -> None:
    lines = prose((ROOT / page).read_text())
    assert not [f"{page}:{number}: {len(line)}" for number, line in lines if len(line) > WIDTH]


@pytest.mark.parametrize("page", pages())
def test_links_to_files_lead_somewhere(page: str) -> None:
    text = "\n".join(line for _, line in prose((ROOT / page).read_text()))
    links = re.findall(r"\]\((?!https?:|mailto:)([^)\s#]+)", text)
    assert not [link for link in links if not ((ROOT / page).parent / link).exists()]


def test_the_index_of_the_log_names_every_page() -> None:
    log = ROOT / "studies" / "log"
    index = (log / "README.md").read_text()
    assert [p.name for p in sorted(log.glob("*.md")) if f"({p.name})" not in index] == ["README.md"]
