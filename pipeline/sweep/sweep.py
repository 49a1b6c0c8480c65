"""A sweep, top to bottom: read it, see which cells are left, run them in processes, put the results together.

A cell is what ``jetpress run`` does, in a process of its own; what cells share, the store makes once. A cell that
fails stops no other. The same command goes on where it was interrupted, and begins failed cells again.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Protocol

from filelock import FileLock, Timeout

from jetpress.benchmarks.report import record as report_record
from jetpress.deploy import console
from jetpress.deploy.errors import DeviceError, RecipeError, StageError, ToolMissing
from jetpress.pipeline.store.runs import home
from jetpress.pipeline.store.shared import shared
from jetpress.pipeline.store.store import write_atomically
from jetpress.pipeline.sweep import records
from jetpress.pipeline.sweep.cells import Cell, Refused, apart, cells
from jetpress.pipeline.sweep.page import write_page
from jetpress.pipeline.sweep.reading import Asked, Sweep, asked, load
from jetpress.pipeline.sweep.records import Record
from jetpress.pipeline.sweep.search import Search
from jetpress.pipeline.sweep.table import PARQUET, figures, rows, write_parquet
from jetpress.pipeline.sweep.tracking import report
from jetpress.pipeline.sweep.workers import Ended, Task, Told, Workers

CELL = "jetpress.pipeline.sweep.cell"
EVERY_S = 5.0
"""How often results are written while cells run."""


class Crew(Protocol):
    """Who runs tasks: :class:`Workers`, or a Ray cluster."""

    def work(
        self,
        take: Callable[[Sequence[Task]], Task | None],
        ended: Callable[[Task, Ended], None],
        more: Callable[[], bool] = ...,
        heard: Callable[[Task, Told], str] = ...,
    ) -> None:
        """Run what ``take`` gives until there is no more."""


@dataclass
class Doing:
    """A sweep while it runs."""

    sweep: Sweep
    folder: Path
    records: dict[str, Record]
    """Of all cells, in their order."""
    cells: dict[str, Cell]
    waiting: list[str] = field(default_factory=list)
    search: Search | None = None
    written: float = 0.0
    """When results were, by the clock that only goes on."""

    def take(self, running: Sequence[Task]) -> Task | None:
        """The cell that has least in common with those that run: it would only wait for what they make."""
        if not self.waiting and self.search and self.search.left() and (cell := self.search.propose()):
            self.cells[cell.id], self.records[cell.id] = cell, listed(cell, self.folder)
            self.waiting.append(cell.id)
        if not self.waiting:
            return None
        beside = [self.cells[task.id] for task in running]
        chosen = min(self.waiting, key=lambda one: apart(self.cells[one], beside))
        self.waiting.remove(chosen)
        return task_of(self.cells[chosen], self.folder, self.sweep.gpus)

    def ended(self, task: Task, how: Ended) -> None:
        """Note how a cell ended; one that was killed, or whose device failed, is begun again."""
        now = outcome(self.records[task.id], how)
        self.records[task.id] = now
        broke = how.code < 0 or now.exit_code == DeviceError.exit_code
        if now.state == "failed" and broke and not how.why and now.tries <= self.sweep.retries:
            console.say(f"  again    {now.name}: {now.why}")
            self.waiting.append(task.id)
            return
        if self.search:
            now = self.records[task.id] = self.search.tell(task.id, now)
        records.write(self.folder, now)
        report(self.sweep.tracking, now)
        told = now.why if now.state != "done" else str(now.figures.get("verdict", ""))
        console.say(f"  {now.state:<8} {now.name}: {told} ({console.duration(now.seconds)})")
        if time.monotonic() - self.written > EVERY_S:
            self.write()

    def heard(self, task: Task, told: Told) -> str:
        """An epoch of a trial; a reason where it is hopeless."""
        points = told.get("validation")
        if self.search is None or told.get("event") != "epoch" or not isinstance(points, float):
            return ""
        return self.search.hopeless(task.id, str(told.get("training")), points)

    def write(self) -> None:
        """Put together what is known."""
        self.written = time.monotonic()
        write_results(self.folder, [*self.records.values()])


def task_of(cell: Cell, folder: Path, gpus: int) -> Task:
    """The program that a cell is: it trains on each of its GPUs."""
    place, text = folder / "cells" / cell.id, cell.recipe.to_toml()
    recipe = place / "recipe.toml"
    write_atomically(recipe, text)
    told = (str(recipe), cell.asked.target, cell.asked.device or "", str(max(gpus, 1)))
    command = (sys.executable, "-m", CELL, *told)
    return Task(cell.id, command, place / "log", device=cell.asked.device, needs={str(recipe): text})


def outcome(record: Record, how: Ended) -> Record:
    """A cell's record after its process ended."""
    tried = replace(record, seconds=round(how.seconds, 1), tries=record.tries + 1)
    code = how.told.get("exit_code")
    folder = str(how.told.get("folder", ""))
    if folder and isinstance(code, int):
        if (there := shared()) and not (Path(folder) / "report.json").is_file():
            there.get("runs", Path(folder).name, Path(folder))
        found = figures(report_record.read(Path(folder) / "report.json"))
        return replace(tried, state="done", why="", hint="", exit_code=code, folder=folder, figures=found)
    why = how.why or str(how.told.get("error", "")) or f"its process ended with {how.code} and said nothing"
    hint = str(how.told.get("hint", "")) or f"see {record.log}"
    code = code if isinstance(code, int) else StageError.exit_code
    return replace(tried, state="failed", why=why, hint=hint, exit_code=code)


def run(
    path: Path, crew: Crew, *, again: bool = False, root: Path | None = None
) -> tuple[Path, list[Record]]:
    """Run a sweep.

    Args:
        path: of its file.
        crew: who runs the cells.
        again: walk every cell, also those that are done; what they made before is found in the store.
        root: folder of runs; None: ``$JETPRESS_RUNS`` or ``runs``.

    Returns:
        its folder, and all of its cells

    Raises:
        RecipeError: the sweep, or all of its cells, cannot be.
    """
    sweep = load(path)
    folder, place = folder_of(path, sweep, root), path.parent.absolute()
    with only_one(folder):
        if sweep.search:
            doing, total = searching(sweep, folder, place), sweep.search.trials
            left = doing.search.left() if doing.search else 0
            console.say(f"jetpress: {sweep.name}: {total} trials, {left} to run")
        else:
            able, refused = cells(asked(sweep, place))
            for one in refused:
                console.say(f"  refused  {one.name}: {one.why}")
            doing = begun(sweep, folder, able, refused, again)
            left, total = len(doing.waiting), len(able)
            console.say(f"jetpress: {sweep.name}: {total} cells, {left} to run, {len(refused)} refused")
        try:
            with console.progress(f"sweep {sweep.name}", total, earlier=total - left) as line:

                def count(task: Task, how: Ended) -> None:
                    doing.ended(task, how)
                    line.step(amount=int(task.id not in doing.waiting))

                crew.work(doing.take, count, heard=doing.heard)
        finally:
            doing.write()
    return folder, [*doing.records.values()]


def searching(sweep: Sweep, folder: Path, place: Path) -> Doing:
    """A search as it was left: the trials that have ended, and the study that knows them."""
    search = Search(sweep, folder, place)
    search.take_up()
    ended = (records.read(folder, path.name) for path in sorted((folder / "cells").glob("*")))
    return Doing(sweep, folder, {one.id: one for one in ended if one}, {}, search=search)


def folder_of(path: Path, sweep: Sweep, root: Path | None) -> Path:
    """The sweep's folder: the same file always has the same one, whatever it says now."""
    digest = hashlib.sha256(str(path.absolute()).encode()).hexdigest()[:8]
    return ((root or home()) / f"{sweep.name}-sweep-{digest}").absolute()


def begun(sweep: Sweep, folder: Path, able: Sequence[Cell], refused: Sequence[Refused], again: bool) -> Doing:
    """What is known of each cell, and which are left."""
    doing = Doing(sweep, folder, {}, {cell.id: cell for cell in able})
    for cell in able:
        old = records.read(folder, cell.id)
        done = old is not None and old.state == "done" and (Path(old.folder) / "report.json").is_file()
        if old is not None and done and not again:
            doing.records[cell.id] = old
            continue
        doing.records[cell.id] = listed(cell, folder)
        doing.waiting.append(cell.id)
    for number, one in enumerate(refused):
        found = _record(f"refused-{number}", one.name, one.asked)
        code = RecipeError.exit_code
        doing.records[found.id] = replace(found, state="refused", exit_code=code, why=one.why, hint=one.hint)
    return doing


def listed(cell: Cell, folder: Path) -> Record:
    """A cell that has not ended, with the command that makes it."""
    place, device = folder / "cells" / cell.id, cell.asked.device
    where = f"--target {cell.asked.target}" + (f" --device {device}" if device else "")
    command = f"jetpress run {place / 'recipe.toml'} {where}"
    return replace(_record(cell.id, cell.name, cell.asked), log=str(place / "log"), command=command)


def _record(identity: str, name: str, one: Asked) -> Record:
    return Record(identity, name, one.recipe, one.model, one.target, one.device, one.values)


@contextmanager
def only_one(folder: Path) -> Iterator[None]:
    """One process at a time works on a sweep.

    Raises:
        RecipeError: another one does.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / "lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise RecipeError(f"another process works on {folder}", "wait for it, or end it first") from None
    try:
        yield
    finally:
        lock.release()


def write_results(folder: Path, found: Sequence[Record]) -> None:
    """JSON and the page; and Parquet, where there is what writes it."""
    write_atomically(folder / "results.json", json.dumps([asdict(one) for one in found]))
    write_page(folder, found)
    try:
        write_parquet(rows(found), folder / PARQUET)
    except ToolMissing as error:
        console.detail(f"  {error.what}")


def local(workers: int) -> Workers:
    """Processes on this machine, each with its share of the processors."""
    threads = max((os.cpu_count() or 1) // workers, 1)
    os.environ.setdefault("OMP_NUM_THREADS", str(threads))
    return Workers(workers)
