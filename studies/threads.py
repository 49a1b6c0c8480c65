"""What does a second thread of ONNX Runtime do to a latency, and to the ratio of two?

    python -m studies.threads runs/digits-host-.../bundle --sessions 5

Dense and compressed network in turns, each session in a process of its own, as in the benchmark: with one thread,
with two that spin while they wait for each other (ONNX Runtime's default), and with two that sleep. A line for each:
medians, the ratio, how far both lie apart between sessions, and the processors that it kept busy.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from jetpress.deploy.runner.backends.onnxruntime import Backend, Session
from jetpress.deploy.runner.measure import intervals
from studies.table import row, title

SETTINGS = {
    "1 thread": (1, True),
    "2 threads, spinning": (2, True),
    "2 threads, sleeping": (2, False),
}
ROUNDS, BLOCK_MS = 16, 40.0


class Waiting(Backend):
    """The runner's engines, with workers that spin or sleep."""

    def __init__(self, threads: int, spinning: bool) -> None:
        super().__init__({"threads": threads})
        self.spinning = spinning

    def _options(self):  # type: ignore[no-untyped-def]
        options = super()._options()
        options.add_session_config_entry("session.intra_op.allow_spinning", "1" if self.spinning else "0")
        return options


def opened(path: Path, backend: Backend) -> Session:
    """One network, its first input bound."""
    session = backend.load(str(path), [])
    draw = np.random.default_rng(0)
    session.bind(
        {one.name: draw.random(one.shape, dtype=np.float32).astype(one.dtype) for one in session.inputs}
    )
    session.block(200.0, 8)
    return session


def one_session(folder: Path, threads: int, spinning: bool) -> None:
    """Print what one process measured."""
    backend = Waiting(threads, spinning)
    sessions = {name: opened(folder / f"{name}.onnx", backend) for name in ("dense", "model")}
    medians: dict[str, list[float]] = {name: [] for name in sessions}
    wall, cpu = time.monotonic(), time.process_time()
    for turn in range(ROUNDS):
        for name in sorted(sessions, reverse=turn % 2 == 1):
            sessions[name].block(5.0, 1)
            medians[name].append(statistics.median(sessions[name].block(BLOCK_MS, 1)["latency"]))
    busy = (time.process_time() - cpu) / (time.monotonic() - wall)
    print(json.dumps({**medians, "busy": busy}))


def main() -> None:
    """A line for each setting; they take turns, so that all meet the same machine."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("bundle", type=Path, help="with dense.onnx and model.onnx")
    parser.add_argument("--sessions", type=int, default=5)
    parser.add_argument("--setting", choices=sorted(SETTINGS), help="measure this one, here and now")
    asked = parser.parse_args()
    if asked.setting:
        one_session(asked.bundle, *SETTINGS[asked.setting])
        return
    told: dict[str, list[dict[str, list[float]]]] = {name: [] for name in SETTINGS}
    print("load", *os.getloadavg(), file=sys.stderr)
    for _ in range(asked.sessions):
        for name in SETTINGS:
            command = [sys.executable, "-m", "studies.threads", str(asked.bundle), "--setting", name]
            told[name].append(json.loads(subprocess.run(command, capture_output=True, check=True).stdout))
    title("", "dense, ms", "+/-", "compressed, ms", "+/-", "times as fast", "sessions", "processors busy")
    for name, each in told.items():
        known = [intervals.of_median([one[network] for one in each]) for network in ("dense", "model")]
        ratio = intervals.of_ratio([(one["dense"], one["model"]) for one in each])
        ratios = sorted(intervals.session_ratio((one["dense"], one["model"])) for one in each)
        row(
            name,
            *(cell for one in known for cell in (f"{one.value:.3f}", f"{100 * one.half_width():.1f} %")),
            f"{ratio.value:.2f} ({ratio.low:.2f} to {ratio.high:.2f})",
            f"{ratios[0]:.2f} to {ratios[-1]:.2f}",
            f"{statistics.mean(one['busy'] for one in each):.2f}",  # type: ignore[type-var]
        )


if __name__ == "__main__":
    main()
