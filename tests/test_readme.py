"""The README: short, its two commands first, its pictures there, and the truth about boards at the top.

That its commands run, its links lead somewhere and its recipes are valid is asked of every page: tests/docs/.
"""

from __future__ import annotations

import re

from tests.docs import commands
from tests.test_prose import ROOT

README = (ROOT / "README.md").read_text()
LONGEST = 600
"""Words, tables and commands included."""


def test_it_is_short() -> None:
    assert len(README.split()) <= LONGEST


def test_the_two_commands_stand_at_the_top() -> None:
    first, *_ = commands.blocks("README.md")
    lines = [command.text.split("#")[0].strip() for command in first.commands]
    assert lines == ["make engine TARGET=host", "make test"]
    assert README.index("make engine TARGET=host") < README.index("## ")


def test_that_no_board_has_run_it_is_said_before_any_figure() -> None:
    said = README.index("No Jetson has run this yet")
    assert README.index("docs/hardware-checklist.md") > said
    assert said < min(README.index("!["), README.index("## "))


def test_make_test_is_lint_types_and_tests() -> None:
    makefile = (ROOT / "Makefile").read_text()
    assert all(tool in makefile for tool in ("ruff check", "ruff format --check", "mypy", "pytest"))


def test_its_pictures_are_there_and_of_real_things() -> None:
    terminal, report, curve = re.findall(r"!\[[^\]]+\]\(([^)]+)\)", README)
    assert f"python -m docs.terminal {terminal} jetpress run" in README
    assert f"python -m studies.untrained_plot studies/log/untrained.json {curve}" in README
    assert (ROOT / report).read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
