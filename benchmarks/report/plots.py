"""The report's plots: matplotlib figures as SVG that takes its colours and its font from the page around it.

Each colour below is a stand-in that matplotlib writes into the SVG; `_svg` puts a CSS variable in its place,
so one drawing is right in light and in dark. Nothing that a user can name enters a drawing: names are in the
page's text, where they are escaped, wrap, and have glyphs.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from jetpress.benchmarks.report import wording
from jetpress.deploy.runner import latencies as runner

INK, MUTED, LINE, DENSE, COMPRESSED = "#010101", "#010102", "#010103", "#010104", "#010105"
VARIABLES = {
    INK: "currentColor",
    MUTED: "var(--muted)",
    LINE: "var(--line)",
    DENSE: "var(--dense)",
    COMPRESSED: "var(--compressed)",
}
STANDALONE = {
    "currentColor": "#1f2328",
    "var(--muted)": "#59636e",
    "var(--line)": "#d1d9e0",
    "var(--dense)": "#818b98",
    "var(--compressed)": "#0969da",
}
"""For a drawing that has no page around it."""
STYLE: Any = {
    "svg.hashsalt": "jetpress",  # the same run gives the same bytes
    "svg.fonttype": "none",
    "text.parse_math": False,
    "font.size": 13,
    "text.color": INK,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "axes.labelcolor": MUTED,
    "axes.edgecolor": LINE,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "axes.axisbelow": True,
    "grid.color": LINE,
    "xtick.labelcolor": MUTED,
    "ytick.labelcolor": MUTED,
    "xtick.bottom": False,
    "ytick.left": False,
    "lines.solid_capstyle": "round",
}
WIDTH = 480
"""Of a drawing in CSS pixels: two side by side on a wide page, one on a phone."""

WINDOWS, BINS = 60, 120


@contextmanager
def style() -> Iterator[None]:
    """Draw in the house style, whatever the user's own matplotlibrc says."""
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(STYLE)
        yield


@style()
def latency(dense: Sequence[float], compressed: Sequence[float]) -> str:
    """How the runs of each network are distributed, on one time axis that starts at zero."""
    right = latency_limit(dense, compressed)
    series = [(np.asarray(s), colour) for s, colour in ((dense, DENSE), (compressed, COMPRESSED)) if s]
    figure = _figure(60 + 90 * len(series))
    for place, (samples, colour) in enumerate(reversed(series)):
        axes = _axes(figure, left=8, bottom=50 + 90 * place, height=76)
        axes.hist(samples, bins=BINS, range=(0, right), color=colour)
        axes.set(xlim=(0, right), yticks=[])
        _mark_median(axes, runner.percentiles(samples.tolist()).get("p50"), right)
        if place:
            axes.set_xticklabels([])
        else:
            axes.set_xlabel("latency in ms")
    return _svg(figure, "latency")


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
    figure = _figure(240)
    axes = _axes(figure, left=52, bottom=50, height=176)
    for samples, colour in ((dense, DENSE), (compressed, COMPRESSED)):
        if samples:
            low, middle, high = windows(samples)
            along = np.linspace(0, 100, len(middle)) if len(middle) > 1 else np.array([0.0])
            axes.fill_between(along, low, high, color=colour, alpha=0.25, linewidth=0)
            axes.plot(along, middle, color=colour, marker="." if len(middle) == 1 else "")
    axes.set(xlabel="% of the session", ylabel="ms", xlim=(0, 100))
    axes.set_ylim(0, min(axes.get_ylim()[1], latency_limit(dense, compressed)))
    axes.grid(axis="y")
    return _svg(figure, "session")


def windows(samples: Sequence[float]) -> NDArray[np.float64]:
    """``[3, windows]``: below which 10, 50 and 90 % of the runs of each window lie, in the order of the session."""
    parts = np.array_split(np.asarray(samples, float), min(WINDOWS, len(samples)))
    return np.array([np.quantile(part, (0.1, 0.5, 0.9)) for part in parts]).T


@style()
def channels(before: Sequence[int], after: Sequence[int]) -> str:
    """Channels of each layer: the pale bar is what it had, the strong one what it keeps."""
    figure = _figure(240)
    axes = _axes(figure, left=52, bottom=50, height=176)
    place = np.arange(1, len(before) + 1)
    axes.bar(place, before, 0.8, color=DENSE, alpha=0.4)
    axes.bar(place, after, 0.8, color=COMPRESSED)
    axes.set(xlabel="layer, as numbered in the table", ylabel="channels", xlim=(0.4, len(before) + 0.6))
    axes.xaxis.set_major_locator(MaxNLocator(10, integer=True))
    axes.grid(axis="y")
    return _svg(figure, "channels")


@style()
def histogram(edges: Sequence[float], dense: Sequence[float], compressed: Sequence[float], name: str) -> str:
    """One layer's weights before and after."""
    figure = _figure(110, 240)
    axes = _axes(figure, left=8, bottom=26, height=80)
    axes.stairs(dense, edges, fill=True, color=DENSE, alpha=0.4)
    axes.stairs(compressed, edges, fill=True, color=COMPRESSED, alpha=0.85)
    axes.set(yticks=[], xlim=(edges[0], edges[-1]))
    axes.xaxis.set_major_locator(MaxNLocator(4, symmetric=True))
    return _svg(figure, name)


@style()
def calibration(counts: Sequence[float], largest: float, limits: Sequence[float], name: str) -> str:
    """How often each number was seen in one tensor, from minus to plus ``largest``, and the range kept of it."""
    figure = _figure(110, 240)
    axes = _axes(figure, left=8, bottom=26, height=80)
    edges = np.linspace(-largest, largest, len(counts) + 1)
    axes.stairs(np.log1p(np.asarray(counts, float)), edges, fill=True, color=COMPRESSED, alpha=0.85)
    for limit in limits:
        axes.axvline(limit, color=INK, linewidth=1)
    held = edges[:-1][np.asarray(counts) > 0]
    margin = 0.03 * largest or 1.0
    axes.set(yticks=[], xlim=(min([*held, 0.0, *limits]) - margin, max([largest, *limits]) + margin))
    axes.xaxis.set_major_locator(MaxNLocator(4))
    return _svg(figure, name)


@style()
def layer_errors(layers: Sequence[tuple[int, float, bool]]) -> str:
    """What each layer loses: its number, the error, and whether it is INT8; pale where it is not."""
    figure = _figure(240)
    axes = _axes(figure, left=58, bottom=50, height=164)
    for inside, colour in ((True, COMPRESSED), (False, DENSE)):
        some = [(place, lost) for place, lost, int8 in layers if int8 == inside]
        shade = 1.0 if inside else 0.6
        axes.bar([x for x, _ in some], [100 * lost for _, lost in some], 0.8, color=colour, alpha=shade)
    axes.set(xlabel="layer, as numbered in the table", ylabel="error of the outputs, %")
    axes.xaxis.set_major_locator(MaxNLocator(10, integer=True))
    axes.grid(axis="y")
    return _svg(figure, "layer-errors")


@style()
def curve(stages: Sequence[Sequence[tuple[float, float]]], label: str, name: str) -> str:
    """One quantity over the epochs of all stages, one behind the other; a thin line where a stage begins."""
    figure = _figure(240)
    axes = _axes(figure, left=58, bottom=50, height=164)
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
    return _svg(figure, name)


@style()
def sensitivity(groups: Sequence[Sequence[tuple[int, float]]], unit: str) -> str:
    """How far the outputs move when a share of one group goes: a whole SVG file, one column for each group.

    Args:
        groups: in the order of the network; of each (units kept, distance), from all units down.
        unit: of the distance.
    """
    figure = _figure(300, 2 * WIDTH)
    axes = _axes(figure, left=70, bottom=50, height=230)
    points = [
        (x, 1 - kept / g[0][0], lost) for x, g in enumerate(groups, 1) for kept, lost in g[1:] if lost > 0
    ]
    if points:
        x, share, lost = (np.array(column) for column in zip(*points, strict=True))
        dots = axes.scatter(x, lost, c=100 * share, cmap="viridis_r", vmin=0, vmax=100, s=28)
        figure.colorbar(dots, ax=axes, label="% of the group gone", fraction=0.03, pad=0.02)
        axes.set_yscale("log")
    axes.set(xlabel="group of channels, in the order of the network", ylabel=f"distance ({unit})")
    axes.xaxis.set_major_locator(MaxNLocator(12, integer=True))
    axes.grid(axis="y")
    svg = _svg(figure, "sensitivity")
    for variable, colour in STANDALONE.items():
        svg = svg.replace(variable, colour)
    return f'<?xml version="1.0" encoding="utf-8"?>\n{svg}\n'


def _figure(height: int, width: int = WIDTH) -> Figure:
    return Figure(figsize=(width / 72, height / 72), dpi=72)


def _axes(figure: Figure, left: int, bottom: int, height: int) -> Axes:
    """Axes placed in pixels, from the lower left corner, up to just before the right edge."""
    width, whole = (float(side) * 72 for side in figure.get_size_inches())
    axes = figure.add_axes((left / width, bottom / whole, (width - left - 12) / width, height / whole))
    axes.yaxis.set_major_locator(MaxNLocator(4))
    return axes


def _svg(figure: Figure, name: str) -> str:
    """The SVG element alone, for use inside HTML: no ids but ``name``'s own, the page's colours and font."""
    text = io.StringIO()
    figure.savefig(text, format="svg", metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")))
    svg = text.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<style.*?</style>|<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'<g id="[^"]*"', "<g", svg)
    svg = re.sub(r'(id="|url\(#|href="#)', rf"\g<1>{name}-", svg)
    svg = re.sub(r'font-family: [^;"]*(; )?', "", svg)
    svg = re.sub(r' (width|height)="[\d.]+pt"| transform="rotate\(-0 [^"]*"', "", svg)
    svg = re.sub(r"<!--.*?-->", "", svg, flags=re.DOTALL)
    svg = re.sub(r"<[^>]+>", _shortened, svg)  # coordinates, and never what is written in the drawing
    for colour, variable in VARIABLES.items():
        svg = svg.replace(colour, variable)
    return re.sub(r"\s+", " ", svg).replace("> <", "><").strip()


def _shortened(tag: re.Match[str]) -> str:
    """A tag whose numbers have two decimals: a hundredth of a pixel."""
    return re.sub(r"(\.\d\d)\d+", r"\1", tag[0])
