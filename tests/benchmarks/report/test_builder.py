from __future__ import annotations

from jetpress.benchmarks.report import builder, record
from tests.benchmarks.runs import realistic


def test_what_the_builder_said() -> None:
    section = builder.builder(record.of(realistic()))
    assert "memory was short" in section.text[0]
    assert section.tables[0].rows[1] == (
        "compressed",
        "4.20 MB",
        "61.5",
        "FP16, SPARSE_WEIGHTS",
        "2",
        "3",
        "1",
        "0",
        "4 of 39",
    )
    assert any("insufficient memory" in line for _, line in section.tables[1].rows)
    silent = {"engine": "dense", "seconds": 0.2, "flags": [], "findings": None, "warnings": []}
    (table,) = builder.builder(record.of({**realistic(), "builder": [silent]})).tables
    assert table.head == ("Engine", "Size", "Seconds", "Flags")
    assert table.rows == [("dense", "—", "0.2", "none")]
    assert builder.builder(record.of({**realistic(), "builder": []})).missing
