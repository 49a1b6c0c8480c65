"""The device that a stage works on, for as long as it works there."""

from __future__ import annotations

import ctypes
import math
import re
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from jetpress.deploy.device import remote_runner
from jetpress.deploy.device.device import Device
from jetpress.deploy.device.device import open as open_device
from jetpress.deploy.targets import Target
from jetpress.pipeline.recipe.configs import Place
from jetpress.pipeline.store.artifact import Bundle, Engine


def deliver(device: Device, bundle: Bundle, engine: Engine) -> tuple[str, tuple[str, ...]]:
    """Bundle and engines on the device: the bundle's folder there, and what the runner is told."""
    folder, engines = (
        remote_runner.send(device, bundle.path, bundle.digest),
        remote_runner.send(device, engine.path, engine.digest),
    )
    out = f"{device.folder}/results/{engine.digest}"
    return folder, ("--bundle", folder, "--engines", engines, "--out", out)


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
    return not target.runtime.ahead_of_time or not target.runtime.needs_gpu or _gpu_is_here()


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
