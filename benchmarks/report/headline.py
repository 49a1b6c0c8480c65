"""What a run came to, in one sentence for whoever decides, and what must be known to believe it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from jetpress.benchmarks import accuracy
from jetpress.benchmarks.report.record import Headline, RunReport
from jetpress.benchmarks.report.record.networks import Limit, Standing
from jetpress.benchmarks.report.results import silence, speed
from jetpress.benchmarks.report.wording import amount, ms, number, points, sentence
from jetpress.deploy.errors import BenchmarkInvalid, BudgetNotMet, NothingGained


@dataclass(frozen=True)
class Shown:
    """How a standing is told."""

    words: str
    """The end of the sentence."""
    tone: str
    """Colour of the page's title: ``good``, ``open``, ``idle``, ``bad``."""
    exit_code: int


STANDINGS: Mapping[Standing, Shown] = {
    "met": Shown("budget met", "good", 0),
    "unmeasured": Shown("budget met, speed not measured", "open", 0),
    "open": Shown("budget not measured in full", "open", 0),
    "nothing to compress": Shown("nothing was to be compressed", "idle", 0),
    "unknown": Shown("not known well enough to say more", "open", BenchmarkInvalid.exit_code),
    "not met": Shown("budget not met", "bad", BudgetNotMet.exit_code),
    "nothing compressed": Shown("nothing was compressed", "idle", NothingGained.exit_code),
    "slower": Shown("slower than {beside}", "bad", NothingGained.exit_code),
    "at chance": Shown("the dense network guesses", "bad", NothingGained.exit_code),
    "unjudged": Shown("the same function as the file; no labels, so accuracy was not judged", "good", 0),
    "cut, unjudged": Shown(
        "not the same function as the file any more; without labels nobody knows its accuracy", "open", 0
    ),
}
"""By name, as ``verdict.standing`` has it in ``report.json``."""


def standing(run: RunReport) -> Standing:
    """Of the run; of a report that an earlier version wrote, by its budget alone."""
    by_budget: dict[bool | None, Standing] = {True: "met", False: "not met", None: "open"}
    return run.verdict.standing or by_budget[run.verdict.met]


def shown(run: RunReport) -> Shown:
    """How its standing is told."""
    return STANDINGS[standing(run)]


def headline(run: RunReport) -> Headline:
    """One sentence, then what is missing or broken, how sure the numbers are, and what to do."""
    known, words = standing(run), shown(run).words.format(beside=run.beside)
    reason = run.verdict.why or ""
    if known in ("nothing compressed", "nothing to compress", "at chance"):
        title = f"{words}: {reason}" if reason else words
    else:
        figures = ", ".join(_figures(run))
        title = f"{figures}: {words}" if figures else words
    lines = [_missed(check) for check in run.verdict.checks if check.met is False]
    if waiting := [check.what for check in run.verdict.checks if check.met is None and check.found is None]:
        lines.append(f"Not measured yet: {', '.join(waiting)}.")
    if reason and reason not in title:
        lines.append(f"{sentence(reason)}.")
    lines += [
        *_speed_line(run),
        *_absolute_line(run),
        *_application_line(run),
        *_power_line(run),
        *_accuracy_line(run),
        *_engine_lines(run),
    ]
    return Headline(title=sentence(title), lines=tuple(lines))


def _figures(run: RunReport) -> list[str]:
    """``3.5 times as fast``, ``4.0 times smaller``, ``−0.4 points``: what is known of the three."""
    parts = []
    if called := speed(run):
        word, ratio = called
        same = f"as fast as {run.beside} within noise ({ratio.value:.2f} times)"
        parts.append(same if word == "noise" else f"{number(ratio.value, 2)} times as fast")
    size = run.ratios.size
    if size is not None and size > 0 and abs(size - 1) >= 0.005:
        parts.append(f"{number(max(size, 1 / size), 2)} times {'smaller' if size > 1 else 'larger'}")
    change = gained(run)
    if change is not None:
        parts.append(points(change, 1))
    return parts


def gained(run: RunReport) -> float | None:
    """Points of accuracy that the compressed network has more than the dense one; None: not measured."""
    if run.verdict.change is not None:
        return run.verdict.change.value
    before, after = run.dense.test, run.compressed.test
    return None if before is None or after is None else after - before


def _missed(check: Limit) -> str:
    found, limit = amount(check.found, check.unit), amount(check.limit, check.unit)
    return f"{sentence(check.what)}: {found}, the limit is {limit}."


def _speed_line(run: RunReport) -> list[str]:
    """The ratio with its interval; why there is none, where there is none."""
    if standing(run) in ("nothing compressed", "nothing to compress"):
        return []
    if called := speed(run):
        ratio, covers = called[1], run.ratios.latency.covers if run.ratios.latency else ""
        return [
            f"{ratio.value:.2f} times as fast as {run.beside}, {covers} {ratio.low:.2f} to {ratio.high:.2f}."
        ]
    return [f"No speed is claimed: {silence(run)}."]


def _absolute_line(run: RunReport) -> list[str]:
    """The median of the engine with what it is worth: not every machine gives a number to quote."""
    latency = run.compressed.latency
    if latency is None or latency.p50 is None or latency.half_width is None:
        return []
    line = f"Median {ms(latency.p50)} ± {number(100 * latency.half_width, 2)} %"
    if latency.verdict != "invalid":
        return [f"{line}{', noisy' if latency.verdict == 'noisy' else ''}."]
    return [f"{line}: not a number to quote ({'; '.join(latency.reasons[:1]) or latency.verdict})."]


def _application_line(run: RunReport) -> list[str]:
    """What a customer sees is no latency: frames a second from the video on, by the quicker way, beside the other's."""
    told = run.benchmark.application if run.benchmark else ()
    best = {
        name: max((one for one in told if one.model == name), key=lambda one: one.frames_per_s)
        for name in {one.model for one in told}
    }
    if "compressed" not in best:
        return []
    chosen, other = best["compressed"], best.get("dense")
    beside = f" (dense {number(other.frames_per_s, 3)})" if other else ""
    streams = f", {chosen.streams} streams" if chosen.streams > 1 else ""
    lost = f", {chosen.dropped} frames dropped" if chosen.dropped else ""
    rate = f"{number(chosen.frames_per_s, 3)} frames/s{beside}{streams}"
    return [f"The application: {rate}, from frame to result {ms(chosen.latency_ms)}{lost}."]


def _power_line(run: RunReport) -> list[str]:
    """Which power mode to choose, where they were asked for."""
    choice = run.benchmark.power_choice if run.benchmark else None
    return [f"Power modes: {choice.why}."] if choice else []


def _accuracy_line(run: RunReport) -> list[str]:
    """How sure the change is, and how many images a budget of that size needs."""
    change, samples = run.verdict.change, run.verdict.test_samples
    if change is None or samples is None or standing(run) in ("nothing compressed", "nothing to compress"):
        return []
    span = f"{points(change.low, 1)} to {points(change.high, 1)}"
    lines = [
        f"{sentence(run.measured)} {points(change.value)} on {samples:,} test images, 95 % interval {span}."
    ]
    limit = next((check.limit for check in run.verdict.checks if check.unit == "points"), None)
    if limit and (change.high - change.low) / 2 > limit:
        half = (change.high - change.low) / 2
        enough = accuracy.samples_for(limit) if run.verdict.mean else math.ceil(samples * (half / limit) ** 2)
        lines.append(
            f"Chance alone moves {samples:,} images by more than the budget of {amount(limit)} points; "
            f"about {enough:,} would decide it."
        )
    return lines


def _engine_lines(run: RunReport) -> list[str]:
    built = [] if run.engine_built else ["No engine was built here."]
    return built + ([f"Next: {run.next}"] if run.next else [])
