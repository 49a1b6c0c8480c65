"""The picture of a terminal is what a terminal shows, and asks nobody for a font."""

from __future__ import annotations

import sys
from pathlib import Path
from xml.etree import ElementTree as ET

from docs import terminal
from tests.test_prose import ROOT


def test_the_screen_is_what_is_left() -> None:
    written = "one\r\n\x1b[1mtwo\x1b[0m 10 %\r\x1b[2Ktwo 20 %\r\n\x1b[1A\x1b[2Ktwo, done\r\nthree\r\n"
    assert terminal.screen(written) == ["one", "two, done", "three"]


def test_a_line_is_written_over() -> None:
    assert terminal.screen("10 %\r20 %\r\nend") == ["20 %", "end"]


def test_what_is_left_out_of_a_long_screen_is_counted() -> None:
    lines = [str(number) for number in range(100)]
    short = terminal.shortened(lines)
    assert short[0] == "0"
    assert short[-1] == "99"
    assert len(short) == terminal.FIRST + 1 + terminal.LAST
    assert f"{100 - terminal.FIRST - terminal.LAST} more lines" in short[terminal.FIRST]
    assert terminal.shortened(lines[:20]) == lines[:20]


def test_a_command_is_drawn_as_it_was_run(tmp_path: Path) -> None:
    picture = tmp_path / "picture.svg"
    assert terminal.main([str(picture), sys.executable, "-c", "print('hello'); exit(7)"]) == 7
    drawn = picture.read_text()
    ET.fromstring(drawn)
    assert "hello" in drawn
    assert "font-face" not in drawn


def test_a_program_sees_a_terminal(tmp_path: Path) -> None:
    written, code = terminal.recorded([sys.executable, "-c", "import sys; exit(not sys.stdout.isatty())"])
    assert code == 0, written


def test_the_picture_of_the_readme_shows_its_command() -> None:
    drawn = (ROOT / "docs" / "images" / "terminal.svg").read_text().replace("&#160;", " ")
    assert "jetpress run recipes/digits.toml --target host" in drawn
    assert "http" not in drawn.replace("http://www.w3.org/2000/svg", "")
