"""The sections on INT8 and FP8: what each layer loses by it, and which ranges calibration found."""

from __future__ import annotations

from jetpress.benchmarks.report import plots
from jetpress.benchmarks.report.page import Mark, Plot, Section, Table
from jetpress.benchmarks.report.record import RunReport
from jetpress.benchmarks.report.record.engines import MixedLatency, QuantizationReport, Tensor
from jetpress.benchmarks.report.results import speed
from jetpress.benchmarks.report.wording import error, number, percent, quantity

SHOWN = 4
"""Calibrated tensors that are seen at once."""


def quantization(run: RunReport) -> Section:
    """Which layers are in eight bits, what each costs alone, and what all of them together do to accuracy."""
    found = run.quantization
    if found is None:
        return Section("quantization", "INT8", missing="Nothing was quantized.")
    rows = [
        (
            str(place),
            one.name,
            quantity(one.weights),
            error(one.error),
            Mark(found.numbers, "good") if one.int8 else Mark("higher", "open"),
            one.why,
        )
        for place, one in enumerate(found.layers, 1)
    ]
    head = ("", "Layer", "Weights", "Error alone", "Precision", "Why")
    table = Table(head, rows, "rnrrsw", f"Layers in {found.numbers}", folded=True)
    return Section(
        "quantization",
        found.numbers,
        text=_said(found, speed(run) is not None),
        plots=_layer_errors(found),
        tables=(table, *_tries(found)),
    )


def _layer_errors(found: QuantizationReport) -> list[Plot]:
    known = [
        (place, one.error, one.int8) for place, one in enumerate(found.layers, 1) if one.error is not None
    ]
    if not known:
        return []
    alone = f"relative error of the outputs when one layer alone is {found.numbers}"
    alt, note = f"Bars: {alone}, in the order of the network.", f"Grey: not in {found.numbers}."
    return [Plot("What each layer loses alone", plots.layer_errors(known), alt, note, series=())]


def _said(found: QuantizationReport, timed: bool) -> list[str]:
    """``timed``: whether anything may be said about speed."""
    count, points = sum(one.int8 for one in found.layers), found.validation
    text = [f"WARNING: {line}." for line in found.warnings]
    source = f"{found.method}, from {found.images} training images" if found.images else "found at run time"
    text.append(
        f"{count} of {len(found.layers)} layers compute in {found.numbers}. Ranges: {source}; outputs then "
        f"differ from FP32 by {error(found.error)} (relative, on other training images)."
    )
    if points is not None and points.int8 is not None:
        text.append(
            f"On {points.images} validation images {percent(points.fp32)} in FP32 and "
            f"{percent(points.int8)} in {found.numbers}; the budget asks for {percent(points.least)}."
        )
    if found.cosine is not None:
        text.append(
            f"Cosine of the scores to FP32's {number(found.cosine, 4)}; equivalence asks for "
            f"{number(found.least_cosine, 4)}. Both together: {'met' if found.met else 'not met'}."
        )
    if timed and found.mixed_latency:
        text.append(_mixed(found.mixed_latency, found.numbers))
    if not found.stored:
        text.append(
            "The ONNX file holds these weights in FP32, because TensorRT 8 takes no INT8 weights: the file is not "
            "smaller, the engine is."
        )
    if found.trained is not None:
        text.append(f"Training with rounding was tried: {found.trained}.")
    return text


def _mixed(latency: MixedLatency, numbers: str) -> str:
    """Both engines of one session."""
    times = latency.times_as_fast
    ratio, low, high = (number(x, 3) for x in (times.value, times.low, times.high))
    verdicts = sorted(set(latency.verdicts) - {"valid"})
    return (
        f"With these layers in higher precision an inference takes {number(latency.mixed_ms, 3, ' ms')}, with "
        f"all in {numbers} {number(latency.throughout_ms, 3, ' ms')} (medians): {ratio} times as fast (95 % "
        f"interval {low} to {high}){', measurement ' + ', '.join(verdicts) if verdicts else ''}."
    )


def _tries(found: QuantizationReport) -> list[Table]:
    tables = []
    if len(found.errors) > 1:
        rows = [(name, error(e)) for name, e in found.errors.items()]
        tables.append(Table(("Method", "Error of the outputs"), rows, "lr", "Calibration methods"))
    if len(found.tries) > 1:
        tried = [(str(len(x.without)), percent(x.points), ", ".join(x.without)) for x in found.tries]
        head = (f"Not in {found.numbers}", "Validation", "Layers")
        tables.append(Table(head, tried, "rrw", "Mixed precision: what was tried", folded=True))
    return tables


def calibration(run: RunReport) -> Section:
    """Small multiples: what tensors held, and where their range ends."""
    title = "Calibration"
    found = [one for one in run.quantization.tensors if one.counts] if run.quantization else []
    if not found:
        return Section("calibration", title, missing="No ranges were calibrated, or no histograms kept.")
    drawn = [
        Plot(
            one.name,
            plots.calibration(one.counts, max(-one.low, one.high), one.range, f"calibration-{place}"),
            f"Histogram from {number(one.low)} to {number(one.high)}; the range is {_range(one)}.",
            f"range {_range(one)}",
            series=(),
        )
        for place, one in enumerate(found)
    ]
    order = sorted(range(len(found)), key=lambda place: -_clipped(found[place]))
    first, more = ([drawn[place] for place in sorted(some)] for some in (order[:SHOWN], order[SHOWN:]))
    text = (
        f"Of {len(found)} of the tensors that are quantized the {len(first)} of which most is clipped. "
        "Height: logarithm of how often. Lines: the range; what lies beyond is clipped."
    )
    return Section("calibration", title, text=(text,), plots=first, more=more, small=True)


def _clipped(one: Tensor) -> float:
    """Share of what was seen, from the smallest to the largest number, that lies outside of the range."""
    low, high = one.range
    seen = one.high - one.low
    return (max(low - one.low, 0.0) + max(one.high - high, 0.0)) / seen if seen > 0 else 0.0


def _range(one: Tensor) -> str:
    low, high = one.range
    return f"{number(low)} to {number(high)}"
