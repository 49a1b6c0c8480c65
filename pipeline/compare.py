"""Which of two runs is faster: their engines side by side where both can run, else what was measured then."""

from __future__ import annotations

import json
import statistics
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jetpress.benchmarks.ratio import verdict
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


def compare(first: str, second: str, device: str | None = None) -> dict[str, Any]:
    """How many times as fast the second run's engine is.

    Args:
        first: a run's folder, or its name in ``runs/``.
        second: the other run.
        device: where to measure; None: here.

    Returns:
        ``ratio``, its 95 % ``interval``, the ``verdict`` faster, slower or noise, and whether both were measured
        ``interleaved``.

    Raises:
        BenchmarkInvalid: their knobs differ (the message lists them), or a measurement may not be used.
        RecipeError: there is no such run, or it has no engine.
    """
    folders = find_run(first), find_run(second)
    for folder in folders:
        if not (folder / "engine" / "engine.json").is_file():
            raise RecipeError(
                f"{folder} has no engine to compare",
                "build and measure it: jetpress run ... --device user@host",
            )
    try:
        found = side_by_side(*folders, device)
    except (DeviceError, ToolMissing) as error:
        if device is not None:
            raise
        console.say(f"they cannot be measured here: {error.what}")
        found = {**as_recorded(*folders), "why": error.what}
    return {"first": folders[0].name, "second": folders[1].name, **found}


def side_by_side(first: Path, second: Path, device: str | None) -> dict[str, Any]:
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
    return {
        "ratio": ratio.ratio,
        "interval": list(ratio.interval),
        "verdict": ratio.verdict,
        "rounds": ratio.pairs,
        "interleaved": True,
        "medians_ms": [results[name].median for name in ("A", "B")],
        "measurements": [results[name].verdict for name in ("A", "B")],
        "knobs": {key: results["B"].knobs.get(key) for key in RULER},
        "why": "",
    }


def as_recorded(first: Path, second: Path) -> dict[str, Any]:
    """What each run measured in its own session. What the machine did in between is in the ratio, too."""
    reports = [json.loads((folder / "report.json").read_text()) for folder in (first, second)]
    for folder, report in zip((first, second), reports, strict=True):
        state = report.get("benchmark") or {"verdict": "missing", "reasons": ["nothing was measured"]}
        if state["verdict"] in ("invalid", "missing") or not report["compressed"].get("samples_ms"):
            raise BenchmarkInvalid(
                f"{folder.name} has no numbers that may be used: {'; '.join(state['reasons'])}",
                "measure it again: jetpress run",
            )
    one, other = (
        {**_ruler(report), **_origin(folder)} for report, folder in zip(reports, (first, second), strict=True)
    )
    if differing := [f"{key}: {one[key]} and {other[key]}" for key in one if one[key] != other[key]]:
        raise BenchmarkInvalid(
            f"the two were not measured alike: {'; '.join(differing)}", "measure both with the same knobs"
        )
    blocks = [_block_medians(report["compressed"]["samples_ms"]) for report in reports]
    interval = bootstrap_ratio(blocks[0], blocks[1])
    return {
        "ratio": interval.value,
        "interval": [interval.low, interval.high],
        "verdict": verdict(interval),
        "rounds": len(blocks[0]),
        "interleaved": False,
        "medians_ms": [statistics.median(report["compressed"]["samples_ms"]) for report in reports],
        "measurements": [report["benchmark"]["verdict"] for report in reports],
        "knobs": _ruler(reports[1]),
    }


def _ruler(report: Mapping[str, Any]) -> dict[str, Any]:
    return {key: report["benchmark"]["knobs"].get(key) for key in RULER}


def _origin(folder: Path) -> dict[str, Any]:
    stamp = json.loads((folder / "engine" / "engine.json").read_text())
    return {key: stamp.get(key) for key in ORIGIN}


def _block_medians(samples: list[float]) -> list[float]:
    """As in the runner: what disturbs a measurement lasts longer than one run."""
    size = max(len(samples) // BLOCKS, 1)
    return [statistics.median(samples[at : at + size]) for at in range(0, len(samples) - size + 1, size)]


def in_words(found: Mapping[str, Any]) -> str:
    """The finding for people."""
    low, high = found["interval"]
    said = {"faster": "faster than", "slower": "slower than", "noise": "not distinguishable from"}
    how = (
        f"side by side in {found['rounds']} rounds"
        if found["interleaved"]
        else "in two sessions, not side by side"
    )
    medians = [f"{value:.4g} ms" for value in found["medians_ms"]]
    return (
        f"{found['second']} is {said[found['verdict']]} {found['first']}: {found['ratio']:.3f} times as fast "
        f"(95 % interval {low:.3f} to {high:.3f}), medians {medians[1]} and {medians[0]}, measured {how}"
    )
