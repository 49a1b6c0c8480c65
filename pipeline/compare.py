"""Which of several runs is fastest: their engines side by side where all can run, else what was measured then."""

from __future__ import annotations

import statistics
import tempfile
from dataclasses import dataclass
from pathlib import Path

from pydantic import JsonValue, TypeAdapter

from jetpress.benchmarks.ratio import Verdict, verdict
from jetpress.benchmarks.report.record import read
from jetpress.benchmarks.report.record.networks import Known, State
from jetpress.benchmarks.stats import bootstrap_ratio
from jetpress.deploy import console
from jetpress.deploy.device import remote_runner
from jetpress.deploy.device.device import open as open_device
from jetpress.deploy.device.events import Machine, Ratio, Result, by_model
from jetpress.deploy.errors import BenchmarkInvalid, DeviceError, RecipeError, ToolMissing
from jetpress.deploy.fields import made_plain, parse
from jetpress.deploy.pack import pack
from jetpress.deploy.runner.measure.bench import RULER
from jetpress.deploy.runner.measure.intervals import TELLS
from jetpress.deploy.runner.measure.latencies import BLOCKS
from jetpress.pipeline.summary import find_run

ORIGIN = ("backend", "version", "device", "compute_capability", "module", "multiprocessors", "memory_gb")


@dataclass(frozen=True)
class Measured:
    """One run's compressed engine."""

    run: str
    """Name of the run's folder."""
    median_ms: float
    interval_ms: tuple[float, float] | None
    """Of the median; None where it was not recorded."""
    verdict: State
    """Whether the latency may be quoted; what is said of ratios does not hang on it."""
    reasons: tuple[str, ...]


@dataclass(frozen=True)
class Against:
    """How many times as fast one run's engine is as the first one's."""

    run: str
    ratio: float
    interval: tuple[float, float]
    level: int | None
    """95: the interval covers what differs between sessions. None: it is of one session of each."""
    verdict: Verdict
    state: Known
    """``unknown``: the interval says nothing, or the measuring went wrong."""
    reasons: tuple[str, ...]
    rounds: int


@dataclass(frozen=True)
class Compared:
    """Several runs, each against the first."""

    first: str
    runs: tuple[Measured, ...]
    """As they were given."""
    against_first: tuple[Against, ...]
    """All but the first."""
    interleaved: bool
    """Whether all were measured side by side."""
    sessions: int
    """Processes that they were measured in side by side; 1 where they were not."""
    knobs: dict[str, JsonValue]
    machine: str
    """How busy it was before; empty where nothing was measured now."""
    why: str
    """Why they were not measured side by side."""

    @property
    def is_known(self) -> bool:
        """Whether each comparison says something."""
        return all(one.state == "known" for one in self.against_first)


def compare(*runs: str, device: str | None = None) -> Compared:
    """How many times as fast the engines of the other runs are as that of the first.

    Args:
        runs: two or more: a run's folder, or its name in ``runs/``.
        device: where to measure; None: here.

    Raises:
        BenchmarkInvalid: their knobs differ (the message lists them), or a run holds no measurement.
        RecipeError: there is no such run, it has no engine, its report is damaged, or there are fewer than two.
    """
    if len(runs) < 2:
        raise RecipeError(
            "there is nothing to compare it with", "name two runs or more: jetpress compare A B"
        )
    folders = [find_run(run) for run in runs]
    for folder in folders:
        if not (folder / "engine" / "engine.json").is_file():
            raise RecipeError(
                f"{folder} has no engine to compare",
                "build and measure it: jetpress run ... --device user@host",
            )
    try:
        return side_by_side(folders, device)
    except (DeviceError, ToolMissing) as error:
        if device is not None:
            raise
        console.say(f"they cannot be measured here: {error.what}")
        return as_recorded(folders, error.what)


def side_by_side(folders: list[Path], device: str | None) -> Compared:
    """All engines in turns, in the same sessions, by the runner of this jetpress."""
    with tempfile.TemporaryDirectory() as scratch:
        (tool := Path(scratch) / "runner").mkdir()
        pack(tool / "runner.pyz")
        opened = open_device(device, Path(scratch) / "device")
        try:
            runner = opened.put(tool, "runner")
            words = []
            for number, folder in enumerate(folders):
                for part, name in (("bundle", "bundle"), ("engine", "engines")):
                    place = opened.put(folder / part, f"{part}{number}")
                    words += [f"--other-{name}" if number else f"--{name}", place]
            events = remote_runner.run(opened, runner, "compare", *words)
        finally:
            opened.close()
    names = [chr(ord("A") + number) for number in range(len(folders))]
    results = by_model(events, Result, needed=names)
    ratios = {event.of: event for event in events if isinstance(event, Ratio)}
    others = [(folder.name, ratios[name]) for name, folder in zip(names[1:], folders[1:], strict=True)]
    knobs = {key: results["B"].knobs.get(key) for key in RULER}
    return Compared(
        first=folders[0].name,
        runs=tuple(_measured(folder, results[name]) for name, folder in zip(names, folders, strict=True)),
        against_first=tuple(_against(name, ratio) for name, ratio in others),
        interleaved=True,
        sessions=others[0][1].sessions,
        knobs=TypeAdapter(dict[str, JsonValue]).validate_python(knobs),
        machine=next((event.line for event in events if isinstance(event, Machine)), ""),
        why="",
    )


def _measured(folder: Path, told: Result) -> Measured:
    return Measured(folder.name, told.median, told.interval, told.verdict, told.reasons)


def _against(run: str, told: Ratio) -> Against:
    return Against(
        run, told.ratio, told.interval, told.level, told.verdict, told.state, told.reasons, told.pairs
    )


def as_recorded(folders: list[Path], why: str) -> Compared:
    """What each run measured by itself. What the machine did in between is in the ratios, too.

    Args:
        folders: of the runs.
        why: they are not measured side by side.
    """
    every = [Recorded.of(folder) for folder in folders]
    first = every[0]
    for other in every[1:]:
        if differing := [
            f"{key}: {x} and {other.ruler[key]}" for key, x in first.ruler.items() if x != other.ruler[key]
        ]:
            raise BenchmarkInvalid(
                f"the two were not measured alike: {'; '.join(differing)}", "measure both with the same knobs"
            )
    return Compared(
        first=first.measured.run,
        runs=tuple(one.measured for one in every),
        against_first=tuple(_of_records(first, other) for other in every[1:]),
        interleaved=False,
        sessions=1,
        knobs={key: first.ruler[key] for key in RULER},
        machine="",
        why=why,
    )


def _of_records(first: Recorded, other: Recorded) -> Against:
    blocks = _block_medians(first.samples_ms), _block_medians(other.samples_ms)
    interval = bootstrap_ratio(*blocks)
    word, half = verdict(interval), (interval.high - interval.low) / 2 / interval.value
    wide = f"the ratio is known only as {interval.low:.3g} to {interval.high:.3g}"
    return Against(
        run=other.measured.run,
        ratio=interval.value,
        interval=(interval.low, interval.high),
        level=None,
        verdict=word,
        state="unknown" if word == "noise" and half > TELLS else "known",
        reasons=(wide,) if word == "noise" and half > TELLS else (),
        rounds=len(blocks[0]),
    )


@dataclass(frozen=True)
class Recorded:
    """What a run's report says of its compressed engine."""

    measured: Measured
    samples_ms: list[float]
    ruler: dict[str, JsonValue]
    """Knobs, and what the engine was built with: two are compared where all of it is equal."""

    @classmethod
    def of(cls, folder: Path) -> Recorded:
        """From a run's folder.

        Raises:
            BenchmarkInvalid: nothing was measured.
        """
        report = read(folder / "report.json")
        judged, samples = report.benchmark, [x for x in report.compressed.samples_ms or () if x is not None]
        if judged is None or not samples:
            raise BenchmarkInvalid(f"{folder.name}: nothing was measured", "measure it: jetpress run")
        latency = report.compressed.latency
        interval = (latency.low, latency.high) if latency and latency.low and latency.high else None
        quoted = (latency and latency.verdict) or judged.verdict
        reasons = latency.reasons if latency and latency.verdict else judged.reasons
        knobs = {key: judged.knobs.get(key) for key in RULER}
        return cls(
            Measured(folder.name, statistics.median(samples), interval, quoted, reasons),
            samples,
            {**knobs, **_origin(folder)},
        )


def _origin(folder: Path) -> dict[str, JsonValue]:
    stamp = made_plain(parse((folder / "engine" / "engine.json").read_text(errors="replace")) or {})
    return {key: stamp.get(key) for key in ORIGIN}


def _block_medians(samples: list[float]) -> list[float]:
    """As in the runner: what disturbs a measurement lasts longer than one run."""
    size = max(len(samples) // BLOCKS, 1)
    return [statistics.median(samples[at : at + size]) for at in range(0, len(samples) - size + 1, size)]


def in_words(found: Compared) -> str:
    """What came out, for people: a line for each comparison, then each latency with what is wrong with it."""
    how = (
        f"side by side in {found.sessions} sessions"
        if found.interleaved
        else "each by itself, not side by side"
    )
    lines = [f"{_in_words(found.first, one)}, measured {how}" for one in found.against_first]
    for one in found.runs:
        known = ""
        if one.interval_ms is not None:
            known = f" +/- {50 * (one.interval_ms[1] - one.interval_ms[0]) / one.median_ms:.1f} %"
        why = f": not a number to quote ({'; '.join(one.reasons)})" if one.verdict == "invalid" else ""
        lines.append(f"  {one.run}: median {one.median_ms:.4g} ms{known}, {one.verdict}{why}")
    return "\n".join(lines)


def _in_words(first: str, one: Against) -> str:
    said = {"faster": "faster than", "slower": "slower than", "noise": "not distinguishable from"}
    word = said[one.verdict] if one.state == "known" else "not known to be faster or slower than"
    low, high = one.interval
    covers = f"{one.level} % interval" if one.level else "interval of these sessions alone"
    why = f" ({'; '.join(one.reasons)})" if one.reasons else ""
    numbers = f"{one.ratio:.3f} times as fast ({covers} {low:.3f} to {high:.3f})"
    return f"{one.run} is {word} {first}: {numbers}{why}"
