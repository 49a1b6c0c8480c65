"""The sections on INT8 and FP8: what each layer loses by it, and which ranges calibration found."""

from __future__ import annotations

from jetpress.benchmarks.report import plots
from jetpress.benchmarks.report.page import Mark, Plot, Run, Section, Table, at, listed
from jetpress.benchmarks.report.results import speed
from jetpress.benchmarks.report.wording import error, number, percent, quantity, value


def quantization(run: Run) -> Section:
    """Which layers are in eight bits, what each costs alone, and what all of them together do to accuracy."""
    found = at(run, "quantization")
    if not found:
        return Section("quantization", "INT8", missing="Nothing was quantized.")
    numbers = _numbers(found)
    inside = listed(found, "layers")
    errors = [(x, at(x, "error")) for x in inside]
    known = [(place, e, bool(at(x, "int8"))) for place, (x, e) in enumerate(errors, 1) if e is not None]
    rows = [
        (
            str(place),
            value(at(x, "name")),
            quantity(at(x, "weights")),
            error(at(x, "error")),
            Mark(numbers, "good") if at(x, "int8") else Mark("higher", "open"),
            value(at(x, "why") or ""),
        )
        for place, x in enumerate(inside, 1)
    ]
    head = ("", "Layer", "Weights", "Error alone", "Precision", "Why")
    table = Table(head, rows, "rnrrsw", f"Layers in {numbers}", folded=True)
    alt = (
        f"Bars: relative error of the outputs when one layer alone is {numbers}, in the order of the network."
    )
    drawn = (
        [
            Plot(
                "What each layer loses alone",
                plots.layer_errors(known),
                alt,
                f"Grey: not in {numbers}.",
                series=(),
            )
        ]
        if known
        else []
    )
    return Section(
        "quantization",
        numbers,
        text=_said(found, inside, speed(run) is not None),
        plots=drawn,
        tables=(table, *_tries(found)),
    )


def _numbers(found: Run) -> str:
    return value(at(found, "numbers") or "INT8")


def _said(found: Run, inside: list[Run], timed: bool) -> list[str]:
    """``timed``: whether anything may be said about speed."""
    numbers = _numbers(found)
    count, points = sum(bool(at(x, "int8")) for x in inside), at(found, "validation") or {}
    text = [f"WARNING: {value(line)}." for line in at(found, "warnings") or ()]
    text.append(
        f"{count} of {len(inside)} layers compute in {numbers}. Ranges: {value(at(found, 'method'))}, from "
        f"{value(at(found, 'images'))} training images; outputs then differ from FP32 by {error(at(found, 'error'))} "
        "(relative, on other training images)."
    )
    if at(points, "int8") is not None:
        text.append(
            f"On {value(at(points, 'images'))} validation images {percent(at(points, 'fp32'))} in FP32 and "
            f"{percent(at(points, 'int8'))} in {numbers}; the budget asks for {percent(at(points, 'least'))}."
        )
    if at(found, "cosine") is not None:
        text.append(
            f"Cosine of the scores to FP32's {number(at(found, 'cosine'), 4)}; equivalence asks for "
            f"{number(at(found, 'least_cosine'), 4)}. Both together: {'met' if at(found, 'met') else 'not met'}."
        )
    if timed and (latency := at(found, "mixed_latency")):
        text.append(_mixed(latency, numbers))
    if at(found, "stored") is False:
        text.append(
            "The ONNX file holds these weights in FP32, because TensorRT 8 takes no INT8 weights: the file is not "
            "smaller, the engine is."
        )
    if (trained := at(found, "trained")) is not None:
        text.append(f"Training with rounding was tried: {value(trained)}.")
    return text


def _mixed(latency: Run, numbers: str) -> str:
    """Both engines of one session."""
    ratio = [number(at(latency, "times_as_fast", key), 3) for key in ("value", "low", "high")]
    verdicts = sorted({value(one) for one in at(latency, "verdicts") or ()} - {"valid"})
    return (
        f"With these layers in higher precision an inference takes {number(at(latency, 'mixed_ms'), 3, ' ms')}, with "
        f"all in {numbers} {number(at(latency, 'throughout_ms'), 3, ' ms')} (medians): {ratio[0]} times as fast (95 % "
        f"interval {ratio[1]} to {ratio[2]}){', measurement ' + ', '.join(verdicts) if verdicts else ''}."
    )


def _tries(found: Run) -> tuple[Table, ...]:
    methods = at(found, "errors") or {}
    rows = [(value(name), error(e)) for name, e in methods.items()]
    tables = (
        [Table(("Method", "Error of the outputs"), rows, "lr", "Calibration methods")]
        if len(rows) > 1
        else []
    )
    tried = [
        (
            str(len(at(x, "without") or ())),
            percent(at(x, "points")),
            ", ".join(map(value, at(x, "without") or ())),
        )
        for x in listed(found, "tries")
    ]
    if len(tried) > 1:
        head = (f"Not in {_numbers(found)}", "Validation", "Layers")
        tables.append(Table(head, tried, "rrw", "Mixed precision: what was tried", folded=True))
    return tuple(tables)


def calibration(run: Run) -> Section:
    """Small multiples: what tensors held, and where their range ends."""
    title = "Calibration"
    found = [
        x
        for x in listed(run, "quantization", "tensors")
        if at(x, "counts") and len(at(x, "range") or ()) == 2
    ]
    if not found:
        return Section("calibration", title, missing="No ranges were calibrated, or no histograms kept.")
    drawn = [
        Plot(
            value(at(x, "name")),
            plots.calibration(x["counts"], max(-x["low"], x["high"]), x["range"], f"calibration-{place}"),
            f"Histogram from {number(x['low'])} to {number(x['high'])}; the range is {_range(x)}.",
            f"range {_range(x)}",
            series=(),
        )
        for place, x in enumerate(found)
    ]
    text = (
        f"{len(found)} of the tensors that are quantized, in the order of the network. Height: logarithm of how often. "
        "Lines: the range; what lies beyond is clipped."
    )
    return Section("calibration", title, text=(text,), plots=drawn, small=True)


def _range(x: Run) -> str:
    low, high = x["range"]
    return f"{number(low)} to {number(high)}"
