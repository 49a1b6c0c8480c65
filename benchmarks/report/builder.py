"""The section on what the builder of the engines said: what it left out, changed or could not place."""

from __future__ import annotations

from jetpress.benchmarks.report.page import Section, Table
from jetpress.benchmarks.report.record import RunReport
from jetpress.benchmarks.report.record.engines import BuilderLog
from jetpress.benchmarks.report.wording import MISSING, value

TITLE = "What the builder said"
HEAD = (
    "Engine",
    "Seconds",
    "Flags",
    "Tactics skipped for memory",
    "Tactics skipped",
    "INT64 casts",
    "From DLA to GPU",
    "2:4, chosen of eligible",
)


def builder(run: RunReport) -> Section:
    """Of each engine: seconds, flags, skipped tactics, INT64 casts, fallback from the DLA, 2:4 layers."""
    if not any(one.findings for one in run.builder):
        return Section("builder", TITLE, missing="No builder that writes a log was asked.")
    tables = [Table(HEAD, [_row(one) for one in run.builder], "lrwrrrrr", TITLE)]
    found = [(one, one.findings.lines if one.findings else ()) for one in run.builder]
    lines = [(one.engine, line) for one, said in found for line in (*said, *one.warnings)]
    if lines:
        tables.append(Table(("Engine", "Line"), lines, "lw", "Lines of its log", folded=True))
    memory = any(one.findings.skipped_for_memory for one in run.builder if one.findings)
    text = ["Tactics were skipped because memory was short: the engine may be slower than it could be."]
    return Section("builder", TITLE, text=text if memory else (), tables=tables)


def _row(one: BuilderLog) -> tuple[str, ...]:
    said, flags = one.findings, ", ".join(one.flags) or "none"
    if said is None:
        return one.engine, value(one.seconds), flags, *(4 * (MISSING,)), ""
    counts = said.skipped_for_memory, said.skipped_tactics, said.int64_casts, said.dla_fallback
    sparse = f"{said.sparsity.chosen} of {said.sparsity.eligible}" if said.sparsity else ""
    return one.engine, value(one.seconds), flags, *map(str, counts), sparse
