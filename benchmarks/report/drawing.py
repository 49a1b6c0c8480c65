"""How a drawing of the report looks, and its way from matplotlib into the page.

Each colour below is a stand-in that matplotlib writes into the SVG; `as_svg` puts a CSS variable in its place, so one
drawing is right in light and in dark.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

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


@contextmanager
def style() -> Iterator[None]:
    """Draw in the house style, whatever the user's own matplotlibrc says."""
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(STYLE)
        yield


def new_figure(height: int, width: int = WIDTH) -> Figure:
    """An empty one of so many CSS pixels."""
    return Figure(figsize=(width / 72, height / 72), dpi=72)


def placed_axes(figure: Figure, left: int, bottom: int, height: int) -> Axes:
    """Axes placed in pixels, from the lower left corner, up to just before the right edge."""
    width, whole = (float(side) * 72 for side in figure.get_size_inches())
    axes = figure.add_axes((left / width, bottom / whole, (width - left - 12) / width, height / whole))
    axes.yaxis.set_major_locator(MaxNLocator(4))
    return axes


def as_svg(figure: Figure, name: str) -> str:
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
