"""What the runner's loop costs: the same engine in its timed loop and in a bare loop of `session.run`, in turns.

``python -m studies.runner_overhead [--seconds 40] [--milliseconds 1.0]``

A network of about the asked latency is built; each round has one block of each loop, in the order A B B A. Three
loops are compared, by time per run as a clock outside of them sees it: the runner's (`Session.block`, with bound
inputs and a time noted for each run), the bare one (``for _ in range(n): session.run(None, feeds)``), and the bare
one with the same bound inputs, which shows what is the loop's and what is the binding's. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from jetpress.deploy.runner.backends.onnxruntime import Backend
from jetpress.deploy.runner.interface.settings import Input
from jetpress.deploy.runner.measure import latencies

SHAPE = [1, 64, 16, 16]
BLOCK_MS = 8.0  # short: what a neighbour does is then the same for all loops of a round
Loop = Callable[[int], float]


def network(layers: int) -> onnx.ModelProto:
    """A chain of 3x3 convolutions, 64 channels, 16 x 16."""
    draw = np.random.default_rng(0)
    weights, nodes = [], []
    for place in range(layers):
        array = (draw.normal(size=(64, 64, 3, 3)) / 24).astype(np.float32)
        weights.append(numpy_helper.from_array(array, f"w{place}"))
        nodes.append(
            helper.make_node("Conv", [f"x{place}", f"w{place}"], [f"x{place + 1}"], pads=[1, 1, 1, 1])
        )
    value = [helper.make_tensor_value_info(name, TensorProto.FLOAT, SHAPE) for name in ("x0", f"x{layers}")]
    graph = helper.make_graph(nodes, "chain", value[:1], value[1:], weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def loops(session: Any, feeds: dict[str, Any]) -> dict[str, Loop]:
    """Each runs ``n`` times and returns the milliseconds of one run, by a clock around the whole block."""
    session.bind(feeds)
    bare, binding = session.session, session.binding

    def timed(loop: Callable[[int], object]) -> Loop:
        def run(count: int) -> float:
            start = time.perf_counter()
            loop(count)
            return 1000 * (time.perf_counter() - start) / count

        return run

    def plain(count: int) -> None:
        for _ in range(count):
            bare.run(None, feeds)

    def bound(count: int) -> None:
        for _ in range(count):
            bare.run_with_iobinding(binding)

    return {
        "runner": timed(lambda n: session.block(0.0, n)),
        "bare": timed(plain),
        "bare, bound": timed(bound),
    }


def sized(backend: Backend, milliseconds: float, folder: Path) -> tuple[Any, int]:
    """A session of about that latency, and its number of layers."""
    layers = 4
    for _ in range(3):
        path = folder / f"{layers}.onnx"
        onnx.save(network(layers), path)
        session = backend.load(str(path), [Input("x0", SHAPE)])
        session.bind({"x0": np.zeros(SHAPE, np.float32)})
        session.block(100.0, 1)
        found = statistics.median(session.block(200.0, 5)["latency"])
        if abs(found - milliseconds) < 0.2 * milliseconds:
            break
        layers = max(round(layers * milliseconds / found), 1)
    return session, layers


def main() -> None:
    """Measure for so many seconds and print the ratios with their intervals."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--seconds", type=float, default=40.0)
    parser.add_argument("--milliseconds", type=float, default=1.0, help="latency of the network")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        session, layers = sized(Backend({"threads": 1}), options.milliseconds, Path(folder))
    feeds = {"x0": np.random.default_rng(1).random(SHAPE, dtype=np.float32)}
    ways = loops(session, feeds)
    count = max(round(BLOCK_MS / options.milliseconds), 5)
    found: dict[str, list[float]] = {name: [] for name in ways}
    until, turn = time.monotonic() + options.seconds, 0
    while time.monotonic() < until or turn < latencies.LEAST_PAIRS:
        for name in ways if turn % 2 == 0 else reversed(ways):
            found[name].append(ways[name](count))
        turn += 1
    print(f"{layers} layers, 1 thread, {turn} rounds of {count} runs each")
    said: dict[str, Any] = {"layers": layers, "rounds": turn, "runs": turn * count}
    for name, values in found.items():
        print(f"{name:<12} {statistics.median(values):.4f} ms a run")
        said[name] = statistics.median(values)
    for other in ("bare", "bare, bound"):
        ratio = latencies.ratio(found["runner"], found[other])
        low, high = (100 * (x - 1) for x in ratio.interval)
        overhead = 100 * (ratio.ratio - 1)
        print(f"the runner against {other}: {overhead:+.2f} % (95 % {low:+.2f} to {high:+.2f})")
        said[f"overhead against {other}, %"] = [overhead, low, high]
    print(json.dumps(said))


if __name__ == "__main__":
    main()
