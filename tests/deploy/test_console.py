"""What arrives on a real terminal and in a pipe, from a program that works for a while."""

from __future__ import annotations

import html
import os
import pty
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent.parent

PROGRAM = """
import sys, time
import rich.console, rich.live  # loading them takes longer, on a busy machine, than the work below
from jetpress.deploy import console, live
live.LIVE_EVERY_S = live.Terminal.every = 0.05
live.PLAIN_EVERY_S = live.Plain.every = 0.05
console.speak(console.Level[sys.argv[1]])
console.say("prose before")
with console.whole() as overall:
    overall.number, overall.count, overall.rest, overall.complete = 2, 7, 100.0, True
    console.milestone("  train ... (2 of 7)")
    with console.progress("train", expected=50.0):
        with console.progress("epochs", 10) as work:
            for number in range(5):
                time.sleep(0.1)
                work.step(f"loss {number}")
        console.say("prose within, [bold]not markup[/bold] :smile: " + "word " * 60 + "end")
        console.note("warm after 5 ms")
        console.detail("because of this")
        time.sleep(0.2)
console.conclude("budget met")
print("a result")
"""


def on_a_terminal(*arguments: str, program: str = PROGRAM, term: str = "xterm-256color") -> tuple[str, str]:
    """What the program writes to a terminal that its stderr is, and to a pipe that its stdout is."""
    leader, follower = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-c", program, *arguments],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=follower,
        env={**os.environ, "TERM": term, "COLUMNS": "80", "LINES": "24"},
    ) as process:
        os.close(follower)
        seen = b""
        while True:
            try:
                read = os.read(leader, 65536)
            except OSError:  # the last one that had the terminal is gone
                break
            if not read:
                break
            seen += read
        os.close(leader)
        assert process.stdout is not None
        out = process.stdout.read().decode()
    assert process.returncode == 0, seen.decode()
    return seen.decode(), out


def in_a_pipe(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", PROGRAM, *arguments], cwd=ROOT, capture_output=True, text=True, check=True
    )


def left(seen: str) -> list[str]:
    """The lines that are on the terminal in the end: cursor movements and erased lines carried out."""
    lines, row = [""], 0
    for token in re.findall(r"\x1b\[[?\d;]*[A-Za-z]|\r|\n|[^\x1b\r\n]+", seen):
        if token == "\n":
            row += 1
            if row == len(lines):
                lines.append("")
        elif (moved := re.fullmatch(r"\x1b\[(\d*)A", token)) is not None:
            row -= int(moved[1] or 1)
        elif token == "\x1b[2K":
            lines[row] = ""
        elif token[0] not in "\x1b\r":
            lines[row] += token
    return [line for line in lines if line]


def test_a_terminal_shows_live_lines_and_keeps_prose_alone() -> None:
    seen, out = on_a_terminal("NORMAL")
    assert out == "a result\n"
    assert "[2 of 7] train" in seen
    assert "about 2 min 3" in seen or "about 1 min 4" in seen
    assert "━" in seen
    assert re.search(r"loss \d", seen)
    assert "warm after 5 ms" in seen
    prose = "prose within, [bold]not markup[/bold] :smile: " + "word " * 60 + "end"
    assert left(seen) == ["prose before", prose, "budget met"]
    assert seen.rfind("\x1b[?25h") > seen.rfind("\x1b[?25l"), "the cursor is there"


def test_a_pipe_gets_plain_lines_with_the_time_left() -> None:
    done = in_a_pipe("NORMAL")
    assert "\x1b" not in done.stderr
    assert "\r" not in done.stderr
    lines = done.stderr.splitlines()
    assert "  train ... (2 of 7)" in lines
    counted = [line for line in lines if line.startswith("    epochs ")]
    assert re.fullmatch(
        r"    epochs \d+ %, 0\.\d s, about 0\.\d s left  loss \d; "
        r"\[2 of 7\] train, 0\.\d s in all, about 2 min .. s left",
        counted[-1],
    )
    assert any(line.endswith("left  warm after 5 ms") for line in lines)
    assert "because of this" not in lines
    assert lines[-1] == "budget met"


def test_quiet_leaves_the_verdict() -> None:
    done = in_a_pipe("QUIET")
    assert (done.stderr, done.stdout) == ("budget met\n", "a result\n")
    seen, _ = on_a_terminal("QUIET")
    assert seen.splitlines() == ["budget met"]


def test_verbose_says_why() -> None:
    lines = in_a_pipe("VERBOSE").stderr.splitlines()
    assert "because of this" in lines
    assert "    warm after 5 ms" in lines


def test_a_terminal_that_cannot_move_gets_plain_lines() -> None:
    seen, _ = on_a_terminal("NORMAL", term="dumb")
    assert "\x1b" not in seen
    assert "  train ... (2 of 7)" in seen


def test_a_failure_leaves_a_clean_terminal() -> None:
    program = PROGRAM.split('console.say("prose within')[0] + "        1 / 0\n"
    program = program.replace("with console.whole()", "try:\n  pass\nfinally:\n  pass\nwith console.whole()")
    program = (
        f"try:\n    exec({program!r})\nexcept ZeroDivisionError:\n    print('failed', file=sys.stderr)\n"
    )
    seen, _ = on_a_terminal("NORMAL", program="import sys\n" + program)
    assert left(seen) == ["prose before", "failed"]


def test_a_forked_child_may_speak() -> None:
    program = """
import os, time
from jetpress.deploy import console, live
live.Plain.every = 0.001
with console.progress("work"):
    time.sleep(0.05)
    for number in range(20):
        child = os.fork()
        if not child:
            console.say("a child")
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
"""
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stderr.count("a child\n") == 20


def test_nothing_heavy_is_imported_to_speak() -> None:
    script = "import sys; from jetpress.deploy import console; console.say('x')\n"
    script += "print([m for m in ('rich', 'IPython', 'tqdm', 'numpy') if m in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("closed", [True, False])
def test_a_reader_that_goes_away_ends_nothing(closed: bool) -> None:
    reader, writer = os.pipe()
    program = "import time\nfrom jetpress.deploy import console, live\nlive.Plain.every = 0.01\n"
    program += "with console.progress('work'):\n    time.sleep(0.2)\nprint('done')"
    with subprocess.Popen(
        [sys.executable, "-c", program], cwd=ROOT, stdout=subprocess.PIPE, stderr=writer, text=True
    ) as process:
        os.close(writer)
        if closed:
            os.close(reader)
        assert process.communicate()[0] == "done\n"
    if not closed:
        os.close(reader)


def in_a_kernel(program: str) -> tuple[str, list[str], dict[str, Any]]:
    """What a notebook's only cell prints, what its bars said, and the widgets that are left on the page."""
    nbformat, nbclient = pytest.importorskip("nbformat"), pytest.importorskip("nbclient")
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(program)])
    lines: list[str] = []

    class Client(nbclient.NotebookClient):  # type: ignore[misc, name-defined]
        def process_message(self, message: dict[str, Any], cell: object, index: int) -> object:
            state = message["content"].get("data", {}).get("state", {})
            lines.append(html.unescape(str(state.get("value", ""))).replace("\u2007", " "))
            return super().process_message(message, cell, index)

    client = Client(book, timeout=60, resources={"metadata": {"path": str(ROOT)}})
    client.execute()
    (cell,) = book.cells
    assert not [one for one in cell.outputs if one.get("name") == "stderr"]
    printed = "".join(one["text"] for one in cell.outputs if one["output_type"] == "stream")
    return printed, lines, client.widget_state


def test_a_notebook_has_bars_and_prose_on_stdout() -> None:
    """In a real kernel. The bars of work that has ended are gone from the page."""
    pytest.importorskip("ipywidgets")
    program = PROGRAM.replace("live.Terminal.every", "live.Notebook.every").replace("sys.argv[1]", "'NORMAL'")
    program = program.replace("import rich.console, rich.live", "import tqdm.notebook").replace(
        "(0.1)", "(0.4)"
    )
    printed, lines, left = in_a_kernel(program)
    assert printed.startswith("prose before\nprose within")
    assert printed.endswith("budget met\na result\n")
    assert any(line.startswith("[2 of 7] train, ") for line in lines)
    assert any(re.match(r"epochs \d+ %, .*  loss \d$", line) for line in lines), lines
    assert {one["visibility"] for one in left.values() if one.get("visibility")} == {"hidden"}


def test_a_notebook_without_widgets_gets_plain_lines() -> None:
    program = PROGRAM.replace("sys.argv[1]", "'NORMAL'")
    program = program.replace("console.speak", "live.find_spec = lambda name: None\nconsole.speak", 1)
    printed, lines, left = in_a_kernel(program)
    assert "\n    epochs " in printed
    assert printed.endswith("budget met\na result\n")
    assert not any(lines)
    assert not left
