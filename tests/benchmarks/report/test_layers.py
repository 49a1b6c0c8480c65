from __future__ import annotations

from typing import Any

from jetpress.benchmarks.report import layers, record
from jetpress.benchmarks.report.record import RunReport
from tests.benchmarks.runs import realistic


def run_with(**changes: Any) -> RunReport:
    run = realistic()
    run["layer_costs"] |= changes
    return record.of(run)


def test_a_layer_is_shown_with_both_times_and_never_a_ratio_of_one() -> None:
    section = layers.times(run_with())
    rows = {row[1]: row for table in section.tables for row in table.rows}
    assert len(rows) == 17
    gone, untimed = rows["layer1.1.conv1"], rows["layer2.0.conv1"]
    assert gone[3:5] == ("—", "")
    assert untimed[2] == "—"
    assert untimed[4] == ""
    assert all(row[4].endswith(" ×") for name, row in rows.items() if row not in (gone, untimed))
    assert "none to quote" in section.text[1]


def test_the_roof_is_the_smaller_of_both_limits() -> None:
    pair = {"macs": 10**9, "bytes": 10**6, "ms": None}
    low = {"macs": 10**6, "bytes": 10**6, "ms": None}
    roof = {"operations": 2e12, "bandwidth": 1e10, "precision": "fp16", "source": "a data sheet"}
    pairs = [
        {"name": "wide", "dense": pair, "compressed": low},
        {"name": "narrow", "dense": low, "compressed": None},
    ]
    run = run_with(layers=pairs, roof=roof, dense=None, compressed=None, untimed="no engine ran")
    section = layers.roofline(run)
    rows = {row[1]: row for row in section.tables[0].rows}
    assert rows["wide"][2:] == ("2,000", "2.00", "1.00 ms", "0.100 ms")
    assert rows["narrow"][3:] == ("—", "0.100 ms", "—")
    assert "Dense: memory is the limit of 1 of 2 layers (50 %); a run takes 1.10 ms at least." in section.text
    assert "none was measured" in section.plots[0].note
    assert layers.times(run).missing == "No engine ran."


def test_without_a_peak_there_is_no_roofline() -> None:
    assert "not known" in layers.roofline(run_with(roof=None)).missing
    assert layers.roofline(record.of(realistic() | {"layer_costs": None})).missing
    assert layers.times(record.of(realistic() | {"layer_costs": None})).missing
