"""What is said about the sessions: one `result` for each engine, the ratio of two, and what may be used of it.

There are two verdicts. What disturbs a session disturbs all its engines, so a ratio may be well known where no
absolute latency is: each is judged by its own interval. Only where the measuring itself went wrong (`faults`) neither
may be used. Whatever the verdict, all numbers are said and written, with the reasons beside them.
"""

import os
from statistics import median
from typing import Dict, List, NamedTuple, Optional, Sequence, Tuple

from ..board.watch import Power, together
from ..system.events import tell
from ..system.failures import BenchmarkInvalid
from ..system.files import make_folder, write_json
from . import intervals, latencies
from .session import Block, Observed, WarmUp, count, spent

SECONDS, RUNS = 3.0, 64
ENQUEUE_BOUND = 0.8  # enqueue over compute, by their medians, as trtexec judges

Sessions = Sequence[Dict[str, Observed]]  # each by the engine's name


class Result(NamedTuple):
    """Everything about one engine, as the event says it."""

    model: str
    verdict: str  # of the absolute latency: valid, noisy, invalid
    faults: List[str]  # what spoils the ratios, too
    reasons: List[str]
    notes: List[str]
    unit: str
    runs: int
    seconds: float
    sessions: int
    warm_up: WarmUp
    knobs: Dict[str, object]
    throughput_per_s: float
    latency: Dict[str, object]
    interval: Tuple[float, float]  # of the median
    level: Optional[int]
    half_width: float
    varied_inputs: Optional[Dict[str, object]]
    parts: Dict[str, Dict[str, object]]
    power: Optional[Power]
    raw: Dict[str, List[float]]
    blocks: List[Dict[str, object]]


def result(name: str, sessions: Sessions, disturbed: Sequence[str], remedy: str) -> Result:
    """Judge one engine.

    `disturbed` are further reasons why its latency is noisy, `remedy` is what helps on this machine.
    """
    mine = [session[name] for session in sessions]
    blocks = [block for one in mine for block in one.blocks]
    series = {kind: [value for block in blocks for value in block.series[kind]] for kind in blocks[0].series}
    runs, seconds = count(blocks), spent(blocks)
    known = intervals.of_median([_latencies(one) for one in mine])
    invalid, noisy = latencies.judge(series["latency"], known.half_width())
    if invalid + noisy:
        (invalid or noisy)[-1] += ": " + remedy
    faults = _of_sessions([one.faults for one in mine]) + latencies.stolen(series["latency"])
    noisy += _too_little(runs, seconds) + _of_sessions([one.doubts for one in mine]) + list(disturbed)
    noisy += _unsteady([one.warm_up for one in mine])
    varied = mine[0].varied
    return Result(
        model=name,
        verdict="invalid" if faults or invalid else "noisy" if noisy else "valid",
        faults=faults,
        reasons=faults + invalid + noisy,
        notes=_notes(series) + _on_dla(mine[0].knobs),
        unit="ms",
        runs=runs,
        seconds=seconds,
        sessions=len(mine),
        warm_up=_warm([one.warm_up for one in mine]),
        knobs=mine[0].knobs,
        throughput_per_s=mine[0].batch * runs / seconds,
        latency=latencies.summary(series["latency"]),
        interval=(known.low, known.high),
        level=known.level,
        half_width=known.half_width(),
        varied_inputs={"ratio": varied.ratio, "interval": varied.interval} if varied else None,
        parts={kind: latencies.summary(values) for kind, values in series.items() if kind != "latency"},
        power=together([(one.power, spent(one.blocks), count(one.blocks) * one.batch) for one in mine]),
        raw={kind: [round(value, 6) for value in values] for kind, values in series.items()},
        blocks=[
            {"session": number, "start": block.start, "stop": block.stop, "runs": count([block])}
            for number, one in enumerate(mine, 1)
            for block in one.blocks
        ],
    )


def _latencies(one: Observed) -> List[float]:
    return [value for block in one.blocks for value in block.series["latency"]]


def _of_sessions(said: Sequence[Sequence[str]]) -> List[str]:
    """Each remark with the sessions that it was made in, where not all made it."""
    where: Dict[str, List[int]] = {}
    for number, remarks in enumerate(said, 1):
        for remark in remarks:
            where.setdefault(remark, []).append(number)
    return [
        remark if len(numbers) == len(said) else "session %s: %s" % (", ".join(map(str, numbers)), remark)
        for remark, numbers in where.items()
    ]


def _warm(warm: Sequence[WarmUp]) -> WarmUp:
    return WarmUp(sum(one.ms for one in warm), sum(one.runs for one in warm), all(one.steady for one in warm))


def _unsteady(warm: Sequence[WarmUp]) -> List[str]:
    never = [one.ms for one in warm if not one.steady]
    if not never:
        return []
    return [
        "not steady after %.1f s of warm-up in %d of %d sessions" % (max(never) / 1000, len(never), len(warm))
    ]


def _too_little(runs: int, seconds: float) -> List[str]:
    if runs >= RUNS and seconds >= SECONDS:
        return []
    return ["%d runs in %.2f s: a number to quote needs %d and %.0f s" % (runs, seconds, RUNS, SECONDS)]


def _notes(series: Dict[str, List[float]]) -> List[str]:
    """What is no fault of the measurement, and worth knowing."""
    if "enqueue" not in series or median(series["enqueue"]) <= ENQUEUE_BOUND * median(series["compute"]):
        return []
    return ["the host needs as long to start a run as the GPU to do it: cuda_graph = true may help"]


def _on_dla(knobs: Dict[str, object]) -> List[str]:
    """What is measured under the DLA's name is never all of it."""
    share = knobs.get("dla_share")
    if not isinstance(share, float):
        return []
    return [
        "%.0f %% of its layers can run on DLA core %s, the GPU runs the rest"
        % (100 * share, knobs["dla_core"])
    ]


def pairs_of(session: Dict[str, Observed], of: str, against: str) -> intervals.Pairs:
    """The medians of the blocks of two engines that ran side by side, the one compared against first."""
    slow, fast = ([_median(block) for block in session[name].blocks] for name in (against, of))
    return slow, fast


def _median(block: Block) -> float:
    return float(median(block.series["latency"]))


def ratio(sessions: Sessions, of: str, against: str, faults: Sequence[str]) -> Dict[str, object]:
    """How many times as fast `of` is, from blocks that ran side by side; what the event says."""
    each = [pairs_of(session, of, against) for session in sessions]
    compared = intervals.compare(each, faults)
    tell("%s against %s: %s" % (of, against, ratio_in_words(compared)))
    pairs = [list(pair) for slow, fast in each for pair in zip(slow, fast)]  # noqa: B905 - Python 3.6
    return dict(
        compared._asdict(), of=of, against=against, pairs_ms=pairs, sessions=len(compared.session_ratios)
    )


def ratio_in_words(compared: intervals.Compared) -> str:
    """A ratio for people, never without its interval."""
    low, high = compared.interval
    covers = "95 % interval" if compared.level else "interval of this session alone"
    why = ": " + "; ".join(compared.reasons) if compared.reasons else ""
    numbers = "%.3f times as fast (%s %.3f to %.3f)" % (compared.ratio, covers, low, high)
    return "%s, %s, %s%s" % (numbers, compared.verdict, compared.state, why)


def publish(
    results: Sequence[Result], ratios: Sequence[Dict[str, object]], events: List[Dict[str, object]], out: str
) -> None:
    """The file with everything, and only then the verdict on the whole.

    Raises BenchmarkInvalid where it does not tell what was asked: a ratio, or, where nothing is compared, a latency.
    """
    if out:
        write_json(os.path.join(make_folder(out), "bench.json"), events)
    unknown = [
        "%s against %s: %s" % (one["of"], one["against"], "; ".join(one["reasons"]))  # type: ignore[arg-type]
        for one in ratios
        if one["state"] == "unknown"
    ]
    wrong = [one for one in results if not ratios and one.verdict == "invalid"]
    unknown += ["%s: %s" % (one.model, one.reasons[0]) for one in wrong]
    if unknown:
        raise BenchmarkInvalid(
            "it is not known: " + "; ".join(unknown),
            "all that was measured is in the results; remove the cause and measure again",
        )


def in_words(result: Result) -> str:
    """One result for people."""
    times = result.raw["latency"]
    known = latencies.percentiles(times)
    words = ["median %.4g ms +/- %.1f %%" % (median(times), 100 * result.half_width)]
    words += ["%s %.4g" % (key, known[key]) for key in ("p90", "p99") if key in known]
    if result.power:
        words.append("%.2f W, %.3g mJ each" % (result.power.watts, result.power.millijoules_per_inference))
    remarks = result.reasons + result.notes
    why = " (%s)" % "; ".join(remarks) if remarks else ""
    return "%s, %.5g/s, %s%s" % (", ".join(words), result.throughput_per_s, result.verdict, why)
