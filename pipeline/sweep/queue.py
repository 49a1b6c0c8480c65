"""The queue of a batch: one SQLite file, in which every step of a job is one transaction.

A job is taken up as ``waiting``, becomes ``running`` before its process begins, and ``done`` or ``failed`` when it has
ended. After a kill of whoever keeps the queue, jobs that were running wait again, unless they had left their result.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

WAIT_S = 60.0
"""For another process that writes: a busy disk takes its time over each transaction."""
State = Literal["waiting", "running", "done", "failed"]
COLUMNS = "name, priority, arrived, state, tries, exit_code, why, seconds, ended, report"
SCHEMA = """
CREATE TABLE IF NOT EXISTS jobs (
    name TEXT PRIMARY KEY, priority INTEGER NOT NULL, arrived REAL NOT NULL, state TEXT NOT NULL,
    tries INTEGER NOT NULL DEFAULT 0, exit_code INTEGER, why TEXT NOT NULL DEFAULT '', seconds REAL,
    ended REAL, report TEXT NOT NULL DEFAULT ''
)
"""


@dataclass(frozen=True)
class Job:
    """One row."""

    name: str
    """Of its folder."""
    priority: int
    arrived: float
    """Seconds since 1970, as is ``ended``."""
    state: State
    tries: int
    exit_code: int | None
    why: str
    seconds: float | None
    ended: float | None
    report: str
    """Folder of its run."""


class Queue:
    """All jobs of a batch.

    Args:
        path: of the file; made if it is not there.
    """

    def __init__(self, path: Path) -> None:
        self._database = sqlite3.connect(path, timeout=WAIT_S, isolation_level=None)
        self._database.execute("PRAGMA synchronous = FULL")
        self._database.execute(SCHEMA)

    @contextmanager
    def _whole(self) -> Iterator[sqlite3.Connection]:
        self._database.execute("BEGIN IMMEDIATE")
        try:
            yield self._database
        except BaseException:
            self._database.execute("ROLLBACK")
            raise
        self._database.execute("COMMIT")

    def add(self, name: str, priority: int) -> bool:
        """Take up a job; False: it is known already."""
        with self._whole() as database:
            before = database.execute("SELECT 1 FROM jobs WHERE name = ?", (name,)).fetchone()
            if before is None:
                values = (name, priority, time.time(), "waiting")
                database.execute(
                    "INSERT INTO jobs (name, priority, arrived, state) VALUES (?, ?, ?, ?)", values
                )
        return before is None

    def take(self) -> Job | None:
        """The job that comes next, running from now on: the highest priority, of equal ones the oldest."""
        with self._whole() as database:
            found = database.execute(
                "SELECT name FROM jobs WHERE state = 'waiting' ORDER BY priority DESC, arrived, name LIMIT 1"
            ).fetchone()
            if found is None:
                return None
            database.execute("UPDATE jobs SET state = 'running', tries = tries + 1 WHERE name = ?", found)
        return next(job for job in self.jobs() if job.name == found[0])

    def again(self, name: str) -> None:
        """A job that was running waits again."""
        self._database.execute(
            "UPDATE jobs SET state = 'waiting' WHERE name = ? AND state = 'running'", (name,)
        )

    def end(self, name: str, state: State, exit_code: int, why: str, seconds: float, report: str) -> None:
        """A job has ended; one that has ended before stays as it is."""
        self._database.execute(
            "UPDATE jobs SET state = ?, exit_code = ?, why = ?, seconds = ?, report = ?, ended = ? "
            "WHERE name = ? AND state IN ('running', 'waiting')",
            (state, exit_code, why, seconds, report, time.time(), name),
        )

    def jobs(self) -> Sequence[Job]:
        """All of them, as they arrived."""
        found = self._database.execute(f"SELECT {COLUMNS} FROM jobs ORDER BY arrived, name")  # noqa: S608 - a constant
        return [Job(*row) for row in found]

    def close(self) -> None:
        """Let go of the file."""
        self._database.close()
