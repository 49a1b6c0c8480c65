"""The section on what the builder of the engines said: what it left out, changed or could not place."""

from __future__ import annotations

from typing import Any

from jetpress.benchmarks.report.page import Run, Section, Table, at, listed
from jetpress.benchmarks.report.wording import value

TITLE = "What the builder said"
COLUMNS = {
    "skipped_for_memory": "Tactics skipped for memory",
    "skipped_tactics": "Tactics skipped",
    "int64_casts": "INT64 casts",
    "dla_fallback": "From DLA to GPU",
}


def builder(run: Run) -> Section:
    """Of each engine: seconds, flags, skipped tactics, INT64 casts, fallback from the DLA, 2:4 layers."""
    found = listed(run, "builder")
    if not any(at(one, "findings") for one in found):
        return Section("builder", TITLE, missing="No builder that writes a log was asked.")
    rows = [
        (
            value(at(one, "engine")),
            value(at(one, "seconds")),
            ", ".join(map(value, at(one, "flags") or ())) or "none",
            *(value(at(one, "findings", key)) for key in COLUMNS),
            _sparse(at(one, "findings", "sparsity")),
        )
        for one in found
    ]
    head = ("Engine", "Seconds", "Flags", *COLUMNS.values(), "2:4, chosen of eligible")
    lines = [
        (value(at(one, "engine")), value(line))
        for one in found
        for line in [*(at(one, "findings", "lines") or ()), *(at(one, "warnings") or ())]
    ]
    tables = [Table(head, rows, "lrwrrrrr", TITLE)]
    if lines:
        tables.append(Table(("Engine", "Line"), lines, "lw", "Lines of its log", folded=True))
    memory = sum(at(one, "findings", "skipped_for_memory") or 0 for one in found)
    text = ["Tactics were skipped because memory was short: the engine may be slower than it could be."]
    return Section("builder", TITLE, text=text if memory else (), tables=tables)


def _sparse(found: Any) -> str:
    return "" if not found else f"{value(at(found, 'chosen'))} of {value(at(found, 'eligible'))}"
