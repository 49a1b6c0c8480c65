"""The section on what the builder of the engines said: what it left out, changed or could not place."""

from __future__ import annotations

from jetpress.benchmarks.report.page import Section, Table
from jetpress.benchmarks.report.record import RunReport
from jetpress.benchmarks.report.record.engines import BuilderLog
from jetpress.benchmarks.report.wording import MISSING, size, value

TITLE = "The engines, and what their builder said"
HEAD = ("Engine", "Size", "Seconds", "Flags")
FINDINGS = (
    "Tactics skipped for memory",
    "Tactics skipped",
    "INT64 casts",
    "From DLA to GPU",
    "2:4, chosen of eligible",
)


def builder(run: RunReport) -> Section:
    """Of each engine: seconds, flags, skipped tactics, INT64 casts, fallback from the DLA, 2:4 layers."""
    if not run.builder:
        return Section("builder", TITLE, missing="No engine was built.")
    logged = any(one.findings for one in run.builder)
    rows = [(*_engine(one), *(_findings(one) if logged else ())) for one in run.builder]
    tables = [Table((*HEAD, *(FINDINGS if logged else ())), rows, "lrrw" + "rrrrr" * logged, TITLE)]
    found = [(one, one.findings.lines if one.findings else ()) for one in run.builder]
    lines = [(one.engine, line) for one, said in found for line in (*said, *one.warnings)]
    if lines:
        tables.append(Table(("Engine", "Line"), lines, "lw", "Lines of its log", folded=True))
    memory = any(one.findings.skipped_for_memory for one in run.builder if one.findings)
    text = ["Tactics were skipped because memory was short: the engine may be slower than it could be."]
    return Section("builder", TITLE, text=text if memory else (), tables=tables)


def _engine(one: BuilderLog) -> tuple[str, ...]:
    return one.engine, size(one.bytes), value(one.seconds), ", ".join(one.flags) or "none"


def _findings(one: BuilderLog) -> tuple[str, ...]:
    said = one.findings
    if said is None:
        return *(4 * (MISSING,)), ""
    counts = said.skipped_for_memory, said.skipped_tactics, said.int64_casts, said.dla_fallback
    return *map(str, counts), f"{said.sparsity.chosen} of {said.sparsity.eligible}" if said.sparsity else ""
