"""What is said about the measured blocks: one `result` for each engine, the ratio of two, and the verdict."""

import os
from statistics import median
from typing import Dict, List, NamedTuple, Optional

import numpy as np

from . import latencies
from .events import emit, tell
from .failures import BenchmarkInvalid
from .files import make_folder, write_json
from .tensors import Feeds
from .watch import Power, Watch

SECONDS, RUNS = 3.0, 64
SAME_OUTPUT = 1e-3  # of the largest output: kernels may add in another order, nothing more
REPEATED = 1.10  # times as long with other inputs, the whole interval above it: MLPerf's TEST04
ENQUEUE_BOUND = 0.8  # enqueue over compute, by their medians, as trtexec judges


class Block(NamedTuple):
    """One turn of an engine."""

    start: float  # Unix seconds
    stop: float
    series: Dict[str, List[float]]  # latency and its parts of each run, in ms


class WarmUp(NamedTuple):
    """How an engine was made ready."""

    ms: float
    runs: int
    steady: bool


class Measured(NamedTuple):
    """What was found out about one engine before and beside its blocks."""

    warm_up: WarmUp
    knobs: Dict[str, object]
    batch: int
    same: bool  # the timed runs gave what an untimed one gives
    varied: latencies.Ratio  # other inputs against one repeated input


class Result(NamedTuple):
    """Everything about one engine, as the event says it."""

    model: str
    verdict: str
    reasons: List[str]
    notes: List[str]
    unit: str
    runs: int
    seconds: float
    warm_up: WarmUp
    knobs: Dict[str, object]
    throughput_per_s: float
    latency: Dict[str, object]
    varied_inputs: Dict[str, object]
    parts: Dict[str, Dict[str, object]]
    power: Optional[Power]
    raw: Dict[str, List[float]]
    blocks: List[Dict[str, object]]


Blocks = Dict[str, List[Block]]  # of each engine


def result(name: str, blocks: Blocks, measured: Measured, watch: Watch) -> Result:
    """Judge one engine."""
    mine = blocks[name]
    every = [(block.start, block.stop) for part in blocks.values() for block in part]
    series = {kind: [value for block in mine for value in block.series[kind]] for kind in mine[0].series}
    runs, seconds = len(series["latency"]), spent(mine)
    power = watch.power([(block.start, block.stop) for block in mine], runs * measured.batch)
    warm, varied = measured.warm_up, measured.varied
    invalid, noisy = latencies.judge(series["latency"])
    if not measured.same:
        invalid.append("the timed runs gave other outputs than an untimed run")
    if varied.interval[0] > REPEATED:
        invalid.append("other inputs take %.2f times as long as one repeated input" % varied.ratio)
    invalid += watch.alarms(every)
    noisy += _too_little(runs, seconds) + watch.doubts(power)
    if not warm.steady:
        noisy.append("not steady after %.1f s of warm-up" % (warm.ms / 1000))
    return Result(
        model=name,
        verdict="invalid" if invalid else "noisy" if noisy else "valid",
        reasons=invalid + noisy,
        notes=_notes(series),
        unit="ms",
        runs=runs,
        seconds=seconds,
        warm_up=warm,
        knobs=measured.knobs,
        throughput_per_s=measured.batch * runs / seconds,
        latency=latencies.summary(series["latency"]),
        varied_inputs={"ratio": varied.ratio, "interval": varied.interval},
        parts={kind: latencies.summary(values) for kind, values in series.items() if kind != "latency"},
        power=power,
        raw={kind: [round(value, 6) for value in values] for kind, values in series.items()},
        blocks=[{"start": block.start, "stop": block.stop, "runs": count([block])} for block in mine],
    )


def _too_little(runs: int, seconds: float) -> List[str]:
    if runs >= RUNS and seconds >= SECONDS:
        return []
    return ["%d runs in %.2f s: a number to quote needs %d and %.0f s" % (runs, seconds, RUNS, SECONDS)]


def _notes(series: Dict[str, List[float]]) -> List[str]:
    """What is no fault of the measurement, and worth knowing."""
    if "enqueue" not in series or median(series["enqueue"]) <= ENQUEUE_BOUND * median(series["compute"]):
        return []
    return ["the host needs as long to start a run as the GPU to do it: cuda_graph = true may help"]


def spent(blocks: List[Block]) -> float:
    """Seconds inside the blocks of one engine."""
    return float(sum(block.stop - block.start for block in blocks))


def count(blocks: List[Block]) -> int:
    """Recorded runs of one engine."""
    return sum(len(block.series["latency"]) for block in blocks)


def is_same(timed: Feeds, untimed: Feeds) -> bool:
    """Outputs sampled after the timed runs are the network's real outputs (MLPerf TEST01)."""
    for name, array in untimed.items():
        sampled, expected = timed[name].astype(np.float64), array.astype(np.float64)
        if not np.isfinite(sampled).all():
            return False
        if np.abs(sampled - expected).max() > SAME_OUTPUT * max(float(np.abs(expected).max()), 1e-12):
            return False
    return True


def ratio(blocks: Blocks, of: str, against: str) -> Optional[Dict[str, object]]:
    """How many times as fast `of` is, from blocks that ran side by side; None where one was not measured."""
    if of not in blocks or against not in blocks:
        return None
    slow, fast = ([median(block.series["latency"]) for block in blocks[name]] for name in (against, of))
    compared = latencies.ratio(slow, fast)
    tell("%s against %s: %.3f times, %s" % (of, against, compared.ratio, compared.verdict))
    pairs = [list(pair) for pair in zip(slow, fast)]  # noqa: B905 - Python 3.6
    return dict(compared._asdict(), of=of, against=against, pairs_ms=pairs)


def publish(events: List[Dict[str, object]], ratios: List[Optional[Dict[str, object]]], out: str) -> None:
    """The ratios, the file, and the verdict on the whole."""
    events = events + [emit("ratio", **compared) for compared in ratios if compared is not None]
    if out:
        write_json(os.path.join(make_folder(out), "bench.json"), events)
    invalid = [str(event["model"]) for event in events if event.get("verdict") == "invalid"]
    if invalid:
        raise BenchmarkInvalid(
            "the numbers of %s must not be used" % " and ".join(invalid),
            "the reasons are in the results; remove the cause and measure again",
        )


def in_words(result: Result) -> str:
    """One result for people."""
    times = result.raw["latency"]
    known = latencies.percentiles(times)
    words = ["median %.4g ms" % median(times)]
    words += ["%s %.4g" % (key, known[key]) for key in ("p90", "p99") if key in known]
    if result.power:
        words.append("%.2f W, %.3g mJ each" % (result.power.watts, result.power.millijoules_per_inference))
    remarks = result.reasons + result.notes
    why = " (%s)" % "; ".join(remarks) if remarks else ""
    return "%s, %.5g/s, %s%s" % (", ".join(words), result.throughput_per_s, result.verdict, why)
