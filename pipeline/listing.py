"""All runs at a glance: what each came to, and what it takes on the disk; also unfinished and damaged ones."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from jetpress.benchmarks.report.headline import gained, shown
from jetpress.benchmarks.report.record import RunReport, read
from jetpress.benchmarks.report.results import speed
from jetpress.benchmarks.report.wording import points
from jetpress.benchmarks.report.wording import size as in_bytes
from jetpress.deploy.errors import RecipeError
from jetpress.deploy.targets import TARGETS
from jetpress.pipeline.store.needs import FILE, is_running
from jetpress.pipeline.store.store import Store

State = Literal["finished", "running", "unfinished", "damaged"]
NONE = "-"


@dataclass(frozen=True, kw_only=True)
class Speed:
    """How many times as fast as dense, with the ends of its interval."""

    value: float
    low: float
    high: float
    claimed: bool
    """Whether it is known well enough to be claimed."""


@dataclass(frozen=True, kw_only=True)
class Listed:
    """One run's folder. What is not known is None."""

    id: str
    """Name of the folder."""
    folder: str
    state: State
    why: str = ""
    """What is wrong with it."""
    name: str | None = None
    """Of the recipe."""
    target: str | None = None
    verdict: str | None = None
    exit_code: int | None = None
    """That the run ended with."""
    speed: Speed | None = None
    accuracy_change: float | None = None
    """Points that the compressed network gains on the dense one, on the test split."""
    bytes: int = 0
    """Of all files in the folder; one that has several names there counts once."""
    date: str | None = None
    """When it ended, or was last begun: ISO 8601, UTC."""


def runs(home: Path) -> list[Listed]:
    """All runs in a folder, the newest last."""
    store = Store(home / ".store")
    folders = [path for path in sorted(home.glob("*/")) if not path.name.startswith(".")]
    rows = [_row(path, store) for path in folders if _is_run(path)]
    return sorted(rows, key=lambda row: (row.date or "", row.id))


def of(report: RunReport, folder: Path, state: State = "finished") -> Listed:
    """A finished run."""
    ratio = report.ratios.latency and report.ratios.latency.interval
    measured = ratio and Speed(
        value=ratio.value, low=ratio.low, high=ratio.high, claimed=speed(report) is not None
    )
    verdict = shown(report)
    return Listed(
        id=folder.name,
        folder=str(folder),
        state=state,
        name=report.name,
        target=str(report.target.get("name")),
        verdict=verdict.words,
        exit_code=verdict.exit_code,
        speed=measured or None,
        accuracy_change=gained(report),
        bytes=size(folder),
        date=report.created,
    )


def failed(target: str, name: str, why: str, exit_code: int) -> Listed:
    """A run that ended before its report was written."""
    return Listed(
        id=NONE, folder="", state="unfinished", why=why, name=name, target=target, exit_code=exit_code
    )


def size(folder: Path) -> int:
    """Bytes of all files below ``folder``, as they are written; each file once, whatever names it has."""
    counted: dict[tuple[int, int], int] = {}
    for path in folder.rglob("*"):
        try:
            stat = path.lstat()
        except FileNotFoundError:  # a run that goes on replaces files
            continue
        if not path.is_dir() or path.is_symlink():
            counted[stat.st_dev, stat.st_ino] = stat.st_size
    return sum(counted.values())


def table(rows: Sequence[Listed]) -> list[str]:
    """Lines for a person."""
    cells = [("RUN", "TARGET", "VERDICT", "SPEED", "ACCURACY", "SIZE", "DATE"), *map(_cells, rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(cells[0]))]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in cells
    ]


def _cells(row: Listed) -> tuple[str, ...]:
    verdict = row.verdict or row.state
    if row.state != "finished" and row.verdict:
        verdict = f"{row.state} (before: {row.verdict})"
    if row.why:
        verdict = f"{row.state}: {row.why}"
    return (
        row.id if row.id != NONE else row.name or NONE,
        row.target or NONE,
        verdict,
        _speed(row.speed),
        NONE if row.accuracy_change is None else points(row.accuracy_change),
        in_bytes(row.bytes) if row.folder else NONE,
        (row.date or NONE)[:16].replace("T", " "),
    )


def _speed(measured: Speed | None) -> str:
    if measured is None:
        return NONE
    said = f"{measured.value:.2f}x ({measured.low:.2f} to {measured.high:.2f})"
    return said if measured.claimed else f"{said}, not claimed"


def _is_run(folder: Path) -> bool:
    return (folder / FILE).exists() or (folder / "report.json").exists()


def _row(folder: Path, store: Store) -> Listed:
    running = is_running(store, folder)
    name, target = _named(folder.name)
    state: State = "running" if running else "unfinished"
    date, why = _noted(folder), ""
    if (folder / "report.json").exists():
        try:
            return of(read(folder / "report.json"), folder, "running" if running else "finished")
        except RecipeError as error:
            state, why = "running" if running else "damaged", error.what.removeprefix(f"{folder}/")
        except OSError as error:
            state, why = "damaged", f"report.json cannot be read: {error.strerror}"
    return Listed(
        id=folder.name, folder=str(folder), state=state, why=why, name=name, target=target,
        bytes=size(folder), date=date,
    )  # fmt: skip


def _named(folder: str) -> tuple[str | None, str | None]:
    """Recipe and target out of a folder's name."""
    rest = folder.rpartition("-")[0]
    fitting = [target for target in TARGETS if rest.endswith(f"-{target}")]
    target = max(fitting, key=len, default=None)
    return (rest.removesuffix(f"-{target}"), target) if target else (None, None)


def _noted(folder: Path) -> str:
    """When a run was last begun, as its note says; else when something in its folder was last changed."""
    try:
        used = float(json.loads((folder / FILE).read_bytes())["used"])
        return datetime.fromtimestamp(used, UTC).isoformat(timespec="seconds")
    except (OSError, ValueError, TypeError, KeyError, RecursionError, OverflowError):
        return datetime.fromtimestamp(folder.stat().st_mtime, UTC).isoformat(timespec="seconds")
