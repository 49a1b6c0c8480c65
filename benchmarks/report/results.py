"""The sections on what was measured: the budget, dense against compressed, the benchmark and its validity."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from jetpress.benchmarks.ratio import Verdict, verdict
from jetpress.benchmarks.report.page import Mark, Plot, Section, Table, met
from jetpress.benchmarks.report.record import RunReport
from jetpress.benchmarks.report.record.networks import Latency, NetworkReport, Ratio
from jetpress.benchmarks.report.wording import (
    MISSING,
    amount,
    figure,
    ms,
    number,
    percent,
    points,
    quantity,
    sentence,
    size,
    spread,
    times,
    value,
)
from jetpress.benchmarks.stats import Interval
from jetpress.deploy.runner.measure import latencies as runner

NOT_TO_QUOTE = (
    "These latencies are no numbers to quote. Their ratio is judged apart, by an interval of its own: what disturbs a "
    "session disturbs both networks."
)


def speed(run: RunReport) -> tuple[Verdict, Interval] | None:
    """What may be said about latency, None when nothing may: without a ratio that is known, with its interval."""
    measured = run.ratios.latency
    if measured is None or measured.state == "unknown" or measured.interval is None:
        return None
    return measured.verdict or verdict(measured.interval), measured.interval


def silence(run: RunReport) -> str:
    """Why no speed is claimed."""
    measured = run.ratios.latency
    if not (run.dense.latency and run.compressed.latency):
        return "latency was not measured"
    if measured is None:
        return "the two were not measured side by side"
    reasons = f": {'; '.join(measured.reasons)}" if measured.reasons else ""
    return f"the ratio of latencies is not known well enough{reasons}"


def budget(run: RunReport) -> Section:
    """Each limit of the recipe and what was found."""
    rows = [
        (check.what, amount(check.limit, check.unit), amount(check.found, check.unit), met(check.met))
        for check in run.verdict.checks
    ]
    if not rows:
        return Section("budget", "Budget", missing="The recipe sets none.")
    table = Table(("What", "Limit", "Found", "Verdict"), rows, "lrrs", "Budget")
    return Section("budget", "Budget", tables=(table,))


def comparison(run: RunReport) -> Section:
    """The two networks side by side."""
    ratios, measured = run.ratios, sentence(run.measured)
    title = "Dense against compressed" if run.beside == "dense" else f"Against {run.beside}"
    first, second = ("Dense", "Compressed") if run.beside == "dense" else ("As given", "As it is now")
    fewer, smaller = ("fewer", "more"), ("smaller", "larger")
    validation, test = run.verdict.validation_samples, run.verdict.test_samples

    def row(what: str, show: Callable[[NetworkReport], str], change: str = "") -> tuple[str, ...]:
        return what, show(run.dense), show(run.compressed), change

    def latency(what: str, show: Callable[[Latency], str], change: str = "") -> tuple[str, ...]:
        return row(what, lambda x: show(x.latency) if x.latency else MISSING, change)

    def sure(value: float | None, samples: int | None) -> str:
        return spread(value, samples) if run.verdict.mean else figure(value, run.unit)

    drops = (
        _drop(before, after)
        for before, after in (
            (run.dense.validation, run.compressed.validation),
            (run.dense.test, run.compressed.test),
            (run.dense.engine_accuracy, run.compressed.engine_accuracy),
        )
    )
    rows = [
        row(f"{measured}, validation", lambda x: sure(x.validation, validation), next(drops)),
        row(f"{measured}, test", lambda x: sure(x.test, test), next(drops)),
        row(f"{measured} of the engine", lambda x: figure(x.engine_accuracy, run.unit), next(drops)),
        row("Parameters", lambda x: quantity(x.parameters), times(ratios.parameters, *fewer)),
        row("Multiply-adds", lambda x: quantity(x.macs), times(ratios.macs, *fewer)),
        row("ONNX file", lambda x: size(x.onnx_bytes), times(ratios.size, *smaller)),
        row("Engine file", lambda x: size(x.engine_bytes), times(_engine_ratio(run), *smaller)),
        latency("Latency, median", _median, _pace(run)),
    ]
    more = [
        latency("Latency, p90", lambda x: ms(x.p90)),
        latency("Latency, p95", lambda x: ms(x.p95)),
        latency("Latency, p99", lambda x: ms(x.p99)),
        latency("Latency, p99.9", lambda x: ms(x.p999)),
        latency("Latency, mean", lambda x: ms(x.mean)),
        latency("Latency, min", lambda x: ms(x.min)),
        latency("Latency, max", lambda x: ms(x.max)),
        latency("Throughput", lambda x: number(x.fps, 3, " FPS")),
        latency("Spread (CoV)", lambda x: percent(x.cov)),
        latency("Outliers", lambda x: str(x.outliers)),
        latency("Runs", lambda x: str(x.n)),
    ]
    known, rest = ([one for one in some if one[1:3] != (MISSING, MISSING)] for some in (rows, more))
    tables = [Table(("", first, second, "Change"), known, "lrrs", title)]
    if rest:
        tables.append(Table(("", first, second, ""), rest, "lrrs", "More of the latencies", folded=True))
    return Section("comparison", title, text=_unsaid(run), tables=tables)


def _median(one: Latency) -> str:
    """With its interval; grey where it is no number to quote."""
    width = one.half_width
    text = ms(one.p50) if width is None else f"{ms(one.p50)} ± {number(100 * width, 2)} %"
    return Mark(f"{text}, not to quote", "plain") if one.verdict == "invalid" else text


def _engine_ratio(run: RunReport) -> float | None:
    before, after = run.dense.engine_bytes, run.compressed.engine_bytes
    return before / after if before and after else None


def _drop(before: float | None, after: float | None) -> str:
    return points(None if before is None or after is None else after - before)


def _pace(run: RunReport) -> str:
    """The ratio of latencies, which is never without its interval."""
    if called := speed(run):
        word, ratio = called
        note = {"faster": "", "slower": ": slower", "noise": ": within noise"}[word]
        return f"{ratio.value:.2f} × as fast ({ratio.low:.2f} to {ratio.high:.2f}){note}"
    return "no claim"


def _unsaid(run: RunReport) -> list[str]:
    """Whether the latencies may be used, which percentiles are not shown, and how many runs they need."""
    runs = [one.latency.n for one in (run.dense, run.compressed) if one.latency]
    if not runs:
        return ["Latency was not measured yet."]
    invalid = run.benchmark is not None and run.benchmark.verdict == "invalid"
    text = [NOT_TO_QUOTE] if invalid else []
    few = [(n, runner.name_of(t)) for t, n in sorted(runner.LEAST_RUNS.items()) if n > min(runs)]
    if few:
        names = ", ".join(f"{name} needs {least:,}" for least, name in few)
        text.append(f"Percentiles are shown where there are enough runs for them: {names}.")
    return text


def benchmark(run: RunReport) -> Section:
    """Whether the latencies may be used, how they are distributed, and what was set while measuring."""
    title, found = "Benchmark", run.benchmark
    dense, compressed = (
        [x for x in one.samples_ms or () if x is not None] for one in (run.dense, run.compressed)
    )
    if found is None and not (dense or compressed):
        return Section("benchmark", title, missing="Nothing was measured yet, so no speed is claimed.")
    text = [
        {
            "valid": "Both latencies are steady enough to be quoted.",
            "noisy": "The latencies are noisy: read their intervals.",
            "invalid": NOT_TO_QUOTE,
            "": "It is not known whether these latencies may be quoted.",
        }[found.verdict if found else ""]
    ]
    if found:
        text += [f"Before it: {found.machine}."] if found.machine else []
        text += [f"Not known well enough to say: {', '.join(found.unanswered)}."] if found.unanswered else []
        text += [_without_copies(found.without_copies)] if found.without_copies else []
    reasons = [(reason,) for reason in _together(found.reasons)] if found else []
    knobs = [(name, value(knob)) for name, knob in found.knobs.items()] if found else []
    tables = (
        Table(("Why",), reasons, "w", "What disturbed it"),
        Table(("Knob", "Value"), knobs, "nl", "Knobs of the measurement", folded=True),
    )
    filled = [table for table in tables if table.rows]
    return Section("benchmark", title, text=text, plots=_latency_plots(dense, compressed), tables=filled)


def _without_copies(found: Ratio) -> str:
    """Zero copy beside copies."""
    what = "Without copies, in memory that CPU and GPU share, the compressed engine is"
    interval = found.interval
    if found.state == "unknown" or interval is None:
        return f"{what} not known well enough to be called faster or slower."
    noise = ": within noise" if (found.verdict or verdict(interval)) == "noise" else ""
    return f"{what} {interval.value:.2f} × as fast ({interval.low:.2f} to {interval.high:.2f}){noise}."


def _together(reasons: Sequence[str]) -> list[str]:
    """What is said of each network is said once."""
    said: dict[str, list[str]] = {}
    for reason in reasons:
        name, colon, why = reason.partition(": ")
        said.setdefault(why if colon else name, []).append(name if colon else "")
    return [f"{' and '.join(names)}: {why}" if all(names) else why for why, names in said.items()]


def _latency_plots(dense: list[float], compressed: list[float]) -> list[Plot]:
    if not (dense or compressed):
        return []
    from jetpress.benchmarks.report import (
        plots,
    )  # matplotlib takes longer to load than all else that is said of a run

    limit, series = plots.latency_limit(dense, compressed), {"dense": dense, "compressed": compressed}
    above = sum(int((plots.windows(one)[2] > limit).sum()) for one in series.values() if one)
    over = f" {above} windows reach beyond the top." if above else ""
    medians = " and ".join(
        f"{name} {ms(runner.percentiles(one).get('p50'))}" for name, one in series.items() if one
    )
    return [
        Plot(
            "Distribution of latency",
            plots.latency(dense, compressed),
            f"Histograms of latency on one time axis; medians: {medians}.",
            _beyond(limit, series),
        ),
        Plot(
            "Latency over the session",
            plots.session(dense, compressed),
            "Lines of median latency from the first run to the last, one for each network.",
            f"Line: median of each window. Band: 80 % of its runs.{over}",
        ),
    ]


def _beyond(limit: float, series: Mapping[str, Sequence[float]]) -> str:
    """How many runs lie outside of the axis, and how far: none is left out without a word."""
    said = []
    for name, samples in series.items():
        if beyond := [x for x in samples if x > limit]:
            share = percent(100 * len(beyond) / len(samples), 1)
            said.append(f"{len(beyond):,} of {len(samples):,} {name} runs ({share}, up to {ms(max(beyond))})")
    return f"Beyond the right end: {' and '.join(said)}." if said else ""
