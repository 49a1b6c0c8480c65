"""The sections on where the numbers come from: stages, target, machine, versions, recipe, the command."""

from __future__ import annotations

from jetpress.benchmarks.report.page import Mark, Run, Section, Table, at, listed
from jetpress.benchmarks.report.wording import clock, toml, value

STATES = {"ran": "good", "cached": "plain", "skipped": "plain"}


def stages(run: Run) -> Section:
    """What ran, what was there already, and what was left out, with the reason."""
    found = listed(run, "stages")
    rows = [
        (
            value(at(s, "name")),
            Mark(state, STATES[state]) if (state := value(at(s, "state"))) in STATES else state,
            clock(at(s, "seconds")),
            str(at(s, "digest") or "")[:12],
            value(at(s, "why") or ""),
        )
        for s in found
    ]
    head = ("Stage", "State", "Time", "Digest", "Why")
    if not rows:
        return Section("stages", "Stages", missing="No stages were recorded.")
    return Section("stages", "Stages", tables=(Table(head, rows, "nsrnw", "Stages"),))


def origin(run: Run) -> Section:
    """Everything that is needed to do it again."""
    facts = (
        ("target", "Target"),
        ("machine", "Machine of this run"),
        ("versions", "Versions"),
    )
    tables = [
        Table(
            ("", ""),
            [(name, value(fact)) for name, fact in found.items() if fact not in (None, "")],
            "nl",
            title,
        )
        for key, title in facts
        if (found := at(run, key))
    ]
    command, recipe = at(run, "reproduce"), at(run, "recipe")
    code = [("The command", value(command))] if command else []
    code += [("The recipe, every value decided", toml(recipe))] if recipe else []
    text = "The same recipe, data and versions give the same artifacts: compare the digests above."
    return Section("origin", "How to reproduce", text=(text,), tables=tables, code=code)
