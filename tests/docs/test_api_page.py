"""docs/api.md says of every argument, field and method what it is."""

from __future__ import annotations

import inspect
import re

import pytest

import jetpress
from docs.api import ELSEWHERE, page

PAGE = page()
PARTS = dict(re.findall(r"^## (\w+)\n(.*?)(?=^#+ \w|\Z)", PAGE, re.M | re.S))
FUNCTIONS = [name for name in jetpress.__all__ if inspect.isfunction(getattr(jetpress, name))]
AS = {"plan": "run", "rounds": "prune"}
"""Whose arguments are another one's, and the page says so."""


@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_argument_has_its_row(name: str) -> None:
    told = PARTS[name]
    if name in AS:
        assert f"[{AS[name]}](#{AS[name]})" in told
        told += PARTS[AS[name]]
    rows = set(re.findall(r"^\| `(\w+)` \|", told, re.M))
    assert rows >= set(inspect.signature(getattr(jetpress, name)).parameters)


def test_every_field_has_words() -> None:
    told = {name: text for name, text in PARTS.items() if name not in ELSEWHERE}
    assert [
        (name, row) for name, text in told.items() for row in re.findall(r"^\|.*\|  \|$", text, re.M)
    ] == []


def test_what_lies_in_what_is_given_has_a_part() -> None:
    assert {"Masks", "Rounds", "Pixels", "Size", "Pruning", "Problem", "TensorSpec"} <= PARTS.keys()
    assert "| `why` | `str` | Why it ended. |" in PARTS["Rounds"]
    assert "### Masks.held()" in PAGE


def test_code_is_a_block() -> None:
    assert '```python\njetpress.run("digits", "host")\n' in PAGE
    assert PAGE.count("```") % 2 == 0
    assert not re.search(r"^``\w", PAGE, re.M)
