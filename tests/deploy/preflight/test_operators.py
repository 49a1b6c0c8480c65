"""The tables of operators, and every sentence in them."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from onnx import defs

from jetpress.deploy.errors import RecipeError
from jetpress.deploy.preflight import operators, restrictions
from jetpress.deploy.targets import TARGETS
from jetpress.pipeline.graph.rewrites.primitives import EXPANSIONS


@pytest.mark.parametrize(
    ("asked", "table", "derived"),
    [
        ("8.0.1", "8.0", False),
        ("8.2.1", "8.2", False),
        ("8.5.2", "8.5", False),
        ("10.3.0", "10.3", True),
        ("10.7.0", "10.3", True),
        ("10.13.3", "10.13", True),
        ("10.16.2", "10.16", False),
        ("11.4.1", "11.1", False),
    ],
)
def test_the_nearest_older_table_is_taken(asked: str, table: str, derived: bool) -> None:
    found = operators.table(asked)
    assert (found.name, found.derived) == (table, derived)


def test_an_older_tensorrt_than_any_known() -> None:
    with pytest.raises(RecipeError, match=r"7\.1"):
        operators.table("7.1.3")


def test_every_target_has_a_table_that_reads_its_opset() -> None:
    for target in TARGETS.values():
        if target.backend == "tensorrt":
            table = operators.table(target.tensorrt)
            assert target.opset <= target.newest_opset == table.opsets[1]
            there = {op for op in EXPANSIONS if defs.has(op, target.opset)}
            assert not there - set(table.rows) - set(target.lower)


def every_restriction() -> list[tuple[str, str, str]]:
    facts = json.loads((Path(operators.__file__).parent / "operators.json").read_text())
    assert list(facts["sources"])[-1] == operators.NEWEST
    return [
        (op, version, row[1])
        for op, history in facts["operators"].items()
        for version, row in history.items()
        if row and len(row) > 1
    ]


def test_every_sentence_of_the_tables_is_understood() -> None:
    patterns = [*(pattern for pattern, _ in restrictions.RULES), *restrictions.ELSEWHERE]
    unused = set(patterns)
    for op, version, text in every_restriction():
        rest = text
        for pattern in patterns:
            if re.search(pattern, rest):
                unused.discard(pattern)
                rest = re.sub(pattern, "", rest)
        assert not re.sub(r"[\s.;,]|\band\b", "", rest), f"{op} {version}: nothing looks at {rest!r}"
    assert not unused
