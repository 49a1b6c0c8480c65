"""The sections on where the numbers come from: stages, target, machine, versions, recipe, the command."""

from __future__ import annotations

from dataclasses import asdict

from jetpress.benchmarks.report.page import Mark, Section, Table
from jetpress.benchmarks.report.record import RunReport
from jetpress.benchmarks.report.wording import clock, toml, value

UNSIGNED = (
    "The bundle of this run is not signed: whoever can write to its folder can change it and its manifest. "
    "A copy of it is signed by: jetpress release RUN --key KEY. Boards can refuse all others."
)
STATES = {"ran": "good", "cached": "plain", "skipped": "plain"}


def stages(run: RunReport) -> Section:
    """What ran, what was there already, and what was left out, with the reason."""
    rows = [
        (
            one.name,
            Mark(one.state, STATES[one.state]) if one.state in STATES else one.state,
            clock(one.seconds),
            (one.digest or "")[:12],
            one.why,
        )
        for one in run.stages
    ]
    if not rows:
        return Section("stages", "Stages", missing="No stages were recorded.")
    head = ("Stage", "State", "Time", "Digest", "Why")
    return Section("stages", "Stages", tables=(Table(head, rows, "nsrnw", "Stages"),))


def origin(run: RunReport) -> Section:
    """Everything that is needed to do it again."""
    facts = (
        ("Target", run.target),
        ("Machine of this run", asdict(run.machine)),
        ("Versions", run.versions),
    )
    tables = [
        Table(("", ""), [(k, value(v)) for k, v in found.items() if v not in (None, "")], "nl", title)
        for title, found in facts
        if found
    ]
    code = (("The command", run.reproduce),) if run.reproduce else ()
    recipe = (("The recipe, every value decided", toml(run.recipe)),) if run.recipe else ()
    text = "The same recipe, data and versions give the same artifacts: compare the digests above."
    return Section(
        "origin", "How to reproduce", text=(text, UNSIGNED), tables=tables, code=code, more_code=recipe
    )
