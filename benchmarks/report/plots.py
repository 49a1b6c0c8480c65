"""The report's plots: matplotlib figures as SVG that takes its colours and its font from the page around it.

Nothing that a user can name enters a drawing: names are in the page's text, where they are escaped, wrap, and have
glyphs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from jetpress.benchmarks.report import wording
from jetpress.benchmarks.report.drawing import (
    COMPRESSED,
    DENSE,
    INK,
    LINE,
    MUTED,
    STANDALONE,
    WIDTH,
    as_svg,
    new_figure,
    placed_axes,
    style,
)
from jetpress.benchmarks.stats import Interval
from jetpress.deploy.runner.measure import latencies as runner

WINDOWS, BINS = 60, 120


@style()
def latency(dense: Sequence[float], compressed: Sequence[float]) -> str:
    """How the runs of each network are distributed, on one time axis that starts at zero."""
    right = latency_limit(dense, compressed)
    series = [(np.asarray(s), colour) for s, colour in ((dense, DENSE), (compressed, COMPRESSED)) if s]
    figure = new_figure(60 + 90 * len(series))
    for place, (samples, colour) in enumerate(reversed(series)):
        axes = placed_axes(figure, left=8, bottom=50 + 90 * place, height=76)
        axes.stairs(*np.histogram(samples, BINS, (0, right)), fill=True, color=colour)
        axes.set(xlim=(0, right), yticks=[])
        _mark_median(axes, runner.percentiles(samples.tolist()).get("p50"), right)
        if place:
            axes.set_xticklabels([])
        else:
            axes.set_xlabel("latency in ms")
    return as_svg(figure, "latency")


def _mark_median(axes: Axes, middle: float | None, right: float) -> None:
    """A line at the median, where there are enough runs to have one, and its value on the roomier side."""
    if middle is None:
        return
    axes.axvline(middle, color=INK, linewidth=1)
    side = 1 if middle < right / 2 else -1
    axes.annotate(
        f"median {wording.ms(middle)}",
        (middle, 1),
        (8 * side, -4),
        xycoords=("data", "axes fraction"),
        textcoords="offset points",
        ha="left" if side > 0 else "right",
        va="top",
    )


def latency_limit(dense: Sequence[float], compressed: Sequence[float]) -> float:
    """The end of the latency axis in ms: a few slow runs must not press the rest into a corner.

    It is where 99 % of the runs of each network lie, but at most twice where 90 % lie: on a busy machine one run in
    fifty takes a thousand times as long.
    """
    ends = []
    for samples in (one for one in (dense, compressed) if one):
        most, nearly_all = np.quantile(samples, (0.9, 0.99))
        ends.append(float(min(nearly_all, 2 * most)))
    return 1.1 * max(ends) or 1.0


@style()
def session(dense: Sequence[float], compressed: Sequence[float]) -> str:
    """Latency in the order of the runs: the median of each window, and where 80 % of its runs lie."""
    figure = new_figure(240)
    axes = placed_axes(figure, left=52, bottom=50, height=176)
    for samples, colour in ((dense, DENSE), (compressed, COMPRESSED)):
        if samples:
            low, middle, high = windows(samples)
            along = np.linspace(0, 100, len(middle)) if len(middle) > 1 else np.array([0.0])
            axes.fill_between(along, low, high, color=colour, alpha=0.25, linewidth=0)
            axes.plot(along, middle, color=colour, marker="." if len(middle) == 1 else "")
    axes.set(xlabel="% of the session", ylabel="ms", xlim=(0, 100))
    axes.set_ylim(0, min(axes.get_ylim()[1], latency_limit(dense, compressed)))
    axes.grid(axis="y")
    return as_svg(figure, "session")


def windows(samples: Sequence[float]) -> NDArray[np.float64]:
    """``[3, windows]``: below which 10, 50 and 90 % of the runs of each window lie, in the order of the session."""
    parts = np.array_split(np.asarray(samples, float), min(WINDOWS, len(samples)))
    return np.array([np.quantile(part, (0.1, 0.5, 0.9)) for part in parts]).T


@style()
def channels(before: Sequence[int], after: Sequence[int]) -> str:
    """Channels of each layer: the pale bar is what it had, the strong one what it keeps."""
    figure = new_figure(240)
    axes = placed_axes(figure, left=52, bottom=50, height=176)
    place = np.arange(1, len(before) + 1)
    axes.bar(place, before, 0.8, color=DENSE, alpha=0.4)
    axes.bar(place, after, 0.8, color=COMPRESSED)
    axes.set(xlabel="layer, as numbered in the table", ylabel="channels", xlim=(0.4, len(before) + 0.6))
    axes.xaxis.set_major_locator(MaxNLocator(10, integer=True))
    axes.grid(axis="y")
    return as_svg(figure, "channels")


@style()
def histogram(edges: Sequence[float], dense: Sequence[float], compressed: Sequence[float], name: str) -> str:
    """One layer's weights before and after."""
    figure = new_figure(110, 240)
    axes = placed_axes(figure, left=8, bottom=26, height=80)
    axes.stairs(dense, edges, fill=True, color=DENSE, alpha=0.4)
    axes.stairs(compressed, edges, fill=True, color=COMPRESSED, alpha=0.85)
    axes.set(yticks=[], xlim=(edges[0], edges[-1]))
    axes.xaxis.set_major_locator(MaxNLocator(4, symmetric=True))
    return as_svg(figure, name)


@style()
def calibration(counts: Sequence[float], largest: float, limits: Sequence[float], name: str) -> str:
    """How often each number was seen in one tensor, from minus to plus ``largest``, and the range kept of it."""
    figure = new_figure(110, 240)
    axes = placed_axes(figure, left=8, bottom=26, height=80)
    edges = np.linspace(-largest, largest, len(counts) + 1)
    axes.stairs(np.log1p(np.asarray(counts, float)), edges, fill=True, color=COMPRESSED, alpha=0.85)
    for limit in limits:
        axes.axvline(limit, color=INK, linewidth=1)
    held = edges[:-1][np.asarray(counts) > 0]
    margin = 0.03 * largest or 1.0
    axes.set(yticks=[], xlim=(min([*held, 0.0, *limits]) - margin, max([largest, *limits]) + margin))
    axes.xaxis.set_major_locator(MaxNLocator(4))
    return as_svg(figure, name)


@style()
def layer_errors(layers: Sequence[tuple[int, float, bool]]) -> str:
    """What each layer loses: its number, the error, and whether it is INT8; pale where it is not."""
    figure = new_figure(240)
    axes = placed_axes(figure, left=58, bottom=50, height=164)
    for inside, colour in ((True, COMPRESSED), (False, DENSE)):
        some = [(place, lost) for place, lost, int8 in layers if int8 == inside]
        shade = 1.0 if inside else 0.6
        axes.bar([x for x, _ in some], [100 * lost for _, lost in some], 0.8, color=colour, alpha=shade)
    axes.set(xlabel="layer, as numbered in the table", ylabel="error of the outputs, %")
    axes.xaxis.set_major_locator(MaxNLocator(10, integer=True))
    axes.grid(axis="y")
    return as_svg(figure, "layer-errors")


@style()
def layer_times(dense: Sequence[float], compressed: Sequence[float]) -> str:
    """Milliseconds of each layer, side by side."""
    figure = new_figure(240)
    axes = placed_axes(figure, left=72, bottom=50, height=176)
    place = np.arange(1, len(dense) + 1)
    axes.bar(place - 0.2, dense, 0.4, color=DENSE)
    axes.bar(place + 0.2, compressed, 0.4, color=COMPRESSED)
    axes.set(xlabel="layer, as numbered in the table", ylabel="ms", xlim=(0.4, len(dense) + 0.6))
    axes.xaxis.set_major_locator(MaxNLocator(10, integer=True))
    axes.grid(axis="y")
    return as_svg(figure, "layer-times")


Dots = Sequence[tuple[float, float]]


@style()
def roofline(dense: Dots, compressed: Dots, operations: float, bandwidth: float) -> str:
    """Williams, Waterman and Patterson's roofline (2009), both axes logarithmic.

    Args:
        dense: of each layer operations for each byte, and in a second.
        compressed: the same.
        operations: in a second, at best.
        bandwidth: bytes in a second, at best.
    """
    figure = new_figure(280)
    axes = placed_axes(figure, left=72, bottom=50, height=216)
    known = [x for x, _ in (*dense, *compressed)] or [1.0]
    left, right = min(*known, operations / bandwidth) / 3, max(*known, operations / bandwidth) * 3
    edge = np.array([left, operations / bandwidth, right])
    axes.plot(edge, np.minimum(edge * bandwidth, operations) / 1e9, color=INK, linewidth=1.5)
    for some, colour in ((dense, DENSE), (compressed, COMPRESSED)):
        if some:
            x, y = np.array(some).T
            axes.scatter(x, y / 1e9, s=48, color=colour, alpha=0.8, linewidth=0, zorder=3)
    axes.set(xscale="log", yscale="log", xlim=(left, right))
    axes.set(xlabel="operations for each byte", ylabel="G operations a second")
    axes.minorticks_off()
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.grid()
    return as_svg(figure, "roofline")


@dataclass(frozen=True)
class Tried:
    """The network of a round."""

    cost: Interval
    points: Interval
    """In percent."""
    kept: bool


@style()
def frontier(networks: Sequence[Tried], label: str) -> str:
    """Points of each round over what the network then costs; the first is dense. Hollow: the round was not kept.

    Args:
        networks: of the rounds, each with the interval of both.
        label: of the cost.
    """
    figure = new_figure(240)
    axes = placed_axes(figure, left=58, bottom=50, height=164)
    kept = np.array([(one.cost.value, one.points.value) for one in networks if one.kept])
    axes.plot(*kept.T, color=COMPRESSED, linewidth=1)
    for number, one in enumerate(networks):
        colour, at = COMPRESSED if number else DENSE, (one.cost.value, one.points.value)
        axes.errorbar(
            *at, _arms(one.points), _arms(one.cost), color=colour, alpha=0.6, linewidth=1, capsize=3
        )
        axes.plot(*at, marker="o", markersize=8, color=colour, markerfacecolor=colour if one.kept else "none")
        axes.annotate(str(number) if number else "dense", at, (8, 8), textcoords="offset points")
    low, high = min(one.points.low for one in networks), max(one.points.high for one in networks)
    room = max(0.15 * (high - low), 0.5)
    right = 1.15 * max(one.cost.high for one in networks)
    axes.set(xlim=(0, right), ylim=(low - room, high + room))
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}" if value <= 100 else "")
    axes.set(xlabel=label, ylabel="validation, %")
    axes.grid(axis="y")
    return as_svg(figure, "frontier")


def _arms(found: Interval) -> list[list[float]]:
    """Of an error bar, downwards and upwards."""
    return [[found.value - found.low], [found.high - found.value]]


@style()
def curve(stages: Sequence[Sequence[tuple[float, float]]], label: str, name: str) -> str:
    """One quantity over the epochs of all stages, one behind the other; a thin line where a stage begins."""
    figure = new_figure(240)
    axes = placed_axes(figure, left=58, bottom=50, height=164)
    start = 0.0
    for number, points in enumerate(stages, 1):
        if not points:
            continue
        epochs = [start + epoch for epoch, _ in points]
        axes.plot(epochs, [y for _, y in points], color=COMPRESSED, marker="." if len(points) < 30 else "")
        if len(stages) > 1:
            axes.axvline(start, color=LINE, linewidth=1)
            at = (start, 1), (3, 2)
            axes.annotate(
                str(number),
                *at,
                xycoords=("data", "axes fraction"),
                textcoords="offset points",
                color=MUTED,
            )
        start = max(epochs)
    axes.set(xlabel="epoch", ylabel=label, xlim=(0, max(start * 1.02, 1)))
    axes.xaxis.set_major_locator(MaxNLocator(8, integer=True))
    axes.grid(axis="y")
    return as_svg(figure, name)


@style()
def sensitivity(groups: Sequence[Sequence[tuple[int, float]]]) -> str:
    """How far the outputs move when a share of one group goes: a whole SVG file, one column for each group.

    Args:
        groups: in the order of the network; of each (units kept, distance), from all units down.
    """
    figure = new_figure(300, 2 * WIDTH)
    axes = placed_axes(figure, left=70, bottom=50, height=230)
    points = [
        (x, 1 - kept / g[0][0], lost) for x, g in enumerate(groups, 1) for kept, lost in g[1:] if lost > 0
    ]
    if points:
        x, share, lost = (np.array(column) for column in zip(*points, strict=True))
        dots = axes.scatter(x, lost, c=100 * share, cmap="viridis_r", vmin=0, vmax=100, s=28)
        figure.colorbar(dots, ax=axes, label="% of the group gone", fraction=0.03, pad=0.02)
        axes.set_yscale("log")
    axes.set(xlabel="group of channels, in the order of the network", ylabel="relative squared error")
    axes.xaxis.set_major_locator(MaxNLocator(12, integer=True))
    axes.grid(axis="y")
    svg = as_svg(figure, "sensitivity")
    for variable, colour in STANDALONE.items():
        svg = svg.replace(variable, colour)
    return f'<?xml version="1.0" encoding="utf-8"?>\n{svg}\n'
