"""The sections on what was measured: the budget, dense against compressed, the benchmark and its validity."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from jetpress.benchmarks.ratio import Verdict, verdict
from jetpress.benchmarks.report import plots
from jetpress.benchmarks.report.page import Plot, Run, Section, Table, at, listed, met
from jetpress.benchmarks.report.wording import (
    MISSING,
    amount,
    ms,
    number,
    percent,
    points,
    quantity,
    size,
    times,
    value,
)
from jetpress.benchmarks.stats import Interval
from jetpress.deploy.runner import latencies as runner


def speed(run: Run) -> tuple[Verdict, Interval] | None:
    """What may be said about latency, None when nothing may.

    Nothing may without a benchmark that is not invalid, both latencies, and a ratio with its interval.
    """
    measured = at(run, "dense", "latency") and at(run, "compressed", "latency")
    bounds = [at(run, "ratios", "latency", key) for key in ("value", "low", "high")]
    if at(run, "benchmark", "verdict") not in ("valid", "noisy") or not measured or None in bounds:
        return None
    ratio = Interval(*bounds)
    return verdict(ratio), ratio


def silence(run: Run) -> str:
    """Why no speed is claimed."""
    if not (at(run, "dense", "latency") and at(run, "compressed", "latency")):
        return "latency was not measured"
    reasons = {"invalid": "the benchmark is invalid", None: "nobody says that the benchmark is valid"}
    return reasons.get(at(run, "benchmark", "verdict"), "the ratio of latencies has no interval")


def budget(run: Run) -> Section:
    """Each limit of the recipe and what was found."""
    rows = [
        (
            value(at(c, "what")),
            *(amount(at(c, key), at(c, "unit")) for key in ("limit", "found")),
            met(at(c, "met")),
        )
        for c in listed(run, "verdict", "checks")
    ]
    if not rows:
        return Section("budget", "Budget", missing="The recipe sets none.")
    table = Table(("What", "Limit", "Found", "Verdict"), rows, "lrrs", "Budget")
    return Section("budget", "Budget", tables=(table,))


def comparison(run: Run) -> Section:
    """The two networks side by side."""
    title = "Dense against compressed"
    if not (at(run, "dense") or at(run, "compressed")):
        return Section("comparison", title, missing="There is nothing to compare yet.")
    ratios = at(run, "ratios")
    rows = [
        _row(run, "Accuracy, validation", percent, _drop(run, "validation"), "validation"),
        _row(run, "Accuracy, test", percent, _drop(run, "test"), "test"),
        _row(run, "Accuracy of the engine", percent, _drop(run, "engine_accuracy"), "engine_accuracy"),
        _row(run, "Parameters", quantity, times(at(ratios, "parameters"), "fewer", "more"), "parameters"),
        _row(run, "Multiply-adds", quantity, times(at(ratios, "macs"), "fewer", "more"), "macs"),
        _row(run, "ONNX file", size, times(at(ratios, "size"), "smaller", "larger"), "onnx_bytes"),
        _row(run, "Engine file", size, "", "engine_bytes"),
        _row(run, "Latency, median", ms, _pace(run), "latency", "p50"),
    ]
    others = ("p90", "p95", "p99", "p99.9", "mean", "min", "max")
    rows += [_row(run, f"Latency, {name}", ms, "", "latency", name) for name in others]
    rows += [
        _row(run, "Throughput", lambda x: number(x, 3, " FPS"), "", "latency", "fps"),
        _row(run, "Spread (CoV)", percent, "", "latency", "cov"),
        _row(run, "Outliers", value, "", "latency", "outliers"),
        _row(run, "Runs", value, "", "latency", "n"),
    ]
    known = [row for row in rows if row[1:3] != (MISSING, MISSING)]
    table = Table(("", "Dense", "Compressed", "Change"), known, "lrrs", title)
    return Section("comparison", title, text=_unsaid(run), tables=(table,))


def _row(run: Run, what: str, show: Callable[[Any], str], change: str, *keys: str) -> tuple[str, ...]:
    return what, show(at(run, "dense", *keys)), show(at(run, "compressed", *keys)), change


def _drop(run: Run, key: str) -> str:
    before, after = at(run, "dense", key), at(run, "compressed", key)
    return points(None if before is None or after is None else after - before)


def _pace(run: Run) -> str:
    """The ratio of latencies, which is never without its interval."""
    if called := speed(run):
        word, ratio = called
        note = {"faster": "", "slower": ": slower", "noise": ": within noise"}[word]
        return f"{ratio.value:.2f} × as fast ({ratio.low:.2f} to {ratio.high:.2f}){note}"
    return "no claim"


def _unsaid(run: Run) -> list[str]:
    """Whether the latencies may be used, which percentiles are not shown, and how many runs they need."""
    runs = [n for net in ("dense", "compressed") if (n := at(run, net, "latency", "n")) is not None]
    if not runs:
        return ["Latency was not measured yet."]
    invalid = at(run, "benchmark", "verdict") == "invalid"
    text = ["The benchmark is invalid: these latencies may not be used."] if invalid else []
    few = [(n, runner.name_of(t)) for t, n in sorted(runner.LEAST_RUNS.items()) if n > min(runs)]
    if few:
        names = ", ".join(f"{name} needs {least:,}" for least, name in few)
        text.append(f"Percentiles are shown where there are enough runs for them: {names}.")
    return text


def benchmark(run: Run) -> Section:
    """Whether the latencies may be used, how they are distributed, and what was set while measuring."""
    title, found = "Benchmark", at(run, "benchmark", "verdict")
    series = [
        [x for x in at(run, net, "samples_ms") or () if x is not None] for net in ("dense", "compressed")
    ]
    if found is None and not any(series):
        return Section("benchmark", title, missing="Nothing was measured yet, so no speed is claimed.")
    reasons = [value(reason) for reason in at(run, "benchmark", "reasons") or ()]
    text = {
        "valid": "The measurement is valid.",
        "noisy": "The measurement is valid but noisy: read its intervals.",
        "invalid": "The measurement is invalid: its latencies may not be used, and no speed is claimed.",
    }.get(str(found), "It is not known whether this measurement is valid, so no speed is claimed.")
    knobs = [(name, value(knob)) for name, knob in (at(run, "benchmark", "knobs") or {}).items()]
    tables = (
        Table(("Why",), [(reason,) for reason in reasons], "w", "What was wrong with the measurement"),
        Table(("Knob", "Value"), knobs, "nl", "Knobs of the measurement"),
    )
    filled = [table for table in tables if table.rows]
    return Section("benchmark", title, text=(text,), plots=_latency_plots(*series), tables=filled)


def _latency_plots(dense: list[float], compressed: list[float]) -> list[Plot]:
    if not (dense or compressed):
        return []
    limit = plots.latency_limit(dense, compressed)
    beyond = sum(x > limit for x in (*dense, *compressed))
    slowest = ms(max((*dense, *compressed)))
    note = f"{beyond} slower runs, up to {slowest}, lie to the right." if beyond else ""
    medians = " and ".join(
        f"{name} {ms(runner.percentiles(series).get('p50'))}"
        for name, series in (("dense", dense), ("compressed", compressed))
        if series
    )
    return [
        Plot(
            "Distribution of latency",
            plots.latency(dense, compressed),
            f"Histograms of latency on one time axis; medians: {medians}.",
            note,
        ),
        Plot(
            "Latency over the session",
            plots.session(dense, compressed),
            "Lines of median latency from the first run to the last, one for each network.",
            "Line: median of each window. Band: 80 % of its runs.",
        ),
    ]
