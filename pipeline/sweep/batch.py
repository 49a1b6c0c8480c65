"""Jobs as they arrive in a folder, each in a process, an environment and a working folder of its own.

::

    FOLDER/
      incoming/NAME/       a job: job.toml and its files. Write it elsewhere on the same disk, then rename it to here
      jobs/NAME/           taken up: job.toml, log, runs/, tmp/, ended.json
      queue.sqlite         what became of each: see :mod:`jetpress.pipeline.sweep.queue`

This is no sandbox: a job's code runs as the user that runs the batch, and can read and write what that user can.
"""

from __future__ import annotations

import json
import os
import re
import sys
import tomllib
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Annotated

from pydantic import Field, TypeAdapter, ValidationError

from jetpress.deploy import console
from jetpress.deploy.errors import RecipeError, StageError
from jetpress.pipeline.recipe.messages import Written, explain
from jetpress.pipeline.recipe.sections.fields import Positive, Section
from jetpress.pipeline.sweep.queue import Job, Queue
from jetpress.pipeline.sweep.sweep import Crew, only_one
from jetpress.pipeline.sweep.workers import Ended, Task

PROCESS = "jetpress.pipeline.sweep.job"
QUEUE = "queue.sqlite"
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
GIVEN = (
    "PATH",
    "LANG",
    "LC_ALL",
    "TZ",
    "LD_LIBRARY_PATH",
    "CUDA_VISIBLE_DEVICES",
    "OMP_NUM_THREADS",
    "PYTHONPATH",
)
"""All that a job gets of the environment of whoever runs the batch: no keys and no tokens among them."""
MIB = 2**20
KILLS = 3
"""How often the process of a job may be killed until it has failed."""


@dataclass(frozen=True)
class JobConfig(Section):
    """``job.toml``. Paths in it are relative to the job's folder."""

    recipe: str | None = None
    """A recipe to run ..."""
    onnx: str | None = None
    """... or an ONNX file to build an engine of."""
    target: str = "host"
    device: str | None = None
    data: str | None = None
    """With ``onnx``: what it is calibrated on, as ``jetpress engine --calibrate`` takes it."""
    precision: str | None = None
    """With ``onnx``."""
    set: tuple[str, ...] = ()
    """Overrides of recipe keys: ``"prune.ratio=0.3"``."""
    priority: int = 0
    """The highest comes first."""
    minutes: Positive = 240.0
    """How long it may run."""
    memory_mb: Annotated[int, Field(ge=64)] | None = None
    """MiB that its processes may hold together."""
    disk_mb: Annotated[int, Field(ge=1)] | None = None
    """MiB that its folder may hold."""
    environment: dict[str, str] = field(default_factory=dict)
    """Environment variables of its own."""


def read_job(folder: Path) -> JobConfig:
    """The job in a folder.

    Raises:
        RecipeError: it is none.
    """
    path = folder / "job.toml"
    try:
        text = path.read_text(encoding="utf-8")
        config = _adapter().validate_json(json.dumps(tomllib.loads(text), default=str), strict=True)
    except OSError as error:
        raise RecipeError(
            f"{path} cannot be read: {error.strerror}", "a job is a folder with a job.toml"
        ) from None
    except ValidationError as error:
        raise explain(error, Written(str(path), text), JobConfig) from None
    except (ValueError, RecursionError) as error:
        raise RecipeError(
            f"{path} is not valid TOML: {error}", "see https://toml.io for the syntax"
        ) from None
    if (config.recipe is None) == (config.onnx is None):
        raise RecipeError(f"{path}: give either recipe or onnx", "`jetpress docs sweeps` shows a job")
    return config


@cache
def _adapter() -> TypeAdapter[JobConfig]:
    return TypeAdapter(JobConfig)


@dataclass
class Batch:
    """A batch while it is worked on."""

    folder: Path
    queue: Queue
    process: Sequence[str]
    """What a job is: told its folder and a socket."""

    def take(self, running: Sequence[Task]) -> Task | None:
        """The next job; one that is none has failed."""
        del running
        self.arrive()
        while (job := self.queue.take()) is not None:
            place = self.folder / "jobs" / job.name
            try:
                return self.task(job, place, read_job(place))
            except RecipeError as error:
                self.queue.end(job.name, "failed", error.exit_code, error.what, 0.0, "")
                console.say(f"  failed   {job.name}: {error.what}")
        return None

    def arrive(self) -> None:
        """Take up what has arrived: the folder is moved by one rename, then noted."""
        for found in sorted((self.folder / "incoming").glob("*/")):
            place = self.folder / "jobs" / found.name
            if not NAME.fullmatch(found.name) or place.exists():
                continue
            found.rename(place)
        known = {job.name for job in self.queue.jobs()}
        for place in sorted((self.folder / "jobs").glob("*/")):
            if place.name not in known:
                try:
                    priority = read_job(place).priority
                except RecipeError:
                    priority = 0  # it is said when it is taken
                self.queue.add(place.name, priority)

    def task(self, job: Job, place: Path, config: JobConfig) -> Task:
        """The program that a job is."""
        (place / "tmp").mkdir(exist_ok=True)
        environment = {name: os.environ[name] for name in GIVEN if name in os.environ}
        environment |= {
            "HOME": str(place),
            "TMPDIR": str(place / "tmp"),
            "JETPRESS_RUNS": str(place / "runs"),
        }
        return Task(
            job.name, (*self.process, str(place)), place / "log", place, environment | config.environment,
            60 * config.minutes, _bytes(config.memory_mb), _bytes(config.disk_mb), config.device,
        )  # fmt: skip

    def ended(self, task: Task, how: Ended) -> None:
        """Note how a job ended; one that was killed waits again."""
        place = self.folder / "jobs" / task.id
        job = next(job for job in self.queue.jobs() if job.name == task.id)
        if how.code < 0 and not how.why and result(place) is None and job.kills + 1 < KILLS:
            console.say(f"  again    {job.name}: its process was killed by signal {-how.code}")
            self.queue.again(job.name, kills=1)
            return
        self.note(job.name, result(place) or {}, how.why, how.code, how.seconds)

    def note(self, name: str, told: Mapping[str, object], why: str, code: int, seconds: float) -> None:
        """A job has come to its end."""
        report = str(told.get("folder", ""))
        known = told.get("exit_code")
        exit_code = known if isinstance(known, int) else StageError.exit_code
        why = (
            str(told.get("error", ""))
            or why
            or ("" if report else f"its process ended with {code}: see its log")
        )
        state = "done" if report else "failed"
        self.queue.end(name, "done" if report else "failed", exit_code, why, round(seconds, 1), report)
        console.say(f"  {state:<8} {name}{': ' + why if why else ''} ({console.duration(seconds)})")

    def recover(self) -> None:
        """What was running when this batch was killed has left its result, or waits again."""
        for job in self.queue.jobs():
            if job.state == "running":
                told = result(self.folder / "jobs" / job.name)
                if told is None:
                    self.queue.again(job.name)
                else:
                    self.note(job.name, told, "", 0, 0.0)


def result(place: Path) -> Mapping[str, object] | None:
    """What a job left when it ended; None: nothing."""
    try:
        told = json.loads((place / "ended.json").read_bytes())
    except (OSError, ValueError, RecursionError):
        return None
    return told if isinstance(told, dict) else None


def run(
    folder: Path, crew: Crew, *, watch: bool = False, process: Sequence[str] = (sys.executable, "-m", PROCESS)
) -> list[Job]:
    """Work on a batch until nothing is left; with ``watch`` until Ctrl-C.

    Args:
        folder: of the batch.
        crew: who runs the jobs.
        watch: go on when nothing is left.
        process: what a job is; it is told its folder and a socket.

    Raises:
        RecipeError: another process works on it.
    """
    folder = folder.absolute()
    for name in ("incoming", "jobs"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    with only_one(folder), closing(Queue(folder / QUEUE)) as queue:
        batch = Batch(folder, queue, process)
        batch.recover()
        crew.work(batch.take, batch.ended, lambda: watch)
        return [*queue.jobs()]


def jobs(folder: Path) -> list[Job]:
    """All jobs of a batch.

    Raises:
        RecipeError: it is none.
    """
    if not (folder / QUEUE).is_file():
        raise RecipeError(f"{folder} is no batch", "`jetpress batch FOLDER` makes one of a folder")
    with closing(Queue(folder / QUEUE)) as queue:
        return [*queue.jobs()]


def _bytes(mib: int | None) -> int | None:
    return None if mib is None else mib * MIB
