"""The report is written: a page, the same as Markdown, and as JSON.

The verdict comes first, then the few numbers that matter, then how they came about. Nothing is said that was
not measured: without a valid benchmark there is no speed, and a ratio is never without its interval.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import jinja2
from markupsafe import Markup

from jetpress.benchmarks.report import (
    builder,
    changes,
    layers,
    power,
    predictions,
    pruning,
    quantization,
    record,
    results,
    samples,
    weights,
)
from jetpress.benchmarks.report.headline import headline, shown
from jetpress.benchmarks.report.origin import origin, stages
from jetpress.benchmarks.report.record import RunReport
from jetpress.benchmarks.report.record.networks import NetworkReport
from jetpress.benchmarks.report.results import silence, speed
from jetpress.benchmarks.report.wording import (
    figure,
    ms,
    points,
    printable,
    quantity,
    sentence,
    size,
    times,
    value,
)

TEMPLATES = Path(__file__).parent / "templates"
READS = ("templates/*",)
SECTIONS = (
    results.budget,
    results.comparison,
    results.benchmark,
    power.modes,
    samples.samples,
    predictions.disagreements,
    predictions.classes,
    layers.times,
    layers.roofline,
    pruning.layers,
    pruning.rounds,
    weights.weights,
    changes.training,
    changes.sparsity,
    quantization.quantization,
    quantization.calibration,
    changes.equivalence,
    builder.builder,
    stages,
    origin,
)


@dataclass(frozen=True)
class Card:
    """One number that matters."""

    title: str
    figure: str
    notes: list[str]


def render(run: RunReport, directory: Path) -> RunReport:
    """Write ``report.html``, ``report.md`` and ``report.json``; each appears whole or not at all.

    The same run gives the same bytes. Parts of the run that are missing are named as missing.

    Returns:
        the run as its ``report.json`` holds it
    """
    run = record.of(run.to_dict())  # a number that is not finite is unknown: in the file, so on the page, too
    run = replace(run, folder=None, headline=headline(run))
    sections = [section(run) for section in SECTIONS]
    content = {
        "run": run,
        "where": where(run),
        "headline": run.headline,
        "tone": shown(run).tone,
        "cards": cards(run),
        "sections": [section for section in sections if not section.missing],
        "missing": [section for section in sections if section.missing],
    }
    _write(directory / "report.html", _html().get_template("report.html").render(content))
    _write(directory / "report.md", _markdown().get_template("report.md").render(content))
    _write(directory / "report.json", json.dumps(run.to_dict(), indent=1, allow_nan=False) + "\n")
    return replace(run, folder=directory)


def where(run: RunReport) -> str:
    """The target as a person names it."""
    return value(run.target.get("title") or run.target.get("name"))


def cards(run: RunReport) -> list[Card]:
    """Accuracy, latency, size, computation: dense against compressed."""
    before, after = run.dense.test, run.compressed.test
    change = "" if before is None or after is None else f"{points(after - before)}, "
    smaller = times(run.ratios.size, "smaller", "larger")
    fewer = times(run.ratios.macs, "fewer", "more")
    made = [
        Card(
            f"{sentence(run.measured)} on the test split",
            figure(after, run.unit),
            [f"{change}dense {figure(before, run.unit)}", *_sure(run)],
        ),
        _latency_card(run),
        Card("ONNX file", smaller, [_change(run, lambda x: size(x.onnx_bytes))]),
        Card("Multiply-adds", fewer, [_change(run, lambda x: quantity(x.macs))]),
    ]
    known = (
        after is not None or run.beside == "dense",
        True,
        True,
        run.ratios.macs is not None or run.beside == "dense",
    )
    return [card for card, shown in zip(made, known, strict=True) if shown]


def _sure(run: RunReport) -> list[str]:
    """The interval of the change, and on how many samples."""
    change, samples = run.verdict.change, run.verdict.test_samples
    if change is None or samples is None:
        return []
    return [f"{points(change.low, 1)} to {points(change.high, 1)} (95 %), {samples:,} samples"]


def _latency_card(run: RunReport) -> Card:
    if called := speed(run):
        word, ratio = called
        covers = run.ratios.latency.covers if run.ratios.latency else ""
        bounds = f"{covers} {ratio.low:.2f} to {ratio.high:.2f}"
        medians = _change(run, lambda x: ms(x.latency.p50 if x.latency else None))
        if word == "noise":
            return Card("Latency", "within noise", [f"{ratio.value:.3f} ×, {bounds}", medians])
        return Card("Latency", f"{ratio.value:.2f} × as fast", [bounds, medians])
    return Card("Latency", "no claim", [silence(run)])


def _change(run: RunReport, show: Callable[[NetworkReport], str]) -> str:
    return f"{show(run.dense)} → {show(run.compressed)}"


@cache
def _html() -> jinja2.Environment:
    """Every value is escaped, but our own style sheet and drawings."""
    return _environment(True, printable, printable)


@cache
def _markdown() -> jinja2.Environment:
    """Every value is escaped, so that none of its characters is taken for Markdown or HTML."""
    return _environment(False, _escaped, lambda line: f"    {printable(line)}")


def _environment(html: bool, inline: Callable[[str], str], line: Callable[[str], str]) -> jinja2.Environment:
    """Templates whose every value goes through ``inline``, or its lines through ``line`` by ``| code``."""

    def finalize(item: object) -> object:
        return inline(item) if isinstance(item, str) and not isinstance(item, Markup) else item

    def code(text: str) -> Markup:
        block = "\n".join(map(line, text.splitlines()))
        return Markup.escape(block) if html else Markup(block)  # noqa: S704 - an indented block of Markdown

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=html,  # noqa: S701 - Markdown has its own escape, in finalize
        finalize=finalize,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["code"] = code
    environment.filters["steady"] = steady
    return environment


def steady(text: str) -> str:
    """A number that stays with its unit; an interval behind it may stand on a line of its own."""
    return re.sub(r" (?!\()", "\N{NO-BREAK SPACE}", text)


def _escaped(text: str) -> str:
    return re.sub(r"([\\`*_{}\[\]<>#|~&$])", r"\\\1", " ".join(printable(text).split()))


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with draft.open("w", encoding="utf-8", newline="\n") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
