"""What a report is made of: sections of plain text, tables and plots, before anyone decides how they look.

The page and the Markdown are both written from these, so they cannot disagree.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


class Mark(str):
    """A cell that is good, bad or open: said in the word, supported by a colour."""

    tone: str

    def __new__(cls, text: str, tone: str) -> Mark:  # noqa: D102
        mark = super().__new__(cls, text)
        mark.tone = tone
        return mark


class Shade(str):
    """A cell of a matrix, with the class of its colour."""

    depth: str

    def __new__(cls, text: str, depth: str) -> Shade:  # noqa: D102
        shade = super().__new__(cls, text)
        shade.depth = depth
        return shade


@dataclass(frozen=True)
class Matrix:
    """Counts by row and column; every row has a name, and so has every column."""

    title: str
    head: Sequence[str]
    rows: Sequence[tuple[str, Sequence[Shade]]]
    note: str = ""

    @property
    def short(self) -> bool:
        """Whether the names of the columns fit across."""
        return max(map(len, self.head), default=0) <= 3


@dataclass(frozen=True)
class Picture:
    """A sample, and what is said about it."""

    source: str
    """A data URI: the page needs nothing else."""
    alt: str
    title: str
    said: Sequence[tuple[str, Mark]]
    """What it is, and the answer of each network."""


@dataclass(frozen=True)
class Table:
    """Rows of cells.

    ``align`` has a letter a column: ``l`` text, ``s`` short, ``w`` a sentence, ``n`` a name, ``r`` a number.
    """

    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    align: str
    caption: str
    folded: bool = False


@dataclass(frozen=True)
class Plot:
    """A drawing, what it shows for those who do not see it, and a note under it."""

    title: str
    svg: str
    alt: str
    note: str = ""
    series: Sequence[str] = ("dense", "compressed")


@dataclass(frozen=True)
class Section:
    """One heading and what stands under it; or only why there is nothing (``missing``)."""

    id: str
    title: str
    missing: str = ""
    text: Sequence[str] = ()
    plots: Sequence[Plot] = ()
    small: bool = False
    more: Sequence[Plot] = ()
    """Plots that are shown when asked for."""
    pictures: Sequence[Picture] = ()
    wide: bool = False
    """Whether its pictures are several beside one another."""
    matrices: Sequence[Matrix] = ()
    tables: Sequence[Table] = ()
    code: tuple[tuple[str, str], ...] = ()
    more_code: tuple[tuple[str, str], ...] = ()
    """Blocks that are shown when asked for."""

    @property
    def narrow(self) -> bool:
        """Whether its tables can stand beside one another."""
        return all(len(table.head) <= 2 for table in self.tables)


def met(state: bool | None) -> Mark:
    """A check's result in a word."""
    return (
        Mark("met", "good")
        if state
        else Mark("not measured", "open")
        if state is None
        else Mark("not met", "bad")
    )
