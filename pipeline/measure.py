"""Stages: the engine is built, tried and timed by the runner of the bundle, on the device: host or board alike."""

from __future__ import annotations

import ctypes
import hashlib
import json
import math
import re
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from deploy import console, runs
from deploy.device import Device
from deploy.device import open as open_device
from deploy.errors import BenchmarkInvalid
from deploy.targets import Target
from pipeline.artifact import Bundle, Engine, Inference, Measurement, canonical
from pipeline.sections import BenchmarkConfig

ATTEMPTS = 3


@dataclass(frozen=True)
class Place:
    """Where the engine is built: the identity is what makes an engine fit or not."""

    device: str | None
    identity: Mapping[str, Any]


@dataclass(frozen=True)
class Timing:
    """How it is measured there."""

    place: Place
    benchmark: BenchmarkConfig


def build(config: Place, bundle: Bundle, draft: Path) -> Engine:
    """Build the engines of a bundle. Facts: the runner's stamp (versions, device, findings of the builder)."""
    with opened(config, draft) as device:
        folder = runs.send(device, bundle.path, bundle.digest)
        out = f"{device.folder}/engines/{bundle.digest}"
        arguments = ("build", "--bundle", folder, "--out", out)
        log = (draft / "build.log").write_text
        events = runs.run_detached(device, _name_of(config, bundle), folder, *arguments, log=log)
        device.get(out, draft)
    stamp = runs.last(events, "built")["stamp"]
    sizes = {name: entry["size"] for name, entry in stamp["models"].items()}
    version = f"{stamp['backend']} {stamp['version']}"
    return Engine(draft, {"stamp": stamp, "bytes": sizes, "headline": f"{version}, {_megabytes(sizes)}"})


def _name_of(config: Place, bundle: Bundle) -> str:
    """What makes a build on the device the one that we want: the bundle, and the device as it is now."""
    return hashlib.sha256(canonical([bundle.digest, config.identity]).encode()).hexdigest()[:32]


def infer(config: Place, bundle: Bundle, engine: Engine, draft: Path) -> Inference:
    """The bundle's samples through the engines: the accuracy reported is the engine's own. Facts: ``top1``, ``same``.

    Raises:
        StageError: an engine is not the function of its ONNX file, within what its precision allows.
    """
    from pipeline import engine_same

    with opened(config, draft) as device:
        folder, arguments = _arguments(device, bundle, engine)
        events = runs.run(device, folder, "infer", *arguments)
        device.get(arguments[-1], draft)
    tried = {event["model"]: event for event in events if event["event"] == "infer"}
    same = engine_same.held(bundle.path, draft, tried)
    top1 = {name: None if one["top1"] is None else 100 * one["top1"] for name, one in tried.items()}
    said = [f"{name} {value:.2f} %" for name, value in top1.items() if value is not None]
    scores = {name: [asdict(one) for one in found] for name, found in same.items()}
    headline = ", ".join([*said, "engine = ONNX Runtime"])
    return Inference(draft, {"top1": top1, "same": scores, "headline": headline})


def bench(config: Timing, bundle: Bundle, engine: Engine, draft: Path) -> Measurement:
    """Dense and compressed timed in one session.

    Raises:
        BenchmarkInvalid: the numbers may not be used, three times in a row; the reasons are in the message.
    """
    with opened(config.place, draft) as device:
        folder, arguments = _arguments(device, bundle, engine)
        offset = clock_offset(device)
        results = _until_valid(device, folder, arguments, config.benchmark)
    (draft / "bench.json").write_text(json.dumps(results))
    timed = {event["model"]: event for event in results if event["event"] == "result"}
    said = ", ".join(f"{name} {e['latency']['median']:.3g} ms ({e['verdict']})" for name, e in timed.items())
    return Measurement(draft, {"headline": said, "clock_offset_ms": offset})


def _arguments(device: Device, bundle: Bundle, engine: Engine) -> tuple[str, tuple[str, ...]]:
    """Bundle and engines on the device: the bundle's folder there, and what the runner is told."""
    folder, engines = (
        runs.send(device, bundle.path, bundle.digest),
        runs.send(device, engine.path, engine.digest),
    )
    out = f"{device.folder}/results/{engine.digest}"
    return folder, ("--bundle", folder, "--engines", engines, "--out", out)


def _until_valid(
    device: Device, folder: str, common: tuple[str, ...], benchmark: BenchmarkConfig
) -> list[dict[str, Any]]:
    """Another program may have disturbed a measurement: try again, a few times."""
    asked = ("--seconds", str(benchmark.seconds), "--runs", str(benchmark.runs))
    for left in reversed(range(ATTEMPTS)):
        try:
            return runs.run(device, folder, "bench", *common, *asked)
        except BenchmarkInvalid as error:
            if not left:
                raise
            console.say(f"    {error.what}; measuring again")
    raise AssertionError("unreachable")


def clock_offset(device: Device) -> list[float]:
    """The device's clock minus ours in ms, and how far off that may be: half a round trip, the best of three.

    The runner's times are the device's: whoever lays them beside a log of the host needs this.
    """
    tries = []
    for _ in range(3):
        before = time.time()
        said = device.run(["date", "+%s.%N"]).stdout.strip()
        after = time.time()
        if re.fullmatch(r"\d+\.\d+", said):
            tries.append(((after - before) / 2, float(said) - (before + after) / 2))
    unsure, offset = min(tries, default=(math.nan, math.nan))
    return [] if math.isnan(offset) else [round(1000 * offset, 1), round(1000 * unsure, 1)]


def can_run(target: Target) -> bool:
    """Whether an engine for ``target`` that was built here can be run here."""
    return target.backend != "tensorrt_rtx" or _gpu_is_here()


def _gpu_is_here() -> bool:
    try:
        return bool(ctypes.CDLL("libcuda.so.1").cuInit(0) == 0)
    except OSError:
        return False


@contextmanager
def opened(config: Place, draft: Path) -> Iterator[Device]:
    """The device; when it is this machine, its working folder is in the draft, and gone at the end."""
    folder = draft / "device"
    device = open_device(config.device, folder)
    try:
        yield device
    finally:
        device.close()
    shutil.rmtree(folder, ignore_errors=True)


def _megabytes(sizes: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {size / 2**20:.1f} MiB" for name, size in sizes.items())
