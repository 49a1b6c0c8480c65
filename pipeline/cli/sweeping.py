"""jetpress sweep | results | batch"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from jetpress.deploy import console
from jetpress.deploy.errors import RecipeError, StageError
from jetpress.pipeline.cli.arguments import Commands, command, completed
from jetpress.pipeline.cli.several import WORST, worst

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jetpress.pipeline.sweep.records import Record


WIDEST = 48
"""Characters of a verdict or a reason in the table; the page has all of it."""


def add(commands: Commands) -> None:
    """Many runs at once, and what they came to."""
    text = "run every combination of recipes, targets and values that a sweep's file names"
    sweep = command(commands, "sweep", _sweep, text, works_long=True)
    given = sweep.add_argument("sweep", metavar="SWEEP", help="a .toml file: `jetpress docs sweeps`")
    completed(given, "recipe")
    where = sweep.add_mutually_exclusive_group()
    where.add_argument(
        "--workers", type=_count, default=1, metavar="N", help="cells at once, here (default: 1)"
    )
    where.add_argument(
        "--ray", metavar="ADDRESS", help="run them on a Ray cluster: auto, HOST:PORT or ray://..."
    )
    sweep.add_argument("--again", action="store_true", help="walk cells that are done, too")
    text = "the results of a sweep: all cells, and those that no other beats"
    results = command(commands, "results", _results, text)
    results.add_argument(
        "sweep", nargs="?", metavar="SWEEP", help="its folder, its name there, or its .toml file"
    )

    text = "run jobs as they arrive in a folder, each in a process and a folder of its own (no sandbox)"
    batch = command(commands, "batch", _batch, text, works_long=True)
    completed(
        batch.add_argument("folder", metavar="FOLDER", help="jobs are put into FOLDER/incoming"), "folder"
    )
    batch.add_argument("--workers", type=_count, default=1, metavar="N", help="jobs at once (default: 1)")
    batch.add_argument(
        "--watch", action="store_true", help="wait for more jobs when none is left, until Ctrl-C"
    )
    batch.add_argument("--list", action="store_true", help="only say what became of each job")


def _count(text: str) -> int:
    number = int(text)
    if number < 1:
        raise ValueError(text)
    return number


def _sweep(options: argparse.Namespace) -> int:
    from jetpress.pipeline.sweep import sweep

    if options.ray:
        from jetpress.pipeline.sweep.on_ray import Cluster
        from jetpress.pipeline.sweep.reading import load

        crew: sweep.Crew = Cluster(options.ray, load(Path(options.sweep)))
    else:
        crew = sweep.local(options.workers)
    folder, found = sweep.run(Path(options.sweep), crew, again=options.again)
    return _shown(folder, found, options.json)


def _results(options: argparse.Namespace) -> int:
    from jetpress.pipeline.sweep import records

    folder = _found(options.sweep)
    return _shown(folder, records.read_all(folder), options.json)


def _batch(options: argparse.Namespace) -> int:
    from jetpress.pipeline.sweep import batch, sweep

    folder = Path(options.folder)
    crew = sweep.local(options.workers)
    jobs = batch.jobs(folder) if options.list else batch.run(folder, crew, watch=options.watch)
    if options.json:
        print(json.dumps({"folder": str(folder.absolute()), "jobs": [asdict(job) for job in jobs]}))
    else:
        for job in jobs:
            took = "-" if job.seconds is None else console.duration(job.seconds)
            print(
                f"{job.name:<24} {job.state:<8} {job.priority:>4} {took:>12}  {job.why or job.report}".rstrip()
            )
    codes = [job.exit_code or 0 for job in jobs if job.state == "failed"]
    return worst([0, *(code if code in WORST else StageError.exit_code for code in codes)])


def _found(name: str | None) -> Path:
    """The folder of a sweep; without a name the newest.

    Raises:
        RecipeError: there is none.
    """
    from jetpress.pipeline.store.runs import home

    pattern = "*-sweep-*/results.json"
    known = sorted(home().glob(pattern), key=lambda path: path.stat().st_mtime)
    if name is None and known:
        return known[-1].parent
    if name is not None and name.endswith(".toml"):
        from jetpress.pipeline.sweep.reading import load
        from jetpress.pipeline.sweep.sweep import folder_of

        path = Path(name)
        name = str(folder_of(path, load(path), None))
    for candidate in (Path(name), home() / name) if name else ():
        if (candidate / "results.json").is_file():
            return candidate
    names = ", ".join(path.parent.name for path in known) or "none yet"
    raise RecipeError(f"there is no sweep {name or 'here'}", f"sweeps: {names}")


def _shown(folder: Path, found: Sequence[Record], as_json: bool) -> int:
    """Print them; the exit code is the worst of the cells that came to no end."""
    from jetpress.pipeline.sweep import pareto, table

    rows = table.rows(found)
    fronts = {
        str(target): pareto.best(
            [row if row["target"] == target else {} for row in rows], pareto.measured(rows, target)
        )
        for target in dict.fromkeys(row["target"] for row in rows)
    }
    best = {number for numbers in fronts.values() for number in numbers}
    failed = [one for one in found if one.state == "failed"]
    codes = [one.exit_code if one.exit_code in WORST else StageError.exit_code for one in failed]
    if as_json:
        parquet = folder / table.PARQUET
        told: dict[str, object] = {"folder": str(folder), "page": str(folder / "index.html"), "cells": rows}
        told |= {"parquet": str(parquet) if parquet.is_file() else None}
        print(json.dumps({**told, "front": [rows[number]["id"] for number in sorted(best)]}))
        return worst([0, *codes])
    for line in _lines(found, best):
        print(line)
    counted = {
        state: sum(one.state == state for one in found) for state in dict.fromkeys(one.state for one in found)
    }
    console.say(", ".join(f"{count} {state}" for state, count in counted.items()))
    console.say(f"page: {folder / 'index.html'}")
    return worst([0, *codes])


def _lines(found: Sequence[Record], best: set[int]) -> list[str]:
    """A table for a person; a star marks what no other cell of its target beats."""
    from jetpress.benchmarks.report.wording import ms, points, size

    cells = [("", "CELL", "STATE", "VERDICT", "ACCURACY", "CHANGE", "LATENCY", "SIZE")]
    for number, one in enumerate(found):
        known = one.figures
        accuracy, change, latency, bytes_ = (
            known.get(key) for key in ("accuracy", "accuracy_change", "latency_ms", "size_bytes")
        )
        cells.append(
            (
                "*" if number in best else "",
                one.name,
                one.state,
                str(known.get("verdict") or one.why or "-")[:WIDEST],
                f"{accuracy:.2f} %" if isinstance(accuracy, float) else "-",
                points(change) if isinstance(change, float) else "-",
                ms(latency) if isinstance(latency, float) else "-",
                size(bytes_) if isinstance(bytes_, int) else "-",
            )
        )
    widths = [max(len(row[column]) for row in cells) for column in range(len(cells[0]))]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in cells
    ]
