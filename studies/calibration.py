"""How often does the benchmark claim a difference that is not there, and refuse one that is?

    python -m studies.calibration simulated --times 200
    python -m studies.calibration real --times 200 --neighbours 0 1 4 --seconds 0.5 --kept FILE

`simulated` runs the runner's own rule (`deploy/runner/measure/intervals.py`: when to stop, which interval, which
verdict) on sessions that are drawn, so that thousands of benchmarks take seconds. `real` runs the whole runner on real
engines of ONNX Runtime, two that are the same and two of which one does three times the work, beside so many
neighbours that do the same; every benchmark is kept in a file, and the same command goes on where it stopped. Both
print, for each kind of load, how often identical engines were called faster or slower (at most 5 %), how often the
threefold one was not called faster (at most 1 %), and how often the interval held the true ratio.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from queue import Queue
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from jetpress.deploy.pack import pack
from jetpress.deploy.runner.measure import intervals
from jetpress.deploy.runner.measure.bench import MAX_SECONDS, SESSION_ROUNDS
from studies.table import row, title

SESSION_S = 2.5
"""A session of the digits recipe on a quiet machine, start of the process included."""
TRIPLE = 3.0
SHAPE = [1, 16, 32, 32]


@dataclass(frozen=True)
class Load:
    """What a machine does to sessions; all numbers are shares of a latency."""

    block: float = 0.005
    """Standard deviation of a block's median, of each engine by itself."""
    session: float = 0.003
    """Standard deviation between sessions, of each engine by itself: placement, layout of memory."""
    modes: float = 0.0
    """Sessions in which an engine is 30 % slower: its thread has a bad place."""
    bursts: float = 0.0
    """Blocks that a neighbour stretches, by an exponential share of mean 1."""
    order: float = 0.0
    """By which the engine that was opened first is faster: the benchmark opens them in turns."""
    drift: float = 0.0
    """By which both get slower from the first block to the last."""


LOADS = {
    "quiet": Load(),
    "drift of 20 %": Load(drift=0.2),
    "1 neighbour": Load(block=0.03, session=0.02, bursts=0.2),
    "4 neighbours": Load(block=0.08, session=0.05, bursts=0.5),
    "the first one is 3 % faster": Load(order=0.03),
    "bad places": Load(session=0.01, modes=0.3),
    "rarely a bad place": Load(session=0.01, modes=0.05),
    "sessions differ by 10 %": Load(session=0.1),
    "sessions differ by 20 %": Load(block=0.05, session=0.2),
}


def session(load: Load, ratio: float, number: int, draw: np.random.Generator) -> intervals.Pairs:
    """The block medians of the n-th simulated session: an engine that takes ``ratio`` ms, and one that takes 1."""
    heat = np.linspace(1.0, 1.0 + load.drift, SESSION_ROUNDS)
    series = []
    for engine, latency in enumerate((ratio, 1.0)):
        place = (
            (1 + load.order * (engine != number % 2))
            * np.exp(draw.normal(0, load.session))
            * (1.3 if draw.random() < load.modes else 1.0)
        )
        noise = np.exp(draw.normal(0, load.block, SESSION_ROUNDS))
        burst = 1 + (draw.random(SESSION_ROUNDS) < load.bursts) * draw.exponential(1.0, SESSION_ROUNDS)
        series.append([float(x) for x in latency * place * noise * burst * heat])
    return series[0], series[1]


def simulated(load: Load, ratio: float, draw: np.random.Generator) -> intervals.Compared:
    """One benchmark by the runner's own rule."""
    rule, sessions = intervals.Rule(None, MAX_SECONDS), list[intervals.Pairs]()
    while not rule.is_over([sessions], len(sessions), SESSION_S * len(sessions)):
        sessions.append(session(load, ratio, len(sessions), draw))
    return intervals.compare(sessions, ())


@dataclass(frozen=True)
class Rates:
    """What many benchmarks of two identical and of two threefold engines came to, in percent."""

    false: float
    """Identical engines were called faster or slower."""
    unknown: float
    """Of identical engines nothing could be said."""
    refused: float
    """The threefold engine was not called faster."""
    covered: float
    """The interval of identical engines held 1."""
    sessions: float
    """Mean."""

    @classmethod
    def of(cls, same: Sequence[intervals.Compared], triple: Sequence[intervals.Compared]) -> Rates:
        """Count."""

        def percent(told: Sequence[intervals.Compared], when: Callable[[intervals.Compared], bool]) -> float:
            return 100 * sum(map(when, told)) / len(told)

        return cls(
            false=percent(same, lambda one: one.state == "known" and one.verdict != "noise"),
            unknown=percent(same, lambda one: one.state == "unknown"),
            refused=percent(triple, lambda one: one.state == "unknown" or one.verdict != "faster"),
            covered=percent(same, lambda one: one.interval[0] <= 1 <= one.interval[1]),
            sessions=float(np.mean([len(one.session_ratios) for one in (*same, *triple)])),
        )

    def row(self) -> tuple[str, ...]:
        """For the table."""
        figures = (self.false, self.refused, self.covered, self.unknown)
        return (*(f"{figure:.1f} %" for figure in figures), f"{self.sessions:.1f}")


HEAD = (
    "load", "false claims", "threefold refused", "interval holds 1", "same: not known", "sessions",
)  # fmt: skip


def simulate(times: int, seed: int = 0) -> dict[str, Rates]:
    """Both cases so many times under each load."""
    draw = np.random.default_rng(seed)
    return {
        name: Rates.of(
            [simulated(load, 1.0, draw) for _ in range(times)],
            [simulated(load, TRIPLE, draw) for _ in range(times)],
        )
        for name, load in LOADS.items()
    }


def network(layers: int) -> onnx.ModelProto:
    """So many equal convolutions, one after the other."""
    draw = np.random.default_rng(0)
    weights = (draw.normal(size=(16, 16, 3, 3)) / 12).astype(np.float32)
    nodes = [
        helper.make_node("Conv", [f"x{at}" if at else "images", "w"], [f"x{at + 1}"], pads=[1, 1, 1, 1])
        for at in range(layers)
    ]
    graph = helper.make_graph(
        nodes,
        "calibration",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, SHAPE)],
        [helper.make_tensor_value_info(f"x{layers}", TensorProto.FLOAT, SHAPE)],
        [numpy_helper.from_array(weights, "w")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=7)


def bundle(folder: Path, dense_layers: int, layers: int = 4) -> Path:
    """A bundle of two networks for the host, its runner and its engines; returns its folder."""
    folder.mkdir()
    onnx.save(network(layers), folder / "model.onnx")
    onnx.save(network(dense_layers), folder / "dense.onnx")
    models = {"compressed": {"file": "model.onnx"}, "dense": {"file": "dense.onnx"}}
    inputs = [{"name": "images", "shape": SHAPE, "dtype": "float32", "profile": None}]
    plan = {"format": 1, "name": "calibration", "backend": "onnxruntime", "precision": "fp32"}
    (folder / "plan.json").write_text(json.dumps({**plan, "models": models, "inputs": inputs, "threads": 1}))
    pack(folder / "runner.pyz")
    files = {
        path.name: {"sha256": hashlib.sha256(path.read_bytes()).hexdigest(), "size": path.stat().st_size}
        for path in folder.iterdir()
    }
    (folder / "manifest.json").write_text(json.dumps({"files": files}))
    said = subprocess.run([sys.executable, folder / "runner.pyz", "build"], capture_output=True, text=True)
    if said.returncode:
        raise SystemExit(said.stderr)
    return folder


def measured(place: Path, seconds: float) -> intervals.Compared:
    """One benchmark by the whole runner."""
    command = [sys.executable, str(place / "runner.pyz"), "bench", "--seconds", str(seconds)]
    said = subprocess.run(command, capture_output=True, text=True)
    events = [json.loads(line) for line in said.stdout.splitlines()]
    ratio = next((event for event in events if event["event"] == "ratio"), None)
    if ratio is None:
        raise SystemExit(said.stderr)
    return intervals.Compared(**{name: ratio[name] for name in intervals.Compared._fields})


KINDS = {"same": 4, "triple": 12}
"""The layers of the dense network; the compressed one has 4."""


class Told:
    """The benchmarks of earlier calls and of this one, a line of JSON each."""

    def __init__(self, file: Path) -> None:
        """Read what there is."""
        self.file = file
        lines = file.read_text().splitlines() if file.exists() else []
        self.lines: list[dict[str, Any]] = [json.loads(line) for line in lines]

    def of(self, neighbours: int, kind: str) -> list[intervals.Compared]:
        """Those of one row."""
        told = [one for one in self.lines if (one["neighbours"], one["kind"]) == (neighbours, kind)]
        return [intervals.Compared(**one["compared"]) for one in told]

    def add(self, neighbours: int, kind: str, one: intervals.Compared) -> None:
        """Keep it, with the load of the machine over the last minute."""
        load = os.getloadavg()[0]
        self.lines.append({"neighbours": neighbours, "kind": kind, "load": load, "compared": one._asdict()})
        with self.file.open("a") as file:
            file.write(json.dumps(self.lines[-1]) + "\n")
        print(
            f"{neighbours} neighbours, {kind} {len(self.of(neighbours, kind))}: {one.ratio:.3f} "
            f"({one.interval[0]:.3f} to {one.interval[1]:.3f}), {one.verdict}, {one.state}, "
            f"{len(one.session_ratios)} sessions, load {load:.1f}",
            file=sys.stderr,
            flush=True,
        )

    def loads(self, neighbours: int) -> str:
        """The lowest and the highest."""
        loads = [one["load"] for one in self.lines if one["neighbours"] == neighbours]
        return f"{neighbours} neighbours, load {min(loads):.1f} to {max(loads):.1f}"


def real(times: int, neighbours: Sequence[int], seconds: float, told: Told) -> dict[str, Rates]:
    """Both cases so many times, so many and one at once: they are each other's neighbours."""
    rates = {}
    with tempfile.TemporaryDirectory() as scratch:
        for count in neighbours:
            free: Queue[dict[str, Path]] = Queue()
            for worker in range(count + 1):
                places = {kind: Path(scratch) / f"{kind}-{count}-{worker}" for kind in KINDS}
                free.put({kind: bundle(place, KINDS[kind]) for kind, place in places.items()})

            def one(kind: str, free: Queue[dict[str, Path]] = free) -> tuple[str, intervals.Compared]:
                places = free.get()
                try:
                    return kind, measured(places[kind], seconds)
                finally:
                    free.put(places)

            missing = [kind for n in range(times) for kind in KINDS if n >= len(told.of(count, kind))]
            with ThreadPoolExecutor(count + 1) as pool:
                for done in as_completed([pool.submit(one, kind) for kind in missing]):
                    told.add(count, *done.result())
            rates[told.loads(count)] = Rates.of(told.of(count, "same"), told.of(count, "triple"))
    return rates


def main() -> None:
    """Simulated or real; a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("load", choices=("simulated", "real"))
    parser.add_argument("--times", type=int, default=200, help="benchmarks of each kind")
    parser.add_argument("--neighbours", type=int, nargs="+", default=[0, 1, 4], help="benchmarks beside it")
    parser.add_argument("--seconds", type=float, default=3.0, help="of each engine, in all sessions together")
    parser.add_argument("--kept", type=Path, default=Path("calibration.jsonl"), help="every real benchmark")
    asked = parser.parse_args()
    is_real = asked.load == "real"
    told = Told(asked.kept)
    rates = real(asked.times, asked.neighbours, asked.seconds, told) if is_real else simulate(asked.times)
    title(*HEAD)
    for name, one in rates.items():
        row(name, *one.row())


if __name__ == "__main__":
    main()
