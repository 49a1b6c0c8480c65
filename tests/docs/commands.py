"""The shell blocks of the pages, and what is said of commands within their text."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass

from tests.test_prose import ROOT, pages

MARK = "# Not run by a test: "
"""Begins a block, or a part of one up to an empty line, and says why; readers see it."""
OURS = ("jetpress", "make")


@dataclass(frozen=True)
class Command:
    """One line of a shell block."""

    page: str
    text: str

    @property
    def words(self) -> list[str]:
        return shlex.split(self.text, comments=True)


@dataclass(frozen=True)
class Block:
    """The commands of one shell block that are run, and those that are not, with the reason."""

    page: str
    commands: tuple[Command, ...]
    left_out: tuple[tuple[Command, str], ...]

    @property
    def ours(self) -> bool:
        """Whether each is a command of jetpress or of its Makefile, and not of the shell."""
        return all(command.words[0] in OURS for command in self.commands)


def read() -> list[str]:
    """The pages that are for users: experiments and tests speak of what was run once."""
    return [
        page for page in pages() if page.split("/")[0] not in ("studies", "tests") and page != "CHANGELOG.md"
    ]


def fences(page: str, language: str) -> list[str]:
    """The text of all blocks of a language."""
    return re.findall(rf"^```{language}\n(.*?)^```", (ROOT / page).read_text(), re.DOTALL | re.MULTILINE)


def blocks(page: str) -> Iterator[Block]:
    """The shell blocks of a page."""
    for text in fences(page, "sh"):
        run, left, reason = list[Command](), list[tuple[Command, str]](), ""
        for line in text.replace("\\\n", " ").splitlines():
            if line.startswith(MARK):
                reason = line.removeprefix(MARK)
            elif not line.strip():
                reason = ""
            elif not line.startswith("#"):
                command = Command(page, line)
                left.append((command, reason)) if reason else run.append(command)
        yield Block(page, tuple(run), tuple(left))


def spans(page: str) -> list[str]:
    """Code within the text, a span over two lines as one."""
    text = re.sub(r"^```.*?^```", "", (ROOT / page).read_text(), flags=re.DOTALL | re.MULTILINE)
    return [" ".join(span.split()) for span in re.findall(r"`([^`]+)`", text)]
