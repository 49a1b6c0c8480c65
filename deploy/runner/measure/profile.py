"""profile: how long each layer of each model of a bundle takes, beside the latency of the whole.

Profiling slows a network down, so the latency comes from runs without it. Models take turns, as in `bench`.
Widths are chosen by these numbers, so they are what a network takes when nothing disturbs it: the fastest run of
each block, the lower quartile of each layer. What may be quoted is the median that `bench` measures.
"""

import os
from statistics import median
from typing import Dict, List

from ..backends import open_backend
from ..engines.infer import first_batch
from ..engines.manifest import Bundle
from ..engines.stamp import open_engines
from ..system import clock
from ..system.events import emit, tell
from ..system.files import make_folder, write_json

ROUNDS, RUNS, BLOCK_MS, WARMUP_MS = 16, 4, 20.0, 150.0


def run(bundle: Bundle, engines: str, out: str, most: float = 0.0) -> None:
    """Print one `profile` a model: `latency_ms`, that of each round, and `layers`: the ms of each by name.

    After `most` seconds no round is begun but a second one; 0: there are 16.
    """
    backend = open_backend(bundle.plan)
    sessions = open_engines(bundle, engines, backend)
    latencies: Dict[str, List[float]] = {name: [] for name in sessions}
    for session in sessions.values():
        session.bind(first_batch(bundle, session))
        session.block(WARMUP_MS, 3)
    profiles = {name: session.profile() for name, session in sessions.items()}
    started = clock.seconds()
    for turn in range(ROUNDS):
        if most and turn > 1 and clock.seconds() - started > most:
            break
        for name in sorted(sessions) if turn % 2 == 0 else sorted(sessions)[::-1]:
            sessions[name].block(2.0, 1)
            latencies[name].append(min(sessions[name].block(BLOCK_MS, 5)["latency"]))
            profiles[name].run(RUNS)
    results = []
    for name in sorted(sessions):
        layers = {layer: lower_quartile(times) for layer, times in profiles[name].layers().items()}
        result = emit(
            "profile",
            model=name,
            latency_ms=median(latencies[name]),
            rounds_ms=latencies[name],
            layers=layers,
        )
        results.append(result)
        tell("%s: %.4g ms, %d layers" % (name, median(latencies[name]), len(layers)))
    if out:
        write_json(os.path.join(make_folder(out), "profile.json"), results)


def lower_quartile(times: List[float]) -> float:
    """A quarter of the runs was faster."""
    return sorted(times)[len(times) // 4]
