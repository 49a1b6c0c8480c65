"""A picture of a terminal: runs a command in one and draws what was left on its screen.

``python -m docs.terminal docs/images/terminal.svg jetpress run recipes/digits.toml --target host``
"""

from __future__ import annotations

import fcntl
import io
import os
import pty
import re
import shlex
import struct
import sys
import termios
from pathlib import Path

from rich.console import Console
from rich.text import Text

COLUMNS, ROWS = 110, 500
FIRST, LAST = 12, 27
"""So many lines are drawn of the beginning and of the end, where there are more."""
CONTROL = re.compile(r"\x1b\[(?P<given>[0-9;?]*)(?P<kind>[A-Za-z])|(?P<move>[\r\n])")
SVG = """<svg class="rich-terminal" viewBox="0 0 {width} {height}" xmlns="http://www.w3.org/2000/svg">
<style>
.{unique_id}-matrix {{ font-family: ui-monospace, Menlo, Consolas, monospace; font-size: {char_height}px;
  line-height: {line_height}px; }}
{styles}
</style>
<defs><clipPath id="{unique_id}-clip-terminal">
<rect x="0" y="0" width="{terminal_width}" height="{terminal_height}" /></clipPath>
{lines}
</defs>
{chrome}
<g transform="translate({terminal_x}, {terminal_y})" clip-path="url(#{unique_id}-clip-terminal)">
{backgrounds}
<g class="{unique_id}-matrix">
{matrix}
</g></g></svg>
"""
"""rich's own, without the fonts that it fetches from a server."""


def screen(written: str) -> list[str]:
    """The lines that are left of what a program wrote, with their colours.

    Understood is what a progress display needs: up, start of the line, erase the line or all below.
    """
    lines, row, at = [""], 0, 0
    for match in CONTROL.finditer(written + "\n"):
        lines[row] += written[at : match.start()]
        at = match.end()
        kind, given = match["kind"], match["given"]
        if match["move"] == "\n":
            row += 1
            lines += [""] * (row + 1 - len(lines))
        elif match["move"] == "\r" and not re.match(r"\r*\n", written[match.start() :]):
            lines[row] = "" if written[at : at + 1].isprintable() else lines[row]
        elif kind == "A":
            row = max(0, row - int(given or 1))
        elif kind == "K":
            lines[row] = ""
        elif kind == "J":
            lines[row:] = [""]
        elif kind == "m":
            lines[row] += match[0]
    while lines and not lines[-1].strip():
        lines.pop()
    return lines


def recorded(words: list[str]) -> tuple[str, int]:
    """What a command writes to a terminal, and its exit code."""
    process, terminal = pty.fork()
    if not process:
        os.environ.update(TERM="xterm-256color", COLUMNS=str(COLUMNS))
        os.execvp(words[0], words)  # noqa: S606  the command that is asked for
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
    written = b""
    while True:
        try:
            piece = os.read(terminal, 65536)
        except OSError:  # how Linux says that the other end is closed
            break
        if not piece:
            break
        written += piece
    _, status = os.waitpid(process, 0)
    return written.decode("utf-8", "replace"), os.waitstatus_to_exitcode(status)


def shortened(lines: list[str]) -> list[str]:
    """The beginning and the end; in between a line that says how many are left out."""
    left_out = len(lines) - FIRST - LAST
    if left_out <= 1:
        return lines
    return [*lines[:FIRST], f"    ... {left_out} more lines ...", *lines[-LAST:]]


def drawn(words: list[str], lines: list[str]) -> str:
    """The picture, as SVG: the command, and the lines below it."""
    console = Console(record=True, width=COLUMNS, file=io.StringIO(), force_terminal=True)
    console.print(Text(f"$ {shlex.join(words)}", style="bold"))
    for line in shortened(lines):
        console.print(Text.from_ansi(line), no_wrap=True, overflow="ellipsis", crop=True)
    return console.export_svg(title="", code_format=SVG, unique_id="terminal")


def main(arguments: list[str]) -> int:
    """Draw one; the exit code is the command's."""
    target, *words = arguments
    written, code = recorded(words)
    Path(target).parent.mkdir(parents=True, exist_ok=True)
    Path(target).write_text(drawn(words, screen(written)))
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
