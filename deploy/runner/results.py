"""What is said about the measured blocks: one `result` for each engine, the ratio of two, and the verdict."""

import os
from statistics import median
from typing import Any, Dict, List

import numpy as np

from . import latencies
from .events import emit, tell
from .failures import BenchmarkInvalid
from .files import make_folder, write_json

SECONDS, RUNS = 3.0, 64
SAME_OUTPUT = 1e-3  # of the largest output: kernels may add in another order, nothing more
REPEATED = 1.10  # times as long with other inputs, the whole interval above it: MLPerf's TEST04
ENQUEUE_BOUND = 0.8  # enqueue over compute, by their medians, as trtexec judges
Blocks = Dict[str, List[Dict[str, Any]]]  # engine -> its blocks: start, stop, series of latencies


def result(
    name: str,
    blocks: Blocks,
    warm: Dict[str, Any],
    knobs: Dict[str, Any],
    same: bool,
    watch: Any,
    varied: Dict[str, Any],
) -> Dict[str, Any]:
    """Everything about one engine, as the event says it."""
    mine = blocks[name]
    every = [(block["start"], block["stop"]) for part in blocks.values() for block in part]
    series = {
        kind: [value for block in mine for value in block["series"][kind]] for kind in mine[0]["series"]
    }
    runs, seconds = len(series["latency"]), spent(mine)
    power = watch.power([(block["start"], block["stop"]) for block in mine], runs * knobs["batch"])
    invalid, noisy = latencies.judge(series["latency"])
    if not same:
        invalid.append("the timed runs gave other outputs than an untimed run")
    if varied["interval"][0] > REPEATED:
        invalid.append("other inputs take %.2f times as long as one repeated input" % varied["ratio"])
    invalid += watch.alarms(every)
    noisy += _too_little(runs, seconds) + watch.doubts(power)
    if not warm["steady"]:
        noisy.append("not steady after %.1f s of warm-up" % (warm["ms"] / 1000))
    return {
        "model": name,
        "verdict": "invalid" if invalid else "noisy" if noisy else "valid",
        "reasons": invalid + noisy,
        "notes": _notes(series),
        "unit": "ms",
        "runs": runs,
        "seconds": seconds,
        "warm_up": warm,
        "knobs": knobs,
        "throughput_per_s": knobs["batch"] * runs / seconds,
        "latency": latencies.summary(series["latency"]),
        "varied_inputs": {"ratio": varied["ratio"], "interval": varied["interval"]},
        "parts": {kind: latencies.summary(values) for kind, values in series.items() if kind != "latency"},
        "power": power,
        "raw": {kind: [round(value, 6) for value in values] for kind, values in series.items()},
        "blocks": [
            {"start": block["start"], "stop": block["stop"], "runs": count([block])} for block in mine
        ],
    }


def _too_little(runs: int, seconds: float) -> List[str]:
    if runs >= RUNS and seconds >= SECONDS:
        return []
    return ["%d runs in %.2f s: a number to quote needs %d and %.0f s" % (runs, seconds, RUNS, SECONDS)]


def _notes(series: Dict[str, List[float]]) -> List[str]:
    """What is no fault of the measurement, and worth knowing."""
    if "enqueue" not in series or median(series["enqueue"]) <= ENQUEUE_BOUND * median(series["compute"]):
        return []
    return ["the host needs as long to start a run as the GPU to do it: cuda_graph = true may help"]


def spent(blocks: List[Dict[str, Any]]) -> float:
    """Seconds inside the blocks of one engine."""
    return float(sum(block["stop"] - block["start"] for block in blocks))


def count(blocks: List[Dict[str, Any]]) -> int:
    """Recorded runs of one engine."""
    return sum(len(block["series"]["latency"]) for block in blocks)


def is_same(timed: Dict[str, Any], untimed: Dict[str, Any]) -> bool:
    """Outputs sampled after the timed runs are the network's real outputs (MLPerf TEST01)."""
    for name, array in untimed.items():
        one, other = timed[name].astype(np.float64), array.astype(np.float64)
        if not np.isfinite(one).all():
            return False
        if np.abs(one - other).max() > SAME_OUTPUT * max(float(np.abs(other).max()), 1e-12):
            return False
    return True


def ratio(blocks: Blocks, of: str, against: str) -> Dict[str, Any]:
    """How many times as fast `of` is, from blocks that ran side by side; nothing where one was not measured."""
    if of not in blocks or against not in blocks:
        return {}
    slow, fast = ([median(block["series"]["latency"]) for block in blocks[name]] for name in (against, of))
    pairs = [list(pair) for pair in zip(slow, fast)]  # noqa: B905 - Python 3.6
    return dict(latencies.ratio(slow, fast), of=of, against=against, pairs_ms=pairs)


def publish(results: List[Dict[str, Any]], ratios: List[Dict[str, Any]], out: str) -> None:
    """The ratios, the file, and the verdict on the whole."""
    for compared in filter(None, ratios):
        results.append(emit("ratio", **compared))
        tell("%(of)s against %(against)s: %(ratio).3f times, %(verdict)s" % compared)
    if out:
        write_json(os.path.join(make_folder(out), "bench.json"), results)
    invalid = [item["model"] for item in results if item.get("verdict") == "invalid"]
    if invalid:
        raise BenchmarkInvalid(
            "the numbers of %s must not be used" % " and ".join(invalid),
            "the reasons are in the results; remove the cause and measure again",
        )


def in_words(said: Dict[str, Any]) -> str:
    """One result for people."""
    latency = said["latency"]
    words = ["median %.4g ms" % latency["median"]]
    words += ["%s %.4g" % (key, latency[key]) for key in ("p90", "p99") if key in latency]
    if said["power"]:
        words.append(
            "%.2f W, %.3g mJ each" % (said["power"]["watts"], said["power"]["millijoules_per_inference"])
        )
    reasons = " (%s)" % "; ".join(said["reasons"] + said["notes"]) if said["reasons"] + said["notes"] else ""
    return "%s, %.5g/s, %s%s" % (", ".join(words), said["throughput_per_s"], said["verdict"], reasons)
