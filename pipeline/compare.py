"""Which of two runs is faster: their engines side by side where both can run, else what was measured then."""

from __future__ import annotations

import json
import statistics
import tempfile
from dataclasses import dataclass
from pathlib import Path

from pydantic import JsonValue, TypeAdapter

from jetpress.benchmarks.ratio import Verdict, verdict
from jetpress.benchmarks.report.record import read
from jetpress.benchmarks.report.record.networks import State
from jetpress.benchmarks.stats import bootstrap_ratio
from jetpress.deploy import console
from jetpress.deploy.device import remote_runner
from jetpress.deploy.device.device import open as open_device
from jetpress.deploy.device.events import Ratio, Result, by_model, last
from jetpress.deploy.errors import BenchmarkInvalid, DeviceError, RecipeError, ToolMissing
from jetpress.deploy.pack import pack
from jetpress.deploy.runner.bench import RULER
from jetpress.deploy.runner.latencies import BLOCKS
from jetpress.pipeline.summary import find_run

ORIGIN = ("backend", "version", "device", "compute_capability")


@dataclass(frozen=True)
class Compared:
    """How many times as fast the second run's engine is."""

    first: str
    """Name of the run's folder."""
    second: str
    ratio: float
    interval: tuple[float, float]
    """95 %."""
    verdict: Verdict
    rounds: int
    interleaved: bool
    """Whether both were measured side by side in one session."""
    medians_ms: tuple[float, float]
    measurements: tuple[str, ...]
    """Verdicts on either measurement: valid or noisy."""
    knobs: dict[str, JsonValue]
    why: str
    """Why they were not measured side by side."""


def compare(first: str, second: str, device: str | None = None) -> Compared:
    """How many times as fast the second run's engine is.

    Args:
        first: a run's folder, or its name in ``runs/``.
        second: the other run.
        device: where to measure; None: here.

    Raises:
        BenchmarkInvalid: their knobs differ (the message lists them), or a measurement may not be used.
        RecipeError: there is no such run, it has no engine, or its report is damaged.
    """
    folders = find_run(first), find_run(second)
    for folder in folders:
        if not (folder / "engine" / "engine.json").is_file():
            raise RecipeError(
                f"{folder} has no engine to compare",
                "build and measure it: jetpress run ... --device user@host",
            )
    try:
        return side_by_side(*folders, device)
    except (DeviceError, ToolMissing) as error:
        if device is not None:
            raise
        console.say(f"they cannot be measured here: {error.what}")
        return as_recorded(*folders, error.what)


def side_by_side(first: Path, second: Path, device: str | None) -> Compared:
    """Both engines in one session, in the order ABBA, by the runner of this jetpress."""
    with tempfile.TemporaryDirectory() as scratch:
        (tool := Path(scratch) / "runner").mkdir()
        pack(tool / "runner.pyz")
        opened = open_device(device, Path(scratch) / "device")
        try:
            runner = opened.put(tool, "runner")
            words = [
                word
                for folder, prefix in ((first, "--"), (second, "--other-"))
                for part, name in (("bundle", "bundle"), ("engine", "engines"))
                for word in (prefix + name, opened.put(folder / part, part))
            ]
            events = remote_runner.run(opened, runner, "compare", *words)
        finally:
            opened.close()
    ratio, results = last(events, Ratio), by_model(events, Result, needed=("A", "B"))
    one, other = results["A"], results["B"]
    return Compared(
        first=first.name,
        second=second.name,
        ratio=ratio.ratio,
        interval=ratio.interval,
        verdict=ratio.verdict,
        rounds=ratio.pairs,
        interleaved=True,
        medians_ms=(one.median, other.median),
        measurements=(one.verdict, other.verdict),
        knobs=TypeAdapter(dict[str, JsonValue]).validate_python({key: other.knobs.get(key) for key in RULER}),
        why="",
    )


def as_recorded(first: Path, second: Path, why: str) -> Compared:
    """What each run measured in its own session. What the machine did in between is in the ratio, too.

    Args:
        first: the folder of a run.
        second: the other one.
        why: they are not measured side by side.
    """
    one, other = Recorded.of(first), Recorded.of(second)
    if differing := [
        f"{key}: {x} and {other.ruler[key]}" for key, x in one.ruler.items() if x != other.ruler[key]
    ]:
        raise BenchmarkInvalid(
            f"the two were not measured alike: {'; '.join(differing)}", "measure both with the same knobs"
        )
    blocks = _block_medians(one.samples_ms), _block_medians(other.samples_ms)
    interval = bootstrap_ratio(*blocks)
    return Compared(
        first=first.name,
        second=second.name,
        ratio=interval.value,
        interval=(interval.low, interval.high),
        verdict=verdict(interval),
        rounds=len(blocks[0]),
        interleaved=False,
        medians_ms=(statistics.median(one.samples_ms), statistics.median(other.samples_ms)),
        measurements=(one.verdict, other.verdict),
        knobs={key: other.ruler[key] for key in RULER},
        why=why,
    )


@dataclass(frozen=True)
class Recorded:
    """What a run's report says of its compressed engine."""

    verdict: State
    samples_ms: list[float]
    ruler: dict[str, JsonValue]
    """Knobs, and what the engine was built with: two are compared where all of it is equal."""

    @classmethod
    def of(cls, folder: Path) -> Recorded:
        """From a run's folder.

        Raises:
            BenchmarkInvalid: it holds no numbers that may be used.
        """
        report = read(folder / "report.json")
        judged, samples = report.benchmark, [x for x in report.compressed.samples_ms or () if x is not None]
        if judged is None or judged.verdict == "invalid" or not samples:
            reasons = judged.reasons if judged else ("nothing was measured",)
            raise BenchmarkInvalid(
                f"{folder.name} has no numbers that may be used: {'; '.join(reasons)}",
                "measure it again: jetpress run",
            )
        knobs = {key: judged.knobs.get(key) for key in RULER}
        return cls(judged.verdict, samples, {**knobs, **_origin(folder)})


def _origin(folder: Path) -> dict[str, JsonValue]:
    stamp = json.loads((folder / "engine" / "engine.json").read_text())
    return {key: stamp.get(key) for key in ORIGIN}


def _block_medians(samples: list[float]) -> list[float]:
    """As in the runner: what disturbs a measurement lasts longer than one run."""
    size = max(len(samples) // BLOCKS, 1)
    return [statistics.median(samples[at : at + size]) for at in range(0, len(samples) - size + 1, size)]


def in_words(found: Compared) -> str:
    """The finding for people."""
    low, high = found.interval
    said = {"faster": "faster than", "slower": "slower than", "noise": "not distinguishable from"}
    how = (
        f"side by side in {found.rounds} rounds" if found.interleaved else "in two sessions, not side by side"
    )
    medians = [f"{value:.4g} ms" for value in found.medians_ms]
    return (
        f"{found.second} is {said[found.verdict]} {found.first}: {found.ratio:.3f} times as fast "
        f"(95 % interval {low:.3f} to {high:.3f}), medians {medians[1]} and {medians[0]}, measured {how}"
    )
