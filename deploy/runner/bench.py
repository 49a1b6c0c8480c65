"""bench: all models of a bundle in one session, interleaved, so that their ratio can be trusted.

Clocks, heat and other programs change over seconds; two runs one after the other compare two moments. So the
models take turns in short blocks, A B B A A B B A, and each round gives one pair of medians. Every block
begins with unrecorded runs, because the other model has just emptied the caches. No recorded run is dropped.
"""

import os
from statistics import median
from typing import Any, Dict, List, Optional, Tuple

import numpy as np

from . import clock, stats
from .backends import open_backend
from .board import Board
from .build import open_engines
from .bundle import Bundle
from .errors import BenchmarkInvalid, BundleError
from .events import emit, tell
from .files import make_folder, write_json
from .infer import fingerprint, one_batch
from .sensors import Watch

ROUNDS = 16  # blocks a model at least: enough pairs for an interval, and each long enough to be steady inside
SETTLE_MS = 5.0
WINDOW_MS, WINDOW_RUNS = 20.0, 8
WARMUP_MS, WARMUP_MAX_MS = 200.0, 60000.0
SECONDS, RUNS = 3.0, 64
Blocks = Dict[str, List[Dict[str, Any]]]  # model -> its blocks: start, stop, series of latencies
SAME_OUTPUT = 1e-3  # of the largest output: kernels may add in another order, nothing more


def run(bundle: Bundle, engines: str, out: str, seconds: float, runs: int) -> None:
    """Measure, judge, print one `result` a model and one `ratio`; raises when a result is invalid."""
    backend = open_backend(bundle.plan)
    sessions = open_engines(bundle, engines, backend)
    watch, feeds, reference = Watch(Board()), {}, {}
    for name, session in sessions.items():
        feeds[name] = one_batch(bundle, session)
        reference[name] = session.infer(feeds[name])
        session.bind(feeds[name])
    least, most = _number(bundle, "warmup_ms", WARMUP_MS), _number(bundle, "warmup_max_ms", WARMUP_MAX_MS)
    warm = {name: warm_up(session, least, most) for name, session in sessions.items()}
    with watch:
        blocks = measure(sessions, seconds, runs)
    results = []
    for name, session in sessions.items():
        same = _same(session.outputs(), reference[name])
        knobs = _knobs(backend, bundle, session, feeds[name], len(sessions), watch.mode[0])
        result = _result(name, blocks, warm[name], knobs, same, watch)
        results.append(emit("result", asked={"seconds": seconds, "runs": runs}, **result))
        tell("%s: %s" % (name, _in_words(result)))
    _publish(results, blocks, out)


def _publish(results: List[Dict[str, Any]], blocks: Blocks, out: str) -> None:
    """The ratio, the file, and the verdict on the whole."""
    ratio = _ratio(blocks)
    if ratio:
        results.append(emit("ratio", **ratio))
        tell("%(of)s against %(against)s: %(ratio).3f times, %(verdict)s" % ratio)
    if out:
        write_json(os.path.join(make_folder(out), "bench.json"), results)
    invalid = [result["model"] for result in results if result.get("verdict") == "invalid"]
    if invalid:
        raise BenchmarkInvalid(
            "the numbers of %s must not be used" % " and ".join(invalid),
            "the reasons are in the results; remove the cause and measure again",
        )


def _knobs(
    backend: Any, bundle: Bundle, session: Any, feeds: Dict[str, Any], models: int, mode: Optional[str]
) -> Dict[str, Any]:
    """All that two measurements must share before they may be compared."""
    return dict(
        backend.knobs,
        batch=session.inputs[0].shape[0],
        backend=backend.name,
        version=backend.version,
        precision=bundle.plan["precision"],
        interleaved=models,
        settle_ms=SETTLE_MS,
        inputs_sha256=fingerprint(feeds),
        power_mode=mode,
    )


def _number(bundle: Bundle, key: str, default: float) -> float:
    value = (bundle.plan.get("benchmark") or {}).get(key, default)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= 86400000:
        raise BundleError("plan.json: benchmark.%s must be a number" % key)
    return float(value)


def wanted(bundle: Bundle, seconds: Any, runs: Any) -> Tuple[float, int]:
    """How long and how many: the command line, else the plan, else 3 s and 64."""
    return (
        _number(bundle, "seconds", SECONDS) if seconds is None else float(seconds),
        int(_number(bundle, "runs", RUNS)) if runs is None else int(runs),
    )


def warm_up(session: Any, least_ms: float, most_ms: float) -> Dict[str, Any]:
    """Until three windows in a row have the same median, at least 200 ms and at most 60 s."""
    started, medians, total = clock.seconds(), [], 0
    while True:
        latencies = session.block(WINDOW_MS, WINDOW_RUNS)["latency"]
        medians.append(median(latencies))
        total += len(latencies)
        taken, steady = 1000 * (clock.seconds() - started), stats.agree(medians)
        if taken >= most_ms or (steady and taken >= least_ms):
            tell("warm after %.0f ms" % taken)
            return {"ms": taken, "runs": total, "steady": steady}


def measure(sessions: Dict[str, Any], seconds: float, runs: int) -> Blocks:
    """Blocks of each model in the order A B B A, until each has its seconds and its runs."""
    names = sorted(sessions)
    blocks: Blocks = {name: [] for name in names}
    length_ms, turn = 1000.0 * seconds / ROUNDS, 0
    while turn < ROUNDS or any(spent(blocks[name]) < seconds or count(blocks[name]) < runs for name in names):
        for name in names if turn % 2 == 0 else names[::-1]:
            sessions[name].block(min(SETTLE_MS, length_ms), 1)
            start = clock.seconds()
            series = sessions[name].block(length_ms, max(runs // ROUNDS, 1))
            blocks[name].append({"start": start, "stop": clock.seconds(), "series": series})
        turn += 1
    return blocks


def spent(blocks: List[Dict[str, Any]]) -> float:
    """Seconds inside the blocks of one model."""
    return float(sum(block["stop"] - block["start"] for block in blocks))


def count(blocks: List[Dict[str, Any]]) -> int:
    """Recorded runs of one model."""
    return sum(len(block["series"]["latency"]) for block in blocks)


def _result(
    name: str, blocks: Blocks, warm: Dict[str, Any], knobs: Dict[str, Any], same: bool, watch: Watch
) -> Dict[str, Any]:
    """Everything about one model, as the event says it."""
    mine, every = (
        blocks[name],
        [(block["start"], block["stop"]) for part in blocks.values() for block in part],
    )
    series = {
        kind: [value for block in mine for value in block["series"][kind]] for kind in mine[0]["series"]
    }
    runs, seconds = len(series["latency"]), spent(mine)
    invalid, noisy = stats.judge(series["latency"])
    if not same:
        invalid.append("the timed runs gave other outputs than an untimed run")
    if runs < RUNS or seconds < SECONDS:
        noisy.append(
            "%d runs in %.2f s: a number to quote needs %d and %.0f s" % (runs, seconds, RUNS, SECONDS)
        )
    if not warm["steady"]:
        noisy.append("not steady after %.1f s of warm-up" % (warm["ms"] / 1000))
    invalid += watch.alarms(every)
    return {
        "model": name,
        "verdict": "invalid" if invalid else "noisy" if noisy else "valid",
        "reasons": invalid + noisy,
        "unit": "ms",
        "runs": runs,
        "seconds": seconds,
        "warm_up": warm,
        "knobs": knobs,
        "throughput_per_s": knobs["batch"] * runs / seconds,
        "latency": stats.summary(series["latency"]),
        "parts": {kind: stats.summary(values) for kind, values in series.items() if kind != "latency"},
        "power": watch.power([(block["start"], block["stop"]) for block in mine], runs * knobs["batch"]),
        "raw": {kind: [round(value, 6) for value in values] for kind, values in series.items()},
        "blocks": [
            {"start": block["start"], "stop": block["stop"], "runs": count([block])} for block in mine
        ],
    }


def _same(timed: Dict[str, Any], untimed: Dict[str, Any]) -> bool:
    """Outputs sampled after the timed runs are the network's real outputs (MLPerf TEST01)."""
    for name, array in untimed.items():
        one, other = timed[name].astype(np.float64), array.astype(np.float64)
        if not np.isfinite(one).all():
            return False
        if np.abs(one - other).max() > SAME_OUTPUT * max(float(np.abs(other).max()), 1e-12):
            return False
    return True


def _ratio(blocks: Blocks) -> Dict[str, Any]:
    """How much faster `compressed` is than `dense`, from blocks that ran side by side."""
    if "dense" not in blocks or "compressed" not in blocks:
        return {}
    medians = {
        name: [median(block["series"]["latency"]) for block in blocks[name]]
        for name in ("dense", "compressed")
    }
    return dict(
        stats.ratio(medians["dense"], medians["compressed"]),
        of="compressed",
        against="dense",
        pairs_ms=[list(pair) for pair in zip(medians["dense"], medians["compressed"])],  # noqa: B905
    )


def _in_words(result: Dict[str, Any]) -> str:
    latency = result["latency"]
    said = ["median %.4g ms" % latency["median"]]
    said += ["%s %.4g" % (key, latency[key]) for key in ("p90", "p99") if key in latency]
    return "%s, %.5g/s, %s%s" % (
        ", ".join(said),
        result["throughput_per_s"],
        result["verdict"],
        " (%s)" % "; ".join(result["reasons"]) if result["reasons"] else "",
    )
